#pragma once
/* What the input was: the CRC-32 of each 64 KiB of it, in order. A run that goes on reads its input again, and no line
 * of a block is used before the block is known to be the one of then. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INPUT_SUM_BYTES 65536u

struct input_sums {
    uint32_t *sums; /* of whole blocks: those of the earlier run, and what came after them */
    size_t count, room;
    uint32_t partial; /* of the block that is not whole yet */
    uint64_t bytes;   /* read in this run */
    /* What the earlier run had read; 0: there is nothing to compare with. */
    uint64_t known_bytes;
    uint32_t known_partial;
    bool ends_in_line; /* then it ended in a line that counts as done: what comes now may be its newline alone */
    bool differs;
};

void input_sums_fini(struct input_sums *s);
/* Sums of an earlier run, before the first byte: `count` whole blocks from the one at `from` on, in order. */
void input_sums_load(struct input_sums *s, uint64_t from, const uint32_t *sums, size_t count);
/* How much that run had read, and the sum of its last block. False: it does not fit what was loaded. */
bool input_sums_expect(struct input_sums *s, uint64_t bytes, uint32_t partial);
/* Bytes that were read. */
void input_sums_add(struct input_sums *s, const char *data, size_t len);
/* Bytes that are still to come before the last ones may be used; 0: they may. */
size_t input_sums_missing(const struct input_sums *s);
/* The input ends here. */
void input_sums_end(struct input_sums *s);
