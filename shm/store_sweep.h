#pragma once
/* Sweeping the map: records that say nothing any more go, in steps so small that nobody waits for them. */

#include <stdbool.h>
#include <stdint.h>

#include "shm/store.h"

/* Looks at up to `looks` records, going on where the last call ended, and deletes those that are expired, old or
 * unreadable, within the pending transaction. False: the end was reached, and the next call begins anew. */
bool store_sweep(struct store *s, uint64_t now_wall_us, unsigned looks);
