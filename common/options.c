/* The table of options in memory: defaults, values from text with their ranges, and their release. */
#include "common/options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/options_rows.h"

#define ROW_RANGE(low, high)          .min = (low), .max = (high)
#define ROW_LIMITS_BOOL(min, max)     ROW_RANGE(min, max)
#define ROW_LIMITS_INT(min, max)      ROW_RANGE(min, max)
#define ROW_LIMITS_COUNT(min, max)    ROW_RANGE(min, max)
#define ROW_LIMITS_DURATION(min, max) ROW_RANGE(min, max)
#define ROW_LIMITS_SIZE(min, max)     ROW_RANGE(min, max)
#define ROW_LIMITS_STRING(min, max)   ROW_RANGE(min, max)
#define ROW_LIMITS_LIST(min, max)     ROW_RANGE(min, max)
#define ROW_LIMITS_CHOICE(min, max)   .choices = (max)

#define ROW_AUTO_BOOL(id)
#define ROW_AUTO_INT(id)
#define ROW_AUTO_COUNT(id) .auto_offset = offsetof(struct options, id##_auto),
#define ROW_AUTO_DURATION(id)
#define ROW_AUTO_SIZE(id)
#define ROW_AUTO_STRING(id)
#define ROW_AUTO_LIST(id)
#define ROW_AUTO_CHOICE(id)
#define ROW_LIVE  true
#define ROW_START false

#define OPTION(id, kind, table, value, min, max, flags, change, text) \
    {.name = #id,                                                     \
     .type = OPTION_##kind,                                           \
     .category = #table,                                              \
     .fallback = (value),                                             \
     ROW_LIMITS_##kind(min, max),                                     \
     .flag = (flags),                                                 \
     .live = ROW_##change,                                            \
     ROW_AUTO_##kind(id).help = (text),                               \
     .offset = offsetof(struct options, id)},
const struct option_row option_rows[] = {
#include "common/options.def"
};
#undef OPTION
const size_t option_rows_count = sizeof option_rows / sizeof option_rows[0];

const struct option_row *option_find(const char *name, size_t len)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        if (strlen(option_rows[i].name) == len && memcmp(option_rows[i].name, name, len) == 0)
            return &option_rows[i];
    }
    return NULL;
}

size_t option_index(const struct option_row *row)
{
    return (size_t)(row - option_rows);
}

bool option_opens_category(size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(option_rows[i].category, option_rows[index].category) == 0)
            return false;
    }
    return true;
}

bool options_fail(struct options_error *error_out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error_out->message, sizeof error_out->message, format, args);
    va_end(args);
    /* Values and file names are shown on terminals. */
    for (char *p = error_out->message; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
    return false;
}

bool options_fail_at(struct options_error *error_out, const char *format, ...)
{
    struct options_error inner = *error_out;
    char place[sizeof inner.message / 2]; /* an absurdly long one must not push the reason out */
    va_list args;

    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    return options_fail(error_out, "%s: %s", place, inner.message);
}

