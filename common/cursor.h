#pragma once
/* A place in bytes that somebody else wrote, read from with every length checked: what lies past the end reads as zero
 * or NULL and makes the cursor bad for good, so that one look at the end tells whether all was there. Borrows the
 * bytes. Numbers are in network order. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
    return (struct cursor){data, len, false};
}

/* The next `len` bytes, passed over; NULL when there are not as many. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t len)
{
    const uint8_t *at = c->at;

    if (c->bad || len > c->left) {
        c->bad = true;
        c->left = 0;
        return NULL;
    }
    c->at += len;
    c->left -= len;
    return at;
}

/* A number of `size` bytes, at most 4. */
static inline uint32_t cursor_number(struct cursor *c, size_t size)
{
    const uint8_t *at = cursor_take(c, size);
    uint32_t n = 0;

    for (size_t i = 0; at && i < size; i++)
        n = n << 8 | at[i];
    return n;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    return (uint8_t)cursor_number(c, 1);
}

static inline uint16_t cursor_u16(struct cursor *c)
{
    return (uint16_t)cursor_number(c, 2);
}

/* A vector: its length in `size` bytes, then so many bytes, as a cursor of their own. */
static inline struct cursor cursor_vector(struct cursor *c, size_t size)
{
    size_t len = cursor_number(c, size);
    const uint8_t *at = cursor_take(c, len);

    return (struct cursor){at, at ? len : 0, at == NULL};
}

/* Whether all was read and nothing was missing. */
static inline bool cursor_done(const struct cursor *c)
{
    return !c->bad && c->left == 0;
}
