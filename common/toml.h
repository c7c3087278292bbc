#pragma once
/* A reader of the part of TOML 1.0 that configuration needs: comments, bare and quoted and dotted keys, [tables], basic
 * and literal strings (single-line and multi-line), integers (decimal, hex, octal, binary, underscores), floats,
 * booleans, arrays (over several lines, trailing comma) of those. Dates, inline tables and arrays of tables are refused
 * by name. Pure: it calls back for each value, keeps nothing, never exits. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum toml_type { TOML_STRING, TOML_INT, TOML_FLOAT, TOML_BOOL, TOML_ARRAY };

struct toml_value {
    enum toml_type type;
    const char *string; /* unescaped UTF-8, may hold NUL bytes; borrowed for the callback's time */
    size_t string_len;
    int64_t integer;
    double real;
    bool boolean;
    const struct toml_value *items; /* of an array, nesting refused */
    size_t items_count;
    unsigned line, column; /* from 1, of the value's first byte */
};

/* Called per `key = value`: `table` is the dotted table name ("" at the top; quoted parts stand in it without their
 * quotes), `key` the key in it, both NUL-terminated; line and column are the key's, columns count bytes. Returns NULL
 * to go on, else a message that becomes the error at that value. */
typedef const char *(*toml_on_value)(void *user, const char *table, const char *key, unsigned line, unsigned column,
                                     const struct toml_value *value);

/* Called per [header], also of a table that stays empty. NULL to go on, else the error's message. */
typedef const char *(*toml_on_table)(void *user, const char *table, unsigned line, unsigned column);

struct toml_error {
    unsigned line, column; /* from 1 */
    char message[256];
};

/* Reads `text`. True when all of it was read and accepted; else *error_out says what and where. A key or table defined
 * twice is an error. */
bool toml_read(const char *text, size_t len, toml_on_value on_value, void *user, struct toml_error *error_out);
/* The same, with a look at the headers; on_table may be NULL. */
bool toml_read_tables(const char *text, size_t len, toml_on_table on_table, toml_on_value on_value, void *user,
                      struct toml_error *error_out);
