/* Options from TOML files and from the environment, and the order of all layers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/options_rows.h"
#include "common/toml.h"

#define FILE_BYTES_MAX  (16u << 20)
#define PATH_SHOWN_MAX  200
#define VARIABLE_PREFIX "HOTFLEET_"

/* --- TOML --------------------------------------------------------------------------------------------------------- */

struct file_reader {
    struct options *o;
    const char *path;
    struct options_error *error;
    bool refused; /* `error` is complete: the callback knows better places than the reader of TOML */
};

/* As much of a path as errors have room for. */
static const char *path_end(const char *path)
{
    size_t len = strlen(path);

    return len > PATH_SHOWN_MAX ? path + len - PATH_SHOWN_MAX : path;
}

static const char *refuse(struct file_reader *f, unsigned line, unsigned column)
{
    f->refused = true;
    options_fail_at(f->error, "%s:%u:%u", path_end(f->path), line, column);
    return "";
}

static const struct option_row *find_key(const char *table, const char *key)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        if (strcmp(option_rows[i].category, table) == 0 && strcmp(option_key(&option_rows[i]), key) == 0)
            return &option_rows[i];
    }
    return NULL;
}

static bool is_table(const char *table)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        if (strcmp(option_rows[i].category, table) == 0)
            return true;
    }
    return false;
}

static void unknown_table(const char *table, struct options_error *error_out)
{
    struct nearest nearest = {.wanted = table};
    char shown[OPTION_SHOW_MAX];

    for (size_t i = 0; i < option_rows_count; i++)
        nearest_offer(&nearest, option_rows[i].category);
    option_show(table, shown);
    if (nearest_is_likely(&nearest))
        options_fail(error_out, "unknown table [%s]; did you mean [%s]?", shown, nearest.best);
    else
        options_fail(error_out, "unknown table [%s]; `hotfleet config print` shows all tables", shown);
}

static void unknown_key(const char *table, const char *key, struct options_error *error_out)
{
    const struct option_row *elsewhere = option_find(key, strlen(key));
    struct nearest nearest = {.wanted = key};
    char place[OPTION_SHOW_MAX + 8] = "outside of any table";
    char shown[OPTION_SHOW_MAX];

    for (size_t i = 0; i < option_rows_count; i++) {
        if (strcmp(option_rows[i].category, table) == 0)
            nearest_offer(&nearest, option_key(&option_rows[i]));
    }
    if (*table)
        snprintf(place, sizeof place, "in [%s]", option_show(table, shown));
    option_show(key, shown);
    if (elsewhere && strcmp(elsewhere->category, table) != 0)
        options_fail(error_out, "unknown key \"%s\" %s; it belongs in [%s]", shown, place, elsewhere->category);
    else if (nearest_is_likely(&nearest))
        options_fail(error_out, "unknown key \"%s\" %s; did you mean \"%s\"?", shown, place, nearest.best);
    else
        options_fail(error_out, "unknown key \"%s\" %s; `hotfleet config print` shows all keys", shown, place);
}

static const char *const wanted_names[] = {
    [OPTION_BOOL] = "true or false",
    [OPTION_INT] = "an integer",
    [OPTION_COUNT] = "an integer or \"auto\"",
    [OPTION_DURATION] = "seconds as a number, or a string such as \"30s\" or \"250ms\"",
    [OPTION_SIZE] = "bytes as an integer, or a string such as \"64K\" or \"10M\"",
    [OPTION_STRING] = "a string in quotes",
    [OPTION_LIST] = "an array of strings, [\"…\", \"…\"]",
    [OPTION_CHOICE] = "a string in quotes",
};

static bool wrong_type(const struct option_row *row, const struct toml_value *value, struct options_error *error_out)
{
    static const char *const given_names[] = {
        [TOML_STRING] = "a string", [TOML_INT] = "an integer", [TOML_FLOAT] = "a float",
        [TOML_BOOL] = "a boolean",  [TOML_ARRAY] = "an array",
    };
    return options_fail(error_out, "%s is %s; it must be %s", row->name, given_names[value->type],
                        wanted_names[row->type]);
}

