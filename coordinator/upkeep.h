#pragma once
/* What the coordinator does beside fetching, in one place: the health of hosts, the schedule of probes, the size of the
 * pool, the patrol. Owns the four. */

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/health.h"
#include "coordinator/patrol.h"
#include "coordinator/pool_size.h"
#include "coordinator/probes.h"

struct upkeep {
    struct health *health;
    struct probes *probes;
    struct pool_size *pool_size;
    struct patrol *patrol;
    uint64_t at_us; /* when it next wants its turn; UINT64_MAX: not of itself */
};

void upkeep_free(struct upkeep *u);
/* Does what is due; sets at_us. While the fleet drains nothing new is begun. */
void upkeep_turn(struct upkeep *u, uint64_t now_us, bool draining);
