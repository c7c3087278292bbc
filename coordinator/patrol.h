#pragma once
/* The patrol: once a second, what each worker has written about itself in shared memory is held against what can be:
 * its position in the task ring, its words, its cells of the tables, its page of statistics. One whose numbers make no
 * sense is ended, and replaced like any that died; its page goes back to what it was when it was last sound. Words of
 * the coordinator's own that somebody has written over are put right. It also wakes workers that have tasks and may
 * have lost their wake-up. */

#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"
#include "coordinator/fleet.h"
#include "shm/region.h"

struct patrol;

/* Everything is borrowed; `options` are those in force, whatever becomes of them. */
struct patrol *patrol_new(struct region *region, struct fleet *fleet, const struct options *options);
void patrol_free(struct patrol *p);
/* Goes its round when it is time; returns when the next is due (monotonic µs). */
uint64_t patrol_turn(struct patrol *p, uint64_t now_us, bool draining);
/* The limit of connections may have become another one. */
void patrol_follow_options(struct patrol *p);
/* A worker is dead: its page is put right if it does not make sense, and the coordinator's words before the next
 * starts. */
void patrol_on_death(struct patrol *p, unsigned worker, bool draining);
