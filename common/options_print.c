/* Writes the options in force: values, TOML, and the hand-over to workers with its way back. */
#include "common/options.h"
#include "common/options_rows.h"
#include "common/utf8.h"

static void duration_print(uint64_t ms, struct buffer *out)
{
    if (ms % 1000)
        buffer_printf(out, "%llums", (unsigned long long)ms);
    else
        buffer_printf(out, "%llus", (unsigned long long)ms / 1000);
}

/* The ends of a range read better in hours and days' worth of them than in 86400 seconds. */
static void duration_print_short(uint64_t ms, struct buffer *out)
{
    if (ms == 0)
        buffer_append_char(out, '0');
    else if (ms % 3600000 == 0)
        buffer_printf(out, "%lluh", (unsigned long long)ms / 3600000);
    else if (ms % 60000 == 0)
        buffer_printf(out, "%llum", (unsigned long long)ms / 60000);
    else
        duration_print(ms, out);
}

static void size_print(uint64_t bytes, struct buffer *out)
{
    static const char units[] = {'\0', 'K', 'M', 'G', 'T'};
    size_t unit = 0;

    while (bytes && bytes % 1024 == 0 && unit + 1 < sizeof units) {
        bytes /= 1024;
        unit++;
    }
    buffer_printf(out, "%llu", (unsigned long long)bytes);
    if (unit)
        buffer_append_char(out, units[unit]);
}

static void list_print(const struct option_list *list, struct buffer *out)
{
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            buffer_append_char(out, '\n');
        buffer_append_str(out, list->items[i]);
    }
}

void options_format(const struct options *o, const struct option_row *row, struct buffer *out)
{
    const void *value = option_value(o, row);

    switch (row->type) {
    case OPTION_BOOL:
        buffer_append_str(out, *(const bool *)value ? "true" : "false");
        break;
    case OPTION_INT:
        buffer_printf(out, "%lld", (long long)*(const int64_t *)value);
        break;
    case OPTION_COUNT:
        if (option_is_auto(o, row))
            buffer_append_str(out, "auto");
        else
            buffer_printf(out, "%lld", (long long)*(const int64_t *)value);
        break;
    case OPTION_DURATION:
        duration_print(*(const uint64_t *)value, out);
        break;
    case OPTION_SIZE:
        size_print(*(const uint64_t *)value, out);
        break;
    case OPTION_STRING:
    case OPTION_CHOICE:
        buffer_append_str(out, *(char *const *)value);
        break;
    case OPTION_LIST:
        list_print(value, out);
        break;
    }
}

static void limit_print(const struct option_row *row, int64_t limit, struct buffer *out)
{
    if (row->type == OPTION_DURATION)
        duration_print_short((uint64_t)limit, out);
    else if (row->type == OPTION_SIZE)
        size_print((uint64_t)limit, out);
    else
        buffer_printf(out, "%lld", (long long)limit);
}

void option_print_range(const struct option_row *row, struct buffer *out)
{
    if (row->type == OPTION_BOOL)
        return;
    if (row->choices) {
        for (const char *p = row->choices; *p; p++)
            buffer_append(out, *p == '|' ? ", " : p, *p == '|' ? 2 : 1);
        return;
    }
    limit_print(row, row->min, out);
    buffer_append_str(out, "..");
    limit_print(row, row->max, out);
    if (row->type == OPTION_COUNT)
        buffer_append_str(out, " or auto");
    if (row->type == OPTION_STRING || row->type == OPTION_LIST)
        buffer_append_str(out, " bytes");
}

/* False: the text is not UTF-8, which TOML cannot hold; U+FFFD stands for each bad byte. */
static bool toml_print_string(const char *text, struct buffer *out)
{
    bool exact = true;

    buffer_append_char(out, '"');
    while (*text) {
        unsigned char c = (unsigned char)*text;
        size_t n = utf8_char_len(text, strnlen(text, 4));
        if (c == '"' || c == '\\')
            buffer_printf(out, "\\%c", c);
        else if (c == '\n')
            buffer_append_str(out, "\\n");
        else if (c < 0x20 || c == 0x7f)
            buffer_printf(out, "\\u%04X", c);
        else if (n)
            buffer_append(out, text, n);
        else
            buffer_append_str(out, "\xef\xbf\xbd");
        exact = exact && n;
        text += n ? n : 1;
    }
    buffer_append_char(out, '"');
    return exact;
}

static bool toml_print_list(const struct option_list *list, struct buffer *out)
{
    bool exact = true;

    buffer_append_char(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        buffer_append_str(out, i ? ", " : "");
        exact = toml_print_string(list->items[i], out) && exact;
    }
    buffer_append_char(out, ']');
    return exact;
}

