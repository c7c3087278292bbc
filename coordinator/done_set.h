#pragma once
/* The set of lines that are done, by number: nearly all up to some line, and then ever fewer. One bit a line from the
 * first chunk on that is not all done; chunks that are all done take no memory. Knows which chunks have changed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DONE_CHUNK_LINES 32768u
#define DONE_CHUNK_BYTES (DONE_CHUNK_LINES / 8)

struct done_set;

struct done_set *done_set_new(void);
void done_set_free(struct done_set *s);
/* `line` from 1. Twice is once. */
void done_set_add(struct done_set *s, uint64_t line);
bool done_set_has(const struct done_set *s, uint64_t line);
/* Lines in the set. */
uint64_t done_set_count(const struct done_set *s);
/* All chunks below this number are all done. */
uint64_t done_set_base(const struct done_set *s);

/* From what was kept: all chunks below `base` are done; before any other call. */
void done_set_start(struct done_set *s, uint64_t base);
/* A chunk's bits, DONE_CHUNK_BYTES of them: line chunk * DONE_CHUNK_LINES + 1 is bit 0 of the first byte. Not below the
 * base. */
void done_set_load(struct done_set *s, uint64_t chunk, const uint8_t *bits);
/* Steps through the chunks that changed since they were last taken and are not below the base: false when there is none
 * left. The bits are borrowed until the next call. */
bool done_set_take_changed(struct done_set *s, uint64_t *chunk_out, const uint8_t **bits_out);
/* The chunk counts as changed again. */
void done_set_touch(struct done_set *s, uint64_t chunk);