/* The value as options_set() reads it; false: no value of this type fits the row. */
static bool scalar_text(const struct option_row *row, const struct toml_value *value, struct buffer *out)
{
    enum option_type to = row->type;

    switch (value->type) {
    case TOML_STRING:
        buffer_append(out, value->string, value->string_len);
        return to == OPTION_DURATION || to == OPTION_SIZE || to == OPTION_STRING || to == OPTION_CHOICE ||
               (to == OPTION_COUNT && value->string_len == 4 && memcmp(value->string, "auto", 4) == 0);
    case TOML_INT:
        buffer_printf(out, "%lld", (long long)value->integer);
        return to == OPTION_INT || to == OPTION_COUNT || to == OPTION_DURATION || to == OPTION_SIZE ||
               to == OPTION_CHOICE;
    case TOML_FLOAT:
        buffer_printf(out, to == OPTION_CHOICE ? "%g" : "%.9f", value->real);
        return to == OPTION_DURATION || to == OPTION_CHOICE;
    case TOML_BOOL:
        buffer_append_str(out, value->boolean ? "true" : "false");
        return to == OPTION_BOOL;
    case TOML_ARRAY:
        return false;
    }
    return false;
}

/* Puts the items of an array one under the other. *at_out: the value at fault. */
static bool list_text(const struct option_row *row, const struct toml_value *value, struct buffer *out,
                      const struct toml_value **at_out, struct options_error *error_out)
{
    for (size_t i = 0; i < value->items_count; i++) {
        const struct toml_value *item = *at_out = &value->items[i];
        if (item->type != TOML_STRING)
            return options_fail(error_out, "an item of %s is no string; put it in quotes", row->name);
        if (item->string_len == 0 || memchr(item->string, '\n', item->string_len))
            return options_fail(error_out, "an item of %s is empty or holds a newline; remove it", row->name);
        if (i)
            buffer_append_char(out, '\n');
        buffer_append(out, item->string, item->string_len);
    }
    *at_out = value;
    return true;
}

static bool value_set(struct file_reader *f, const struct option_row *row, unsigned line,
                      const struct toml_value *value, const struct toml_value **at_out)
{
    struct buffer text = {0};
    struct buffer origin = {0};
    bool good;

    *at_out = value;
    if (row->type == OPTION_LIST && value->type == TOML_ARRAY)
        good = list_text(row, value, &text, at_out, f->error);
    else
        good = scalar_text(row, value, &text) || wrong_type(row, value, f->error);
    if (good && text.len && memchr(text.data, 0, text.len))
        good = options_fail(f->error, "%s holds a NUL character; remove it", row->name);
    if (good) {
        buffer_append_char(&text, '\0');
        buffer_printf(&origin, "%s:%u", f->path, line);
        buffer_append_char(&origin, '\0');
        good = option_store(f->o, row, text.data, false, origin.data, f->error);
    }
    buffer_fini(&text);
    buffer_fini(&origin);
    return good;
}

static const char *on_value(void *user, const char *table, const char *key, unsigned line, unsigned column,
                            const struct toml_value *value)
{
    struct file_reader *f = user;
    const struct option_row *row = find_key(table, key);
    const struct toml_value *at;

    if (*table && !is_table(table)) {
        unknown_table(table, f->error);
        return refuse(f, line, column);
    }
    if (!row) {
        unknown_key(table, key, f->error);
        return refuse(f, line, column);
    }
    if (!value_set(f, row, line, value, &at))
        return refuse(f, at->line, at->column);
    return NULL;
}

static const char *on_table(void *user, const char *table, unsigned line, unsigned column)
{
    struct file_reader *f = user;

    if (is_table(table))
        return NULL;
    unknown_table(table, f->error);
    return refuse(f, line, column);
}

/* Reads all of a file. *missing_out: there is none. */
static bool file_read(const char *path, struct buffer *out, bool *missing_out, struct options_error *error_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    *missing_out = fd < 0 && (errno == ENOENT || errno == ENOTDIR);
    while (fd >= 0 && out->len <= FILE_BYTES_MAX) {
        buffer_reserve(out, 65536);
        n = read(fd, out->data + out->len, 65536);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        out->len += n > 0 ? (size_t)n : 0;
    }
    int cause = errno;
    if (fd >= 0)
        close(fd);
    if (fd < 0 || n < 0)
        return options_fail(error_out, "cannot read the configuration file %s: %s; make it readable or move it away",
                            path, strerror(cause));
    if (out->len > FILE_BYTES_MAX)
        return options_fail(error_out, "the configuration file %s is larger than %u MiB; is it the right one?", path,
                            FILE_BYTES_MAX >> 20);
    return true;
}

bool options_read_file(struct options *o, const char *path, bool must_exist, struct options_error *error_out)
{
    struct file_reader f = {.o = o, .path = path, .error = error_out};
    struct toml_error toml_error;
    struct buffer text = {0};
    bool missing;

    options_ensure(o);
    bool good = file_read(path, &text, &missing, error_out);
    if (!good && missing) {
        good = !must_exist;
        if (must_exist)
            options_fail(error_out, "there is no configuration file %s; name one that exists", path);
    } else if (good && !toml_read_tables(text.data ? text.data : "", text.len, on_table, on_value, &f, &toml_error)) {
        good = false;
        if (!f.refused)
            options_fail(error_out, "%s:%u:%u: %s", path_end(path), toml_error.line, toml_error.column,
                         toml_error.message);
    }
    buffer_fini(&text);
    return good;
}

