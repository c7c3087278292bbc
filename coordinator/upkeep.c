/* Turns of what is due beside fetching. */
#include "coordinator/upkeep.h"

void upkeep_free(struct upkeep *u)
{
    patrol_free(u->patrol);
    pool_size_free(u->pool_size);
    probes_free(u->probes);
    health_free(u->health);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void upkeep_turn(struct upkeep *u, uint64_t now_us, bool draining)
{
    u->at_us = earlier(health_turn(u->health, now_us), patrol_turn(u->patrol, now_us, draining));
    if (!draining)
        u->at_us = earlier(u->at_us, earlier(probes_turn(u->probes, now_us), pool_size_turn(u->pool_size, now_us)));
}
