/* Options from the command line, as curl and GNU programs read theirs. */
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/options_rows.h"

static const char *const general_flags[] = {"--help", "--version", "--config"};

/* One walk along argv. */
struct walk {
    struct options *o;
    bool apply; /* false: look only for what is no option of the table, but find all unknown flags */
    int argc, at;
    char **argv;
    const char *config; /* value of --config, NULL if not given */
    char **rest;        /* owned until the end of the walk */
    size_t rest_count;
    struct options_error *error;
};

static bool names_option(const struct option_row *row, const char *flag, size_t len)
{
    char own[OPTION_NAME_MAX];
    const char *other;
    size_t other_len;

    option_long_flag(row, own);
    if (strlen(own) == len && memcmp(own, flag, len) == 0)
        return true;
    for (const char *cursor = row->flag; option_flag_next(&cursor, &other, &other_len);) {
        if (other_len == len && memcmp(other, flag, len) == 0)
            return true;
    }
    return false;
}

static const struct option_row *find_by_flag(const char *flag, size_t len)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        if (names_option(&option_rows[i], flag, len))
            return &option_rows[i];
    }
    return NULL;
}

/* The row that --no-NAME turns off. */
static const struct option_row *find_by_negation(const char *flag, size_t len)
{
    char positive[OPTION_NAME_MAX];

    if (len < 6 || len >= sizeof positive || memcmp(flag, "--no-", 5) != 0)
        return NULL;
    int n = snprintf(positive, sizeof positive, "--%.*s", (int)(len - 5), flag + 5);
    const struct option_row *row = find_by_flag(positive, (size_t)n);
    return row && row->type == OPTION_BOOL ? row : NULL;
}

static bool unknown_flag(struct walk *w, const char *flag, size_t len)
{
    char wanted[OPTION_NAME_MAX];
    char own[OPTION_NAME_MAX];
    struct nearest nearest = {.wanted = wanted};
    const char *other;
    size_t other_len;

    snprintf(wanted, sizeof wanted, "%.*s", (int)(len < sizeof wanted ? len : sizeof wanted - 1), flag);
    for (size_t i = 0; i < sizeof general_flags / sizeof general_flags[0]; i++)
        nearest_offer(&nearest, general_flags[i]);
    for (size_t i = 0; i < option_rows_count; i++) {
        option_long_flag(&option_rows[i], own);
        nearest_offer(&nearest, own);
        for (const char *cursor = option_rows[i].flag; option_flag_next(&cursor, &other, &other_len);) {
            snprintf(own, sizeof own, "%.*s", (int)other_len, other);
            if (other_len > 2)
                nearest_offer(&nearest, own);
        }
        snprintf(own, sizeof own, "--no-%.100s", option_rows[i].name);
        for (char *p = own; *p; p++) {
            if (*p == '_')
                *p = '-';
        }
        if (option_rows[i].type == OPTION_BOOL)
            nearest_offer(&nearest, own);
    }
    option_show(wanted, own);
    if (len > 3 && nearest_is_likely(&nearest))
        return options_fail(w->error, "unknown flag %s; did you mean %s? See hotfleet run --help.", own, nearest.best);
    return options_fail(w->error, "unknown flag %s; see hotfleet run --help.", own);
}

/* Sets `row` as `flag` asks for. */
static bool flag_set(struct walk *w, const struct option_row *row, const char *flag, size_t len, const char *value)
{
    if (!w->apply)
        return true;
    if (row->type == OPTION_LIST && strchr(value, '\n'))
        return options_fail(w->error, "flag %.*s: an item of %s holds a newline; give the flag once for each item",
                            (int)len, flag, row->name);
    bool append = strcmp(w->o->origins[option_index(row)], "flag") == 0;
    return option_store(w->o, row, value, append, "flag", w->error) ||
           options_fail_at(w->error, "flag %.*s", (int)len, flag);
}

/* The argument behind the current one, whatever it looks like. */
static bool next_value(struct walk *w, const char *flag, size_t len, const char **value_out)
{
    if (w->at + 1 >= w->argc)
        return options_fail(w->error, "flag %.*s wants a value; see hotfleet run --help.", (int)len, flag);
    *value_out = w->argv[++w->at];
    return true;
}