static char *text_copy(const char *text, size_t len)
{
    char *copy = malloc(len + 1);

    if (!copy)
        die("out of memory: no room for an option of %zu bytes", len);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

const char *option_show(const char *text, char out[OPTION_SHOW_MAX])
{
    size_t n = strnlen(text, 64);

    /* No half character before the dots. */
    while (text[n] && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    snprintf(out, OPTION_SHOW_MAX, "%.*s%s", (int)n, text, text[n] ? "…" : "");
    return out;
}

/* Reads decimal digits; stops growing where no option's range reaches. */
static const char *digits_read(const char *text, uint64_t *value_out)
{
    const uint64_t enough = 1000000000000000000;

    *value_out = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        *value_out = *value_out >= enough / 10 ? enough : *value_out * 10 + (uint64_t)(*text - '0');
    return text;
}

static bool int_parse(const char *text, int64_t *value_out)
{
    bool negative = *text == '-';
    uint64_t magnitude;
    const char *end = digits_read(text + negative, &magnitude);

    *value_out = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return end > text + negative && *end == '\0';
}

static bool unit_find(const char *text, const char *const *units, const uint64_t *factors, uint64_t *factor_out)
{
    for (size_t i = 0; units[i]; i++) {
        if (strcmp(text, units[i]) == 0) {
            *factor_out = factors[i];
            return true;
        }
    }
    return false;
}

/* Seconds or a number with a unit, to ms. Rounds up, so that a positive time never becomes 0, which often means "none".
 */
static bool duration_parse(const char *text, int64_t *ms_out)
{
    static const char *const units[] = {"", "s", "ms", "m", "h", NULL};
    static const uint64_t factors[] = {1000, 1000, 1, 60000, 3600000};
    const uint64_t enough = 1000000000000;
    uint64_t whole, factor, part = 0, part_scale = 1;
    const char *end = digits_read(text, &whole);

    if (end == text)
        return false;
    if (*end == '.') {
        const char *fraction = ++end;
        for (; *end >= '0' && *end <= '9'; end++) {
            if (part_scale < 1000000000) {
                part = part * 10 + (uint64_t)(*end - '0');
                part_scale *= 10;
            }
        }
        if (end == fraction)
            return false;
    }
    if (!unit_find(end, units, factors, &factor))
        return false;
    if (whole > enough)
        whole = enough;
    *ms_out = (int64_t)(whole * factor + (part * factor + part_scale - 1) / part_scale);
    return true;
}

static bool size_parse(const char *text, int64_t *bytes_out)
{
    static const char *const units[] = {"", "K", "M", "G", "T", "k", "m", "g", "t", NULL};
    static const uint64_t factors[] = {1, 1 << 10, 1 << 20, 1 << 30, 1ull << 40, 1 << 10, 1 << 20, 1 << 30, 1ull << 40};
    uint64_t number, factor;
    const char *end = digits_read(text, &number);

    if (end == text || !unit_find(end, units, factors, &factor))
        return false;
    *bytes_out = (int64_t)(number > (uint64_t)INT64_MAX / factor ? (uint64_t)INT64_MAX : number * factor);
    return true;
}

static bool bool_parse(const char *text, bool *value_out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *value_out = i % 2;
            return true;
        }
    }
    return false;
}

static bool choice_is_known(const char *choices, const char *text)
{
    size_t text_len = strlen(text);

    for (;;) {
        size_t len = strcspn(choices, "|");
        if (len == text_len && memcmp(choices, text, len) == 0)
            return true;
        if (choices[len] == '\0')
            return false;
        choices += len + 1;
    }
}

/* `what`: "is no whole number", … */
static bool value_refuse(const struct option_row *row, const char *value, const char *what,
                         struct options_error *error_out)
{
    struct buffer range = {0};
    char shown[OPTION_SHOW_MAX];

    option_print_range(row, &range);
    options_fail(error_out, "value \"%s\" of %s %s %.*s", option_show(value, shown), row->name, what, (int)range.len,
                 range.data ? range.data : "");
    buffer_fini(&range);
    return false;
}

static bool number_store(struct options *o, const struct option_row *row, const char *value,
                         struct options_error *error_out)
{
    bool is_auto = row->type == OPTION_COUNT && strcmp(value, "auto") == 0;
    bool is_whole = row->type == OPTION_INT || row->type == OPTION_COUNT;
    int64_t number = 0;

    if (is_whole && !is_auto && !int_parse(value, &number))
        return value_refuse(row, value, "is no whole number; give one in", error_out);
    if (row->type == OPTION_DURATION && !duration_parse(value, &number))
        return value_refuse(row, value, "is no time; give seconds or a unit (30, 1.5s, 250ms, 2m, 1h) in", error_out);
    if (row->type == OPTION_SIZE && !size_parse(value, &number))
        return value_refuse(row, value, "is no size; give bytes or a unit (4096, 64K, 10M, 1G) in", error_out);
    if (!is_auto && (number < row->min || number > row->max))
        return value_refuse(row, value, "is out of range", error_out);
    if (row->type == OPTION_COUNT)
        *(bool *)((char *)o + row->auto_offset) = is_auto;
    if (is_whole)
        *(int64_t *)option_field(o, row) = number;
    else
        *(uint64_t *)option_field(o, row) = (uint64_t)number;
    return true;
}

