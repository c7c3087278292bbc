/* Values in force while a fleet runs: copies, numbers by row, changes that are made whole or not at all, and the sizes
 * that are found rather than given. */
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/options_rows.h"
#include "common/pool_size.h"

#define ORIGIN_SET "ctl set"

static char *text_copy(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        die("out of memory: no room for an option");
    return copy;
}

static struct option_list list_copy(const struct option_list *from)
{
    struct option_list to = {.count = from->count};

    if (from->count && !(to.items = calloc(from->count, sizeof *to.items)))
        die("out of memory: no room for a list of %zu items", from->count);
    for (size_t i = 0; i < from->count; i++)
        to.items[i] = text_copy(from->items[i]);
    return to;
}

void options_copy(struct options *to, const struct options *from)
{
    *to = *from;
    to->origins = calloc(option_rows_count, sizeof *to->origins);
    if (!to->origins)
        die("out of memory: no room for the options");
    for (size_t i = 0; i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        to->origins[i] = text_copy(from->origins[i]);
        if (row->type == OPTION_LIST)
            *(struct option_list *)option_field(to, row) = list_copy(option_value(from, row));
        else if (row->type == OPTION_STRING || row->type == OPTION_CHOICE)
            *(char **)option_field(to, row) = text_copy(*(char *const *)option_value(from, row));
    }
}

/* --- sizes that are found --- */

void options_settle(struct options *o)
{
    const struct option_row *row = option_find("max_connections", strlen("max_connections"));
    struct pool_facts facts;

    if (!o->max_connections_auto)
        o->auto_bound = NULL;
    if (!o->max_connections_auto || o->max_connections > 0)
        return;
    pool_facts_read("", &facts);
    struct pool_size size = pool_size_of(&facts, o->workers, o->max_hosts, row->max);
    o->max_connections = size.connections;
    o->auto_bound = size.bound;
}

bool options_finish(struct options *o, struct options_error *error_out)
{
    options_apply_preset(o);
    options_settle(o);
    return options_check(o, error_out);
}

/* --- one row --- */

const struct option_row *options_row(const char *name, size_t len, struct options_error *error_out)
{
    char wanted[OPTION_NAME_MAX];
    char shown[OPTION_SHOW_MAX];
    struct nearest nearest = {.wanted = wanted};

    snprintf(wanted, sizeof wanted, "%.*s", (int)(len < sizeof wanted ? len : sizeof wanted - 1), name);
    for (char *p = wanted; *p; p++) {
        if (*p == '-')
            *p = '_';
    }
    const struct option_row *row = len < sizeof wanted ? option_find(wanted, len) : NULL;
    if (row)
        return row;
    for (size_t i = 0; i < option_rows_count; i++)
        nearest_offer(&nearest, option_rows[i].name);
    option_show(wanted, shown);
    if (nearest_is_likely(&nearest))
        options_fail(error_out, "unknown option \"%s\"; did you mean \"%s\"?", shown, nearest.best);
    else
        options_fail(error_out, "unknown option \"%s\"; `hotfleet config print` shows all", shown);
    return NULL;
}

uint64_t options_number(const struct options *o, const struct option_row *row)
{
    const void *value = option_value(o, row);

    if (row->type == OPTION_BOOL)
        return *(const bool *)value;
    if (row->type == OPTION_INT || row->type == OPTION_COUNT)
        return (uint64_t) * (const int64_t *)value;
    return *(const uint64_t *)value;
}

bool options_set_number(struct options *o, const struct option_row *row, uint64_t number)
{
    void *field = option_field(o, row);

    if (!row->live || number > (uint64_t)row->max || (int64_t)number < row->min)
        return false;
    if (row->type == OPTION_BOOL)
        *(bool *)field = number != 0;
    else if (row->type == OPTION_INT || row->type == OPTION_COUNT)
        *(int64_t *)field = (int64_t)number;
    else
        *(uint64_t *)field = number;
    return true;
}

/* --- changes --- */

static void origin_take(struct options *o, const struct options *from, const struct option_row *row)
{
    char **kept = &o->origins[option_index(row)];
    char *copy = text_copy(from->origins[option_index(row)]);

    free(*kept);
    *kept = copy;
}

/* What is automatic and stays so keeps the size that was found at the start. */
static void live_row_take(struct options *o, const struct options *from, const struct option_row *row)
{
    bool stays_auto = option_is_auto(o, row) && option_is_auto(from, row);

    origin_take(o, from, row);
    if (stays_auto)
        return;
    if (!options_set_number(o, row, options_number(from, row)))
        die("internal: %s has a value out of its range", row->name);
    if (row->type == OPTION_COUNT) {
        *(bool *)((char *)o + row->auto_offset) = option_is_auto(from, row);
        o->auto_bound = from->auto_bound;
    }
}

static void live_rows_take(struct options *o, const struct options *from)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        if (option_rows[i].live)
            live_row_take(o, from, &option_rows[i]);
    }
}

/* A preset is known by its values, which may all change: its name goes with them. */
static void preset_take(struct options *o, const struct options *from)
{
    const struct option_row *row = option_find("preset", strlen("preset"));
    char *copy = text_copy(from->preset);

    free(o->preset);
    o->preset = copy;
    origin_take(o, from, row);
}

bool options_take_live(struct options *o, const struct options *from, struct options_error *error_out)
{
    struct options trial;

    options_copy(&trial, o);
    live_rows_take(&trial, from);
    bool good = options_check(&trial, error_out);
    if (good) {
        live_rows_take(o, &trial);
        preset_take(o, from);
    }
    options_fini(&trial);
    return good;
}

static bool line_set(struct options *o, const char *line, size_t len, bool *named_out, struct options_error *error_out)
{
    const char *equals = memchr(line, '=', len);
    char shown[OPTION_SHOW_MAX];
    char value[OPTION_NAME_MAX];

    snprintf(value, sizeof value, "%.*s", (int)(len < sizeof value ? len : sizeof value - 1), line);
    if (!equals)
        return options_fail(error_out, "\"%s\" is not of the form KEY=VALUE", option_show(value, shown));
    const struct option_row *row = options_row(line, (size_t)(equals - line), error_out);
    if (!row)
        return false;
    if (!row->live)
        return options_fail(error_out, "%s takes effect at the next start; it can't change while the fleet runs",
                            row->name);
    /* No value of a LIVE row is nearly as long. */
    size_t value_len = len - (size_t)(equals + 1 - line);
    if (value_len >= sizeof value || memchr(equals, '\0', value_len + 1))
        return options_fail(error_out, "the value of %s is too long or holds a NUL", row->name);
    memcpy(value, equals + 1, value_len);
    value[value_len] = '\0';
    named_out[option_index(row)] = true;
    return option_store(o, row, value, false, ORIGIN_SET, error_out);
}

bool options_set_lines(struct options *o, const char *text, size_t len, bool *named_out,
                       struct options_error *error_out)
{
    struct options trial;
    bool good = true;
    bool any = false;

    options_copy(&trial, o);
    while (good && len) {
        const char *newline = memchr(text, '\n', len);
        size_t line_len = newline ? (size_t)(newline - text) : len;
        if (line_len) {
            good = line_set(&trial, text, line_len, named_out, error_out);
            any = true;
        }
        text += line_len + (newline != NULL);
        len -= line_len + (newline != NULL);
    }
    if (good && !any)
        good = options_fail(error_out, "no option is named; write KEY=VALUE");
    if (good) {
        options_settle(&trial);
        good = options_check(&trial, error_out);
    }
    if (good)
        live_rows_take(o, &trial);
    options_fini(&trial);
    return good;
}
