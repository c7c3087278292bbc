/* The walk over hosts that keeps their turns, a part of the table at a time. */
#include "coordinator/probes.h"

#include <stdlib.h>

#include "common/log.h"

#define STEPS_PER_INTERVAL 64
#define STEPS_PER_WALK     4 /* so each host is looked at sixteen times in an interval */
#define STEP_MIN_US        10000
#define JITTER             10 /* one part in so many, either way */

struct probes {
    struct frontier *frontier;
    struct chores *chores;
    struct health *health;
    struct region *region;
    const struct options *options;
    uint64_t now_us, step_at_us;
    uint32_t hand; /* of the walk */
};

struct probes *probes_new(struct frontier *frontier, struct chores *chores, struct health *health,
                          struct region *region, const struct options *options)
{
    struct probes *p = calloc(1, sizeof *p);

    if (!p)
        die("out of memory: no room for the schedule of probes");
    p->frontier = frontier;
    p->chores = chores;
    p->health = health;
    p->region = region;
    p->options = options;
    return p;
}

void probes_free(struct probes *p)
{
    free(p);
}

/* Hosts that are first used together are not to be probed together for ever. */
static uint64_t next_turn(const struct probes *p, const struct host *host)
{
    uint64_t interval_us = p->options->health_check_interval * 1000;
    uint64_t mixed = (host->hash ^ p->now_us) * UINT64_C(0x9e3779b97f4a7c15);

    return p->now_us + interval_us - interval_us / JITTER + (mixed >> 32) % (2 * interval_us / JITTER + 1);
}

static void give_orders(struct probes *p, struct host *host)
{
    struct chore_order order = {.kind = TASK_PROBE, .host = host, .ip = IP_NONE};
    bool given = false;

    for (unsigned w = 0; w < p->region->layout.workers; w++) {
        if (iptable_host_cell(&p->region->table, host->index, w) > 0)
            given |= chores_give(p->chores, w, &order);
    }
    if (given)
        health_note_probe(p->health, host);
}

static void look(void *user, struct host *host)
{
    struct probes *p = user;
    uint64_t latest_us = p->now_us + p->options->health_check_interval * 1000 * (JITTER + 1) / JITTER;

    if (iptable_host_open(&p->region->table, host->index) == 0) {
        host->probe_at_us = 0;
        return;
    }
    if (host->probe_at_us && host->probe_at_us <= p->now_us)
        give_orders(p, host);
    /* First seen, just had its turn, or the interval has become shorter. */
    if (host->probe_at_us <= p->now_us || host->probe_at_us > latest_us)
        host->probe_at_us = next_turn(p, host);
}

uint64_t probes_turn(struct probes *p, uint64_t now_us)
{
    uint64_t step_us = p->options->health_check_interval * 1000 / STEPS_PER_INTERVAL;

    if (step_us < STEP_MIN_US)
        step_us = STEP_MIN_US;
    if (now_us < p->step_at_us && p->step_at_us <= now_us + step_us)
        return p->step_at_us;
    p->now_us = now_us;
    p->step_at_us = now_us + step_us;
    if (iptable_fleet_open(&p->region->table) > 0)
        frontier_walk_hosts(p->frontier, &p->hand, STEPS_PER_WALK, look, p);
    return p->step_at_us;
}
