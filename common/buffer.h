#pragma once
/* A growing run of bytes. The holder owns the memory; buffer_fini() gives it back. Running out of memory ends the
 * process with exit code 1: a fleet that cannot hold its own records cannot keep its promise. */

#include <stddef.h>
#include <string.h>

struct buffer {
    char *data; /* NULL until the first byte; never NUL-terminated by itself */
    size_t len;
    size_t cap;
};

void buffer_fini(struct buffer *b);
/* Makes room for `more` further bytes; data may move. */
void buffer_grow(struct buffer *b, size_t more);
/* Appends printf-formatted text. */
__attribute__((format(printf, 2, 3))) void buffer_printf(struct buffer *b, const char *format, ...);
/* Drops the first `n` bytes (n <= len). */
void buffer_consume(struct buffer *b, size_t n);

static inline void buffer_reserve(struct buffer *b, size_t more)
{
    if (!b->data || b->cap - b->len < more)
        buffer_grow(b, more);
}

/* Appends bytes; NULL is none. */
static inline void buffer_append(struct buffer *b, const void *data, size_t len)
{
    if (!data || len == 0)
        return;
    buffer_reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static inline void buffer_append_char(struct buffer *b, char c)
{
    buffer_reserve(b, 1);
    b->data[b->len++] = c;
}

static inline void buffer_append_str(struct buffer *b, const char *s)
{
    buffer_append(b, s, strlen(s));
}

static inline void buffer_clear(struct buffer *b)
{
    b->len = 0;
}