static bool string_store(struct options *o, const struct option_row *row, const char *value,
                         struct options_error *error_out)
{
    char **field = option_field(o, row);
    size_t len = strlen(value);

    if (row->choices && !choice_is_known(row->choices, value))
        return value_refuse(row, value, "is none of", error_out);
    if (!row->choices && ((int64_t)len < row->min || (int64_t)len > row->max))
        return value_refuse(row, value, "is out of range; its length must be", error_out);
    char *copy = text_copy(value, len);
    free(*field);
    *field = copy;
    return true;
}

static void list_clear(struct option_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct option_list){0};
}

static void list_append(struct option_list *list, const char *item, size_t len)
{
    char **items = reallocarray(list->items, list->count + 1, sizeof *items);

    if (!items)
        die("out of memory: no room for a list of %zu items", list->count);
    list->items = items;
    list->items[list->count++] = text_copy(item, len);
}

static bool list_store(struct options *o, const struct option_row *row, const char *value, bool append,
                       struct options_error *error_out)
{
    struct option_list *list = option_field(o, row);

    for (const char *p = value; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        int64_t len = (int64_t)strcspn(p, "\n");
        if (len > 0 && (len < row->min || len > row->max))
            return value_refuse(row, p, "is out of range; the length of an item must be", error_out);
    }
    if (!append)
        list_clear(list);
    for (const char *p = value; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        if (*p != '\n')
            list_append(list, p, strcspn(p, "\n"));
    }
    return true;
}

static bool value_store(struct options *o, const struct option_row *row, const char *value, bool append,
                        struct options_error *error_out)
{
    switch (row->type) {
    case OPTION_BOOL:
        return bool_parse(value, option_field(o, row)) ||
               value_refuse(row, value, "is neither true nor false", error_out);
    case OPTION_INT:
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        return number_store(o, row, value, error_out);
    case OPTION_STRING:
    case OPTION_CHOICE:
        return string_store(o, row, value, error_out);
    case OPTION_LIST:
        return list_store(o, row, value, append, error_out);
    }
    return options_fail(error_out, "%s has no type", row->name);
}

bool option_store(struct options *o, const struct option_row *row, const char *value, bool append, const char *origin,
                  struct options_error *error_out)
{
    char **kept = &o->origins[option_index(row)];

    if (!value_store(o, row, value, append, error_out))
        return false;
    /* `origin` may be the very string that is replaced. */
    char *copy = text_copy(origin, strlen(origin));
    free(*kept);
    *kept = copy;
    return true;
}

bool options_set(struct options *o, const char *name, const char *value, const char *origin,
                 struct options_error *error_out)
{
    const struct option_row *row = option_find(name, strlen(name));
    char shown[OPTION_SHOW_MAX];

    options_ensure(o);
    if (!row)
        return options_fail(error_out, "unknown option \"%s\"; `hotfleet config print` lists them",
                            option_show(name, shown));
    bool append = strcmp(o->origins[option_index(row)], origin) == 0;
    return option_store(o, row, value, append, origin, error_out);
}

void options_init(struct options *o)
{
    struct options_error error;

    memset(o, 0, sizeof *o);
    o->origins = calloc(option_rows_count, sizeof *o->origins);
    if (!o->origins)
        die("out of memory: no room for the options");
    for (size_t i = 0; i < option_rows_count; i++) {
        bool good = option_store(o, &option_rows[i], option_rows[i].fallback, false, "default", &error);
        assert(good && "a default of common/options.def is not valid");
        (void)good;
    }
}

void options_ensure(struct options *o)
{
    if (!o->origins)
        options_init(o);
}

void options_fini(struct options *o)
{
    for (size_t i = 0; o->origins && i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->type == OPTION_LIST)
            list_clear(option_field(o, row));
        else if (row->type == OPTION_STRING || row->type == OPTION_CHOICE)
            free(*(char **)option_field(o, row));
        free(o->origins[i]);
    }
    free(o->origins);
    memset(o, 0, sizeof *o);
}