static bool toml_print_value(const struct options *o, const struct option_row *row, struct buffer *out)
{
    struct buffer text = {0};
    bool exact = true;

    if (row->type == OPTION_LIST)
        return toml_print_list(option_value(o, row), out);
    options_format(o, row, &text);
    buffer_append_char(&text, '\0');
    if (row->type == OPTION_BOOL || row->type == OPTION_INT || (row->type == OPTION_COUNT && !option_is_auto(o, row)))
        buffer_append_str(out, text.data);
    else
        exact = toml_print_string(text.data, out);
    buffer_fini(&text);
    return exact;
}

static void toml_print_row(const struct options *o, const struct option_row *row, bool origins, struct buffer *out)
{
    buffer_printf(out, "%s = ", option_key(row));
    bool exact = toml_print_value(o, row, out);
    bool sized = option_is_auto(o, row) && o->auto_bound;
    if (origins || !exact || sized)
        buffer_append_str(out, "  #");
    if (sized)
        buffer_printf(out, " %lld here, bound by %s%s", (long long)*(const int64_t *)option_value(o, row),
                      o->auto_bound, origins ? ";" : "");
    if (origins)
        buffer_append_str(out, " from ");
    for (const char *p = origins ? o->origins[option_index(row)] : ""; *p;) {
        size_t n = utf8_char_len(p, strnlen(p, 4));
        if (n == 0 || (unsigned char)*p < 0x20 || *p == 0x7f)
            buffer_append_char(out, '?');
        else
            buffer_append(out, p, n);
        p += n ? n : 1;
    }
    buffer_append_str(out, exact ? "\n" : " (not UTF-8: TOML cannot hold it, U+FFFD stands for the bytes)\n");
}

void options_print_row(const struct options *o, const struct option_row *row, struct buffer *out)
{
    toml_print_row(o, row, false, out);
}

void options_print_toml(const struct options *o, bool origins, struct buffer *out)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        const char *category = option_rows[i].category;
        if (!option_opens_category(i))
            continue;
        buffer_printf(out, "%s[%s]\n", i ? "\n" : "", category);
        for (size_t j = i; j < option_rows_count; j++) {
            if (strcmp(option_rows[j].category, category) == 0)
                toml_print_row(o, &option_rows[j], origins, out);
        }
    }
}

void options_serialize(const struct options *o, struct buffer *out)
{
    struct buffer text = {0};

    for (size_t i = 0; i < option_rows_count; i++) {
        buffer_clear(&text);
        /* What was found to be enough here is what all go by. */
        if (option_rows[i].type == OPTION_COUNT)
            buffer_printf(&text, "%lld", (long long)*(const int64_t *)option_value(o, &option_rows[i]));
        else
            options_format(o, &option_rows[i], &text);
        buffer_printf(out, "%s=", option_rows[i].name);
        for (size_t j = 0; j < text.len; j++) {
            if (text.data[j] == '\n' || text.data[j] == '\\')
                buffer_append_char(out, '\\');
            if (text.data[j] == '\n')
                buffer_append_char(out, 'n');
            else
                buffer_append_char(out, text.data[j]);
        }
        buffer_append_char(out, '\n');
    }
    buffer_fini(&text);
}

/* Undoes the escapes of one value and puts a NUL behind it. */
static bool value_unescape(const char *text, size_t len, struct buffer *out)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\\' && (++i == len || (text[i] != 'n' && text[i] != '\\')))
            return false;
        if (c == '\0')
            return false;
        if (c == '\\' && text[i] == 'n')
            c = '\n';
        buffer_append_char(out, c);
    }
    buffer_append_char(out, '\0');
    return true;
}

static bool line_deserialize(struct options *o, const char *line, size_t len, struct options_error *error_out)
{
    const char *equals = memchr(line, '=', len);
    const struct option_row *row = equals ? option_find(line, (size_t)(equals - line)) : NULL;
    struct buffer value = {0};

    if (!row)
        return options_fail(error_out, "the options handed over have a line that names no option");
    bool good = value_unescape(equals + 1, len - (size_t)(equals + 1 - line), &value);
    if (!good)
        options_fail(error_out, "the options handed over have a broken value of %s", row->name);
    else
        good = option_store(o, row, value.data, false, "handed over", error_out);
    buffer_fini(&value);
    return good;
}

bool options_deserialize(struct options *o, const char *text, size_t len, struct options_error *error_out)
{
    options_ensure(o);
    while (len) {
        const char *newline = memchr(text, '\n', len);
        if (!newline)
            return options_fail(error_out, "the options handed over are cut off");
        if (!line_deserialize(o, text, (size_t)(newline - text), error_out))
            return false;
        len -= (size_t)(newline + 1 - text);
        text = newline + 1;
    }
    return options_check(o, error_out);
}
