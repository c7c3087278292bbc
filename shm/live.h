#pragma once
/* The values of LIVE options in the shared region: a number for each row of the option table, written by the
 * coordinator alone under a counter that is odd meanwhile (a sequence lock), copied by workers when the counter has
 * moved, so that each always goes by a set that was in force as a whole. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"

#define LIVE_ROWS_MAX 192u

struct region_live {
    _Alignas(64) _Atomic uint64_t sequence; /* coordinator; odd while it writes; 0: nothing was ever written */
    uint64_t reserved[7];
    _Atomic uint64_t value[LIVE_ROWS_MAX]; /* coordinator; by row; those of START rows stay 0 */
};

/* The coordinator's: puts the LIVE values of `o` there. */
void live_write(struct region_live *live, const struct options *o);
/* There is something newer than `seen`, which starts as 0. One load. */
static inline bool live_has_moved(const struct region_live *live, uint64_t seen)
{
    return atomic_load_explicit(&live->sequence, memory_order_relaxed) != seen;
}
/* Copies a whole set into `o`; *seen_io is what live_has_moved() is asked with from now on. False, `o` as it was: none
 * was written yet, the coordinator is about it (ask again next turn), or one is out of its range, which a broken worker
 * may have done. */
must_check bool live_read(const struct region_live *live, uint64_t *seen_io, struct options *o);
