#pragma once
/* The options of a run: one struct, filled in layers from the table common/options.def (A14): defaults <
 * /etc/hotfleet/config.toml < $XDG_CONFIG_HOME/hotfleet/config.toml < ./config.toml < --config FILE < environment <
 * flags. A preset is a layer directly above the defaults, wherever it was asked for. The struct owns its strings;
 * options_fini() frees them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"

struct option_list {
    char **items; /* owned, NUL-terminated */
    size_t count;
};

/* Field types by option type: BOOL bool, INT int64_t, COUNT int64_t and bool id_auto (the word auto was given;
 * options_load() put the number there), DURATION uint64_t ms, SIZE uint64_t bytes, STRING char * (never
 * NULL), LIST struct option_list, CHOICE char * (one of the choices). */
#define OPTION_FIELD_BOOL(id) bool id;
#define OPTION_FIELD_INT(id)  int64_t id;
#define OPTION_FIELD_COUNT(id) \
    int64_t id;                \
    bool id##_auto;
#define OPTION_FIELD_DURATION(id) uint64_t id;
#define OPTION_FIELD_SIZE(id)     uint64_t id;
#define OPTION_FIELD_STRING(id)   char *id;
#define OPTION_FIELD_LIST(id)     struct option_list id;
#define OPTION_FIELD_CHOICE(id)   char *id;
struct options {
#define OPTION(id, type, category, fallback, min, max, flag, change, help) OPTION_FIELD_##type(id)
#include "common/options.def"
#undef OPTION
    /* Where each value comes from, by row: "default", "preset NAME", "file:LINE", "environment NAME", "flag", "ctl
     * set". Owned. */
    char **origins;
    const char *auto_bound; /* what the automatic max_connections was bound by, a constant; NULL: it is not automatic */
    /* What flags alone can ask for. */
    bool help, version;
};

enum option_type {
    OPTION_BOOL,
    OPTION_INT,
    OPTION_COUNT,
    OPTION_DURATION,
    OPTION_SIZE,
    OPTION_STRING,
    OPTION_LIST,
    OPTION_CHOICE
};

struct option_row {
    const char *name; /* "max_conns_per_host" */
    enum option_type type;
    const char *category;
    const char *fallback;
    int64_t min, max;    /* of the number (ms, bytes); of a STRING's and a LIST item's length */
    const char *choices; /* "a|b|c" for CHOICE, else NULL */
    const char *flag;    /* other flags, separated by spaces */
    bool live;           /* may change while the fleet runs */
    const char *help;
    size_t offset;      /* of the field in struct options */
    size_t auto_offset; /* of a COUNT's id_auto */
};

extern const struct option_row option_rows[];
extern const size_t option_rows_count;

struct options_error {
    char message[512]; /* a whole sentence for people: what, where (file:line:column, variable or flag), what to do */
};

/* Sets every option to its default. A struct that is all zero is as good as none: whatever fills it does this first. */
void options_init(struct options *o);
void options_fini(struct options *o);
/* Sets one option from text as a user writes it ("30s", "250ms", "30" = seconds; "64K", "10M"; "true"/"false"). A LIST
 * gets the lines of the value, is replaced by the first value of a new origin (emptied by an empty one) and appended to
 * by further ones of the same. False: error_out says why (value, range, option), without a place; the callers below add
 * it. */
bool options_set(struct options *o, const char *name, const char *value, const char *origin,
                 struct options_error *error_out);
/* Reads one TOML file. A missing file is an error only if `must_exist`. */
bool options_read_file(struct options *o, const char *path, bool must_exist, struct options_error *error_out);
/* Reads HOTFLEET_* (every option: HOTFLEET_POOL_MAX_CONNECTIONS) and the aliases MAX_CONNECTIONS, CONN_TIMEOUT. An
 * unknown variable that starts with HOTFLEET_ is an error. */
bool options_read_environment(struct options *o, char **environ_in, struct options_error *error_out);
/* Reads flags: --name VALUE, --name=VALUE, --bool, --no-bool, short flags joined or not (-w4, -w 4, -sk), `--` ends
 * them. argv[0] is skipped; what is no flag goes to *rest_out (borrowed pointers into argv, the array owned by the
 * caller). Also knows --config FILE (first found by options_load), -h/--help, -V/--version. An unknown flag names the
 * nearest. */
bool options_read_flags(struct options *o, int argc, char **argv, char ***rest_out, size_t *rest_count_out,
                        struct options_error *error_out);
/* All layers in order, the preset under them, the automatic sizes, then the checks across options (-4 with -6 is an
 * error; max_hosts above max_connections …). */
bool options_load(struct options *o, int argc, char **argv, char ***rest_out, size_t *rest_count_out,
                  struct options_error *error_out);

/* The value of `row` as text that options_set() would take back (a LIST: items joined by newlines). */
void options_format(const struct options *o, const struct option_row *row, struct buffer *out);
/* TOML of all options in force, by category; with `origins` a comment at each line. */
void options_print_toml(const struct options *o, bool origins, struct buffer *out);
/* The options part of --help, by category, and the Markdown table of the README; both from the rows alone. */
void options_print_help(struct buffer *out);
void options_print_markdown(struct buffer *out);

/* One `key = value` line as in TOML. */
void options_print_row(const struct options *o, const struct option_row *row, struct buffer *out);

/* Values in force while the fleet runs. */
/* A copy that owns all it holds; `to` is not initialised before. */
void options_copy(struct options *to, const struct options *from);
/* The row of that name, '-' or '_' in it; else NULL and an error that offers the nearest. */
const struct option_row *options_row(const char *name, size_t len, struct options_error *error_out);
/* A LIVE row's value as a number (ms, bytes, 0 or 1), and back; false, and nothing is set, when the number is out of
 * the row's range. */
uint64_t options_number(const struct options *o, const struct option_row *row);
must_check bool options_set_number(struct options *o, const struct option_row *row, uint64_t number);
/* Sets what the lines of `text` say, `key=value` each, all or nothing: unknown keys, bad values, START rows and what
 * options_check() refuses leave `o` as it is. The origin of what is set is "ctl set". *rows_out: a bit mark for each
 * row that was named, option_rows_count of them, false at first. */
bool options_set_lines(struct options *o, const char *text, size_t len, bool *named_out,
                       struct options_error *error_out);
/* Takes the LIVE values of `from` over, with their origins, when options_check() lets them stand beside the others. */
bool options_take_live(struct options *o, const struct options *from, struct options_error *error_out);

/* Hand-over to workers: `name=value` lines, values escaped as needed; and back. Ends with a NUL in neither direction.
 */
void options_serialize(const struct options *o, struct buffer *out);
bool options_deserialize(struct options *o, const char *text, size_t len, struct options_error *error_out);
