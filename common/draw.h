#pragma once
/* Draws that can be had again: a generator (splitmix64) whose whole state is one number, so that each connection may
 * have its own. For what is to look varied, never for what is to be secret. */

#include <stddef.h>
#include <stdint.h>

struct draw {
    uint64_t state;
};

/* The generator of the `count`th of `stream`'s under `seed`: the same three numbers give the same draws. */
void draw_begin(struct draw *draw, uint64_t seed, uint64_t stream, uint64_t count);
uint64_t draw_next(struct draw *draw);
/* One of 0 to `sides` - 1, each as likely; `sides` is above 0. */
uint32_t draw_below(struct draw *draw, uint32_t sides);
void draw_fill(struct draw *draw, void *out, size_t len);
