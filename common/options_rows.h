#pragma once
/* What the files common/options*.c and `hotfleet config` share: looking up rows, storing values, wording errors.
 * Everybody else uses common/options.h. */

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/options.h"

#define OPTION_NAME_MAX 128 /* bytes of a flag's or variable's name, with its NUL */
#define OPTION_SHOW_MAX 80  /* bytes of a value in an error, with its NUL */

/* A variable of another name that sets an option too. */
struct option_alias {
    const char *variable, *name;
};

extern const struct option_alias option_aliases[];
extern const size_t option_aliases_count;

/* The row of that name, NULL if there is none. */
const struct option_row *option_find(const char *name, size_t len);
size_t option_index(const struct option_row *row);
/* The row at `index` is the first of its category; rows of one category need not be neighbours in the table. */
bool option_opens_category(size_t index);
/* What the option is called in its TOML table: its name, but for those whose table says half of it. */
const char *option_key(const struct option_row *row);
static inline void *option_field(struct options *o, const struct option_row *row)
{
    return (char *)o + row->offset;
}
static inline const void *option_value(const struct options *o, const struct option_row *row)
{
    return (const char *)o + row->offset;
}

/* The word auto stands for the number. */
static inline bool option_is_auto(const struct options *o, const struct option_row *row)
{
    return row->type == OPTION_COUNT && *(const bool *)((const char *)o + row->auto_offset);
}

/* Steps through the words of row->flag: true while there is one. *cursor starts as row->flag. */
bool option_flag_next(const char **cursor, const char **flag_out, size_t *len_out);
/* Writes "--id-with-dashes" or "HOTFLEET_CATEGORY_ID". */
void option_long_flag(const struct option_row *row, char out[OPTION_NAME_MAX]);
void option_variable(const struct option_row *row, char out[OPTION_NAME_MAX]);

/* Options that are all zero get their defaults, so that every entry may be the first call. */
void options_ensure(struct options *o);
/* Sets one option; a LIST gets the lines of `value`, behind what it holds if `append`. Errors as options_set(). */
bool option_store(struct options *o, const struct option_row *row, const char *value, bool append, const char *origin,
                  struct options_error *error_out);
/* Walks along the flags as options_read_flags() does, but sets nothing except help and version. *config_out: the value
 * of
 * --config, borrowed from argv, NULL if not given. */
bool options_scan_flags(struct options *o, int argc, char **argv, const char **config_out, char ***rest_out,
                        size_t *rest_count_out, struct options_error *error_out);
/* What follows when all layers are read: the preset's values for what no layer names, the automatic sizes, the checks.
 */
bool options_finish(struct options *o, struct options_error *error_out);
/* The values of o->preset for all keys that still have their default. */
void options_apply_preset(struct options *o);
/* Finds the number for an automatic max_connections that has none yet. */
void options_settle(struct options *o);
/* The checks across options; the origins in `o` say where. */
bool options_check(const struct options *o, struct options_error *error_out);
/* Those that read files which options name: once, where the user waits for the message, and not in workers. */
bool options_check_files(const struct options *o, struct options_error *error_out);

/* "1..64", "1ms..24h", "auto, 1.1, 2": what values a row takes; nothing for BOOL. */
void option_print_range(const struct option_row *row, struct buffer *out);
/* `text` as errors show it: long ones end in dots. Returns `out`. */
const char *option_show(const char *text, char out[OPTION_SHOW_MAX]);
/* Writes the error, with '?' for controls, and returns false. */
__attribute__((format(printf, 2, 3))) bool options_fail(struct options_error *error_out, const char *format, ...);
/* Puts "<place>: " in front of the message; returns false. */
__attribute__((format(printf, 2, 3))) bool options_fail_at(struct options_error *error_out, const char *format, ...);

/* The candidate nearest to a misspelt name, by edits. */
struct nearest {
    const char *wanted;
    size_t edits;
    char best[OPTION_NAME_MAX]; /* empty: none offered */
};
void nearest_offer(struct nearest *n, const char *candidate);
/* True if the best candidate is near enough to be what was meant. */
bool nearest_is_likely(const struct nearest *n);
