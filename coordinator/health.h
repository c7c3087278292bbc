#pragma once
/* The health of hosts: opens and closes their circuits by what became of attempts, asks anew for the addresses of a
 * host that none of its addresses answers for, keeps both in the map, and sweeps what is out of date out of it. Results
 * tell it of each attempt's end; the frontier of hosts that come, go, or are no longer held. */

#include <stdint.h>

#include "common/options.h"
#include "coordinator/frontier.h"
#include "coordinator/task.h"
#include "shm/region.h"
#include "shm/store.h"
#include "shm/task.h"

struct health;

/* Everything is borrowed; `store` may be NULL: nothing is kept. Begins to watch the frontier. */
struct health *health_new(struct frontier *frontier, struct region *region, struct store *store,
                          const struct options *options);
/* The frontier does nothing more after this, or gets another watcher. */
void health_free(struct health *h);

/* A worker says what became of an attempt; the task is still given to it. NULL: go on as the message says. Else the
 * host's circuit opened again by it: what waited for the host has ended, and the task is to end too, with this clause,
 * good until the next call. */
const char *health_on_end(struct health *h, const struct task *task, const struct result_message *m);
/* The coordinator's loop turns: does what is due. Returns when it next wants to be called (monotonic µs). */
uint64_t health_turn(struct health *h, uint64_t now_us);
/* The host's record in the map gets the time of a probe begun now. */
void health_note_probe(struct health *h, struct host *host);