/* --help, --version, --config; *known_out: it was one of them. */
static bool general_flag(struct walk *w, const char *arg, size_t len, bool *known_out)
{
    const char *value = arg[len] == '=' ? arg + len + 1 : NULL;
    size_t i = 0;

    while (i < 3 && (strlen(general_flags[i]) != len || memcmp(general_flags[i], arg, len) != 0))
        i++;
    *known_out = i < 3;
    if (i == 3)
        return true;
    if (i < 2) {
        if (value)
            return options_fail(w->error, "flag %.*s takes no value", (int)len, arg);
        *(i == 0 ? &w->o->help : &w->o->version) = true;
        return true;
    }
    if (!value && !next_value(w, arg, len, &value))
        return false;
    if (w->config)
        return options_fail(w->error, "flag --config is given twice; name one file");
    w->config = value;
    return true;
}

static bool walk_long(struct walk *w, const char *arg)
{
    size_t len = strcspn(arg, "=");
    const char *value = arg[len] ? arg + len + 1 : NULL;
    bool known;

    if (!general_flag(w, arg, len, &known))
        return false;
    if (known)
        return true;
    const struct option_row *row = find_by_flag(arg, len);
    if (!row) {
        row = find_by_negation(arg, len);
        if (!row)
            return unknown_flag(w, arg, len);
        if (value)
            return options_fail(w->error, "flag %.*s takes no value", (int)len, arg);
        return flag_set(w, row, arg, len, "false");
    }
    if (!value && row->type == OPTION_BOOL)
        value = "true";
    if (!value && !next_value(w, arg, len, &value))
        return false;
    return flag_set(w, row, arg, len, value);
}

/* "-w4", "-w" "4", "-sk", "-skw4" */
static bool walk_short(struct walk *w, const char *arg)
{
    for (const char *p = arg + 1; *p; p++) {
        char flag[] = {'-', *p, '\0'};
        const struct option_row *row = find_by_flag(flag, 2);
        if (*p == 'h' || *p == 'V') {
            *(*p == 'h' ? &w->o->help : &w->o->version) = true;
            continue;
        }
        /* When not even the first letter is known, a long flag may have lost a dash. */
        if (!row)
            return p == arg + 1 ? unknown_flag(w, arg, strlen(arg)) : unknown_flag(w, flag, 2);
        if (row->type != OPTION_BOOL) {
            const char *value = p + 1;
            if (!*value && !next_value(w, flag, 2, &value))
                return false;
            return flag_set(w, row, flag, 2, value);
        }
        if (!flag_set(w, row, flag, 2, "true"))
            return false;
    }
    return true;
}

static bool walk_all(struct walk *w)
{
    bool flags_ended = false;

    w->rest = calloc((size_t)(w->argc > 0 ? w->argc : 1), sizeof *w->rest);
    if (!w->rest)
        die("out of memory: no room for %d arguments", w->argc);
    for (w->at = 1; w->at < w->argc; w->at++) {
        char *arg = w->argv[w->at];
        bool good = true;
        if (flags_ended || arg[0] != '-' || arg[1] == '\0')
            w->rest[w->rest_count++] = arg;
        else if (strcmp(arg, "--") == 0)
            flags_ended = true;
        else
            good = arg[1] == '-' ? walk_long(w, arg) : walk_short(w, arg);
        if (!good) {
            free(w->rest);
            return false;
        }
    }
    return true;
}

bool options_scan_flags(struct options *o, int argc, char **argv, const char **config_out, char ***rest_out,
                        size_t *rest_count_out, struct options_error *error_out)
{
    struct walk w = {.o = o, .argc = argc, .argv = argv, .error = error_out};

    if (!walk_all(&w))
        return false;
    *config_out = w.config;
    *rest_out = w.rest;
    *rest_count_out = w.rest_count;
    return true;
}

bool options_read_flags(struct options *o, int argc, char **argv, char ***rest_out, size_t *rest_count_out,
                        struct options_error *error_out)
{
    struct walk w = {.o = o, .apply = true, .argc = argc, .argv = argv, .error = error_out};

    *rest_out = NULL;
    *rest_count_out = 0;
    options_ensure(o);
    if (!walk_all(&w))
        return false;
    *rest_out = w.rest;
    *rest_count_out = w.rest_count;
    return true;
}
