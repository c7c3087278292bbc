#pragma once
/* Dispatch: gives tasks out. It chooses the worker that holds hot connections to the host, else the least loaded, plans
 * so that the connections wanted stay within the limits, and gives each host only as many tasks as its connections can
 * work on, plus what it has lately answered within a turn. */

#include <stdint.h>

#include "coordinator/fleet.h"
#include "coordinator/frontier.h"

struct dispatch;

/* Everything is borrowed. */
struct dispatch *dispatch_new(struct fleet *fleet, struct frontier *frontier, struct region *region,
                              const struct options *options);
void dispatch_free(struct dispatch *d);
/* The coordinator's loop turns at `now_us`, monotonic: hosts' paces are counted by it. */
void dispatch_begin_turn(struct dispatch *d, uint64_t now_us);
/* Gives out all that can be; wakes nobody (fleet_wake() does). True when tasks were left for want of ring room. */
bool dispatch_run(struct dispatch *d);
/* Takes a task back from its worker: it has been answered, handed back, or its worker died. Place becomes TASK_NOWHERE.
 */
void dispatch_take_back(struct dispatch *d, struct task *task);
/* Counts an answer for the host's pace. */
void dispatch_count_answer(struct dispatch *d, struct host *host);
uint32_t dispatch_given(const struct dispatch *d);
