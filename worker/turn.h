#pragma once
/* One turn of a worker's loop, between two waits: deadlines, new tasks, connections that need a look, output, results.
 */

#include "worker/worker.h"

/* Does everything that is due; returns when the next turn is due at the latest (monotonic µs, TIMER_NEVER: only
 * events). */
uint64_t turn_run(struct worker *w);
/* Something came up that can't wait for an event: the loop must not sleep. */
bool turn_is_pressing(struct worker *w);
