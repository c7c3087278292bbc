/* Sebastiano Vigna's splitmix64, and what is drawn with it. */
#include "common/draw.h"

#include <string.h>

static uint64_t mix(uint64_t n)
{
    n = (n ^ n >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ n >> 27) * UINT64_C(0x94d049bb133111eb);
    return n ^ n >> 31;
}

uint64_t draw_next(struct draw *draw)
{
    draw->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(draw->state);
}

void draw_begin(struct draw *draw, uint64_t seed, uint64_t stream, uint64_t count)
{
    draw->state = seed;
    draw->state = draw_next(draw) ^ mix(stream + 1);
    draw->state = draw_next(draw) ^ mix(~count);
}

uint32_t draw_below(struct draw *draw, uint32_t sides)
{
    /* What lies above the last whole multiple would favour the first sides. */
    uint32_t above = UINT32_MAX - UINT32_MAX % sides;
    uint32_t n;

    do {
        n = (uint32_t)(draw_next(draw) >> 32);
    } while (n >= above);
    return n % sides;
}

void draw_fill(struct draw *draw, void *out, size_t len)
{
    uint8_t *at = out;

    while (len > 0) {
        uint64_t n = draw_next(draw);
        size_t part = len < sizeof n ? len : sizeof n;
        memcpy(at, &n, part);
        at += part;
        len -= part;
    }
}
