/* Growth, formatting and release of byte buffers. */
#include "common/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

void buffer_fini(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

void buffer_grow(struct buffer *b, size_t more)
{
    size_t cap = b->cap ? b->cap : 256;

    if (more > SIZE_MAX / 4 - b->len)
        die("out of memory: a buffer of more than %zu bytes was asked for", b->len);
    while (cap - b->len < more)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data)
        die("out of memory: no room for a buffer of %zu bytes", cap);
    b->data = data;
    b->cap = cap;
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_list again;

    va_start(args, format);
    va_copy(again, args);
    buffer_reserve(b, 64);
    int n = vsnprintf(b->data + b->len, b->cap - b->len, format, args);
    if (n > 0 && (size_t)n >= b->cap - b->len) {
        buffer_reserve(b, (size_t)n + 1);
        n = vsnprintf(b->data + b->len, b->cap - b->len, format, again);
    }
    if (n > 0)
        b->len += (size_t)n;
    va_end(again);
    va_end(args);
}

void buffer_consume(struct buffer *b, size_t n)
{
    if (n < b->len)
        memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}
