#pragma once
/* The overflow map: blocks of input lines that no window has room for, in an LMDB map of their own. Blocks are kept by
 * queue and number, and taken once. The file has no name as soon as it is open: its space goes with the process,
 * whatever ends that. One thread at a time uses a map; it never syncs, since nothing in it outlives the process.
 *
 * A block that can't be written (full disk, full map) is kept in memory and tried again with the next: nothing is lost,
 * and the caller is told to bring no more. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"

struct overflow_map;

/* In `dir`, with at most `bytes_max` of blocks. OUTCOME_SYSTEM: *reason_out says why not (until the next call). */
must_check enum outcome overflow_map_open(struct overflow_map **map_out, const char *dir, uint64_t bytes_max,
                                          const char **reason_out);
void overflow_map_close(struct overflow_map *m);
/* Keeps `block`, whose memory passes to the map. OUTCOME_FULL: it is kept, but in memory: no more should come before
 * blocks were taken. */
must_check enum outcome overflow_map_put(struct overflow_map *m, uint32_t queue, uint64_t number, struct buffer *block);
/* Tries to write what could not be written; OUTCOME_FULL: it can't be yet. OUTCOME_OK also when nothing waits. */
must_check enum outcome overflow_map_retry(struct overflow_map *m);
/* Takes a block that was put into `block_out` (empty before). OUTCOME_NOT_FOUND: the map can't be read (logged). */
must_check enum outcome overflow_map_take(struct overflow_map *m, uint32_t queue, uint64_t number,
                                          struct buffer *block_out);
/* Bytes of the file. */
uint64_t overflow_map_bytes(const struct overflow_map *m);
