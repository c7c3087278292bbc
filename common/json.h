#pragma once
/* Writing JSON (RFC 8259) onto a buffer. Keys are C literals of plain ASCII; commas are put by the writer. Bytes that
 * are not valid UTF-8 come out as the four characters \xHH (the backslash escaped as JSON asks), so that every reader
 * accepts every record. Reading of JSON input lines: common/input.h. */

#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"

/* Escapes `text` between quotes. */
void json_put_string(struct buffer *b, const char *text, size_t len);
void json_put_int(struct buffer *b, int64_t value);
void json_put_uint(struct buffer *b, uint64_t value);
/* Milliseconds with three decimals from microseconds: 12345 -> 12.345 */
void json_put_ms(struct buffer *b, uint64_t us);

/* Opens and closes an object. */
static inline void json_open(struct buffer *b)
{
    buffer_append_char(b, '{');
}

static inline void json_close(struct buffer *b)
{
    buffer_append_char(b, '}');
}

/* Puts `"key":`, with a comma before it unless it is the first in its object. */
static inline void json_put_key(struct buffer *b, const char *key, size_t key_len)
{
    buffer_reserve(b, key_len + 4);
    char last = '{';
    if (b->len)
        last = b->data[b->len - 1];
    if (last != '{' && last != '[')
        b->data[b->len++] = ',';
    b->data[b->len++] = '"';
    memcpy(b->data + b->len, key, key_len);
    b->len += key_len;
    b->data[b->len++] = '"';
    b->data[b->len++] = ':';
}

#define json_key(b, literal) json_put_key((b), "" literal, sizeof(literal) - 1)
#define json_member_string(b, literal, text, text_len) \
    do {                                               \
        json_key(b, literal);                          \
        json_put_string((b), (text), (text_len));      \
    } while (0)
#define json_member_int(b, literal, value) \
    do {                                   \
        json_key(b, literal);              \
        json_put_int((b), (value));        \
    } while (0)
#define json_member_uint(b, literal, value) \
    do {                                    \
        json_key(b, literal);               \
        json_put_uint((b), (value));        \
    } while (0)
#define json_member_bool(b, literal, value)                 \
    do {                                                    \
        json_key(b, literal);                               \
        buffer_append_str((b), (value) ? "true" : "false"); \
    } while (0)
