#pragma once
/* When connections are looked after: each host with open connections has its turn once in health_check_interval, give
 * or take a tenth. Each worker that holds some of them is ordered to probe those that are idle; nobody else is. */

#include <stdint.h>

#include "common/options.h"
#include "coordinator/chores.h"
#include "coordinator/frontier.h"
#include "coordinator/health.h"
#include "shm/region.h"

struct probes;

/* Everything is borrowed. */
struct probes *probes_new(struct frontier *frontier, struct chores *chores, struct health *health,
                          struct region *region, const struct options *options);
void probes_free(struct probes *p);
/* Gives the orders that are due; returns when it next wants to be called (monotonic µs). */
uint64_t probes_turn(struct probes *p, uint64_t now_us);
