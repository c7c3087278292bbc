/* The order of things within a turn. */
#include "worker/turn.h"

#include "common/log.h"
#include "worker/conn.h"
#include "worker/fetch.h"
#include "worker/health.h"
#include "worker/inbox.h"
#include "worker/lease.h"
#include "worker/live.h"
#include "worker/outbox.h"
#include "worker/pool.h"

#define TEND_INTERVAL_US 1000000
#define ROUNDS_MAX       64

/* A connection that ends while output is gathered frees a slot; a waiter that gets it has output to gather: until
 * neither is left. What still is after many rounds waits for the next turn, which comes at once. */
static void settle(struct worker *w)
{
    for (int round = 0; round < ROUNDS_MAX && (w->slot_freed || !TAILQ_EMPTY(&w->dirty)); round++) {
        pool_tend(w->pool);
        conn_flush_dirty(w);
    }
}

/* What was published and is not seen waits for ever; a new worker begins with new rings. */
static void check_rings(const struct worker *w)
{
    if (!ring_is_intact(&w->tasks) || !ring_is_intact(&w->records))
        die("internal: the positions in the rings were written over");
}

uint64_t turn_run(struct worker *w)
{
    live_follow(w);
    timers_run(&w->timers, w->now_us, w);
    outbox_retry(w);
    inbox_drain(w);
    settle(w);
    if (w->now_us >= w->tend_at_us) {
        check_rings(w);
        lease_follow_limit(w);
        fetch_trim_spare(w);
        pool_trim_idle(w->pool);
        w->tend_at_us = w->now_us + TEND_INTERVAL_US;
    }
    uint64_t sweep = health_sweep(w);
    /* Again: what found the ring full since then has not asked for room yet. */
    outbox_retry(w);
    outbox_publish(w, pool_waiting(w->pool) == 0);
    conn_sweep(w);
    STATS_ADD(w->page, turns, 1);
    uint64_t next = timers_next(&w->timers);
    next = sweep < next ? sweep : next;
    return pool_has_idle(w->pool) && w->tend_at_us < next ? w->tend_at_us : next;
}

bool turn_is_pressing(struct worker *w)
{
    return w->slot_freed || !TAILQ_EMPTY(&w->dirty) || inbox_waiting(w);
}
