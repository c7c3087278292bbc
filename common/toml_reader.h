#pragma once
/* The state that the two halves of the TOML reader share: common/toml.c reads documents, tables and keys,
 * common/toml_value.c what stands right of the '='. Nobody else includes this. The text is borrowed from the caller of
 * toml_read(); it is valid UTF-8 by the time a reader exists, so that bytes above 0x7f need no further look. */

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/toml.h"

struct toml_reader {
    const char *text;
    size_t len, pos;
    size_t line_start;     /* offset of the current line's first byte */
    unsigned line;         /* from 1 */
    struct buffer strings; /* owned: the current value's strings, each with a NUL behind it */
    struct buffer items;   /* owned: the current array's struct toml_value */
    struct toml_error *error;
};

/* A spot in the text; columns count bytes from 1. */
struct toml_place {
    unsigned line, column;
};

static inline struct toml_place toml_here(const struct toml_reader *r)
{
    return (struct toml_place){r->line, (unsigned)(r->pos - r->line_start + 1)};
}

/* The byte `ahead` of the position, or -1 past the end. */
static inline int toml_peek(const struct toml_reader *r, size_t ahead)
{
    return ahead < r->len - r->pos ? (unsigned char)r->text[r->pos + ahead] : -1;
}

/* Writes the error and returns false. */
__attribute__((format(printf, 3, 4))) bool toml_fail(struct toml_reader *r, struct toml_place place, const char *format,
                                                     ...);
/* True when a byte may not stand in comments and strings: controls other than tab. */
bool toml_is_control(int c);
/* Passes LF or CRLF if one is next. */
bool toml_pass_newline(struct toml_reader *r);
/* Passes spaces and tabs. */
void toml_skip_blanks(struct toml_reader *r);
/* Passes spaces, tabs, and one comment up to its newline. False: a control character in the comment. */
bool toml_skip_comment(struct toml_reader *r);

/* Reads the string whose opening quote is next and appends its bytes to `out`. Multi-line strings only where `lines`.
 */
bool toml_string_read(struct toml_reader *r, bool lines, struct buffer *out);
/* Reads one value; strings and items live in the reader until the next call. */
bool toml_value_read(struct toml_reader *r, struct toml_value *value_out);
