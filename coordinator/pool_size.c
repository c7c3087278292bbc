/* Looking at the load, and putting a new limit into force. */
#include "coordinator/pool_size.h"

#include <stdlib.h>

#include "common/log.h"
#include "coordinator/live.h"
#include "coordinator/pool_size_adapt.h"

#define LOOK_INTERVAL_US 1000000

struct pool_size {
    struct region *region;
    struct options *options;
    struct live *live;
    struct pool_size_adapt adapt;
    uint32_t base;
    uint64_t look_at_us;
    bool changing; /* the change under way is of our own making */
};

void pool_size_tell(const struct options *o)
{
    if (o->auto_bound)
        log_event(LOG_INFO, "pool-size", "max_connections=%lld bound_by=\"%s\"", (long long)o->max_connections,
                  o->auto_bound);
}

struct pool_size *pool_size_new(struct region *region, struct options *options, struct live *live)
{
    struct pool_size *p = calloc(1, sizeof *p);

    if (!p)
        die("out of memory: no room for the size of the pool");
    p->region = region;
    p->options = options;
    p->live = live;
    p->base = (uint32_t)options->max_connections;
    pool_size_adapt_init(&p->adapt, p->base);
    return p;
}

void pool_size_free(struct pool_size *p)
{
    free(p);
}

static void put_in_force(struct pool_size *p, uint32_t limit)
{
    p->options->max_connections = limit;
    p->changing = true;
    live_publish(p->live);
    p->changing = false;
}

/* A limit that is not the one we made is the user's, and the base from now on. */
void pool_size_follow_options(struct pool_size *p)
{
    if (p->changing)
        return;
    if ((uint32_t)p->options->max_connections != p->adapt.limit) {
        p->base = (uint32_t)p->options->max_connections;
        pool_size_adapt_init(&p->adapt, p->base);
    } else if (!p->options->adaptive_pool && p->adapt.limit != p->base) {
        pool_size_adapt_init(&p->adapt, p->base);
        put_in_force(p, p->base);
    }
}

/* Connections with a request on them, or being made. Of each worker no more than there can be: it writes the numbers.
 */
static uint32_t busy(const struct region *region)
{
    uint64_t sum = 0;

    for (uint32_t w = 0; w < region->layout.workers; w++) {
        const struct stats_page *page = region_page(region, w);
        uint32_t open = iptable_fleet_cell(&region->table, w);
        uint64_t active = STATS_GET(page, conns_active);
        uint64_t dialing = STATS_GET(page, conns_dialing);
        sum += active < open && dialing < open - active ? active + dialing : open;
    }
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

uint64_t pool_size_turn(struct pool_size *p, uint64_t now_us)
{
    /* There is always a host without a connection to give up for a new one. */
    uint32_t max = (uint32_t)p->options->max_hosts - 1;

    if (!p->options->adaptive_pool)
        return UINT64_MAX;
    if (now_us < p->look_at_us)
        return p->look_at_us;
    p->look_at_us = now_us + LOOK_INTERVAL_US;
    uint32_t before = p->adapt.limit;
    if (pool_size_adapt_look(&p->adapt, p->base, max, busy(p->region))) {
        log_event(LOG_INFO, "pool-size", "max_connections=%u before=%u base=%u", p->adapt.limit, before, p->base);
        put_in_force(p, p->adapt.limit);
    }
    return p->look_at_us;
}
