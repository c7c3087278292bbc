#pragma once
/* Tokens of HTTP, such as methods and field names (RFC 9110 5.6.2). */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool token_has(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Bytes of the token that `text` begins with. */
static inline size_t token_span(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && token_has(text[n]))
        n++;
    return n;
}