/* --- environment -------------------------------------------------------------------------------------------------- */

static bool variable_set(struct options *o, const struct option_row *row, const char *variable, const char *value,
                         struct options_error *error_out)
{
    char origin[OPTION_NAME_MAX + 16];

    snprintf(origin, sizeof origin, "environment %s", variable);
    return option_store(o, row, value, false, origin, error_out) ||
           options_fail_at(error_out, "environment variable %s", variable);
}

static bool alias_read(struct options *o, const char *variable, size_t len, const char *value,
                       struct options_error *error_out)
{
    for (size_t i = 0; i < option_aliases_count; i++) {
        const struct option_alias *alias = &option_aliases[i];
        const struct option_row *row = option_find(alias->name, strlen(alias->name));
        if (row && strlen(alias->variable) == len && memcmp(alias->variable, variable, len) == 0)
            return variable_set(o, row, alias->variable, value, error_out);
    }
    return true;
}

static bool variable_read(struct options *o, const char *variable, size_t len, const char *value,
                          struct options_error *error_out)
{
    struct nearest nearest = {0};
    char name[OPTION_NAME_MAX];

    for (size_t i = 0; i < option_rows_count; i++) {
        option_variable(&option_rows[i], name);
        if (strlen(name) == len && memcmp(name, variable, len) == 0)
            return variable_set(o, &option_rows[i], name, value, error_out);
    }
    snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), variable);
    nearest.wanted = name;
    for (size_t i = 0; i < option_rows_count; i++) {
        char candidate[OPTION_NAME_MAX];
        option_variable(&option_rows[i], candidate);
        nearest_offer(&nearest, candidate);
    }
    return options_fail(error_out, "unknown environment variable %s; did you mean %s? Mend its name or unset it.", name,
                        nearest.best);
}

bool options_read_environment(struct options *o, char **environ_in, struct options_error *error_out)
{
    options_ensure(o);
    /* The full names go second, because they win. */
    for (char **entry = environ_in; *entry; entry++) {
        size_t len = strcspn(*entry, "=");
        if ((*entry)[len] && !alias_read(o, *entry, len, *entry + len + 1, error_out))
            return false;
    }
    for (char **entry = environ_in; *entry; entry++) {
        size_t len = strcspn(*entry, "=");
        if ((*entry)[len] && strncmp(*entry, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) == 0 &&
            !variable_read(o, *entry, len, *entry + len + 1, error_out))
            return false;
    }
    return true;
}

/* --- layers ------------------------------------------------------------------------------------------------------- */

/* $XDG_CONFIG_HOME/hotfleet/config.toml, by default below ~/.config. The XDG rules ignore relative paths. */
static bool home_file_read(struct options *o, struct options_error *error_out)
{
    const char *base = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    struct buffer path = {0};

    if (base && base[0] == '/')
        buffer_append_str(&path, base);
    else if (home && home[0] == '/')
        buffer_printf(&path, "%s/.config", home);
    else
        return true;
    buffer_append_str(&path, "/hotfleet/config.toml");
    buffer_append_char(&path, '\0');
    bool good = options_read_file(o, path.data, false, error_out);
    buffer_fini(&path);
    return good;
}

bool options_load(struct options *o, int argc, char **argv, char ***rest_out, size_t *rest_count_out,
                  struct options_error *error_out)
{
    const char *config = NULL;
    char **rest = NULL;
    size_t rest_count = 0;

    *rest_out = NULL;
    *rest_count_out = 0;
    options_ensure(o);
    /* The flags come last but name a file that comes before, and --help must work beside a broken file. */
    if (!options_scan_flags(o, argc, argv, &config, &rest, &rest_count, error_out))
        return false;
    if (o->help || o->version) {
        *rest_out = rest;
        *rest_count_out = rest_count;
        return true;
    }
    free(rest);
    bool good = options_read_file(o, "/etc/hotfleet/config.toml", false, error_out) && home_file_read(o, error_out) &&
                options_read_file(o, "config.toml", false, error_out) &&
                (!config || options_read_file(o, config, true, error_out)) &&
                options_read_environment(o, environ, error_out) &&
                options_read_flags(o, argc, argv, rest_out, rest_count_out, error_out) &&
                options_finish(o, error_out) && options_check_files(o, error_out);
    if (!good) {
        free(*rest_out);
        *rest_out = NULL;
    }
    return good;
}
