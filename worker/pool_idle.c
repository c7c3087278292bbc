/* Idle connections: counted, slimmed, and closed when there are too many. */
#include <malloc.h>

#include "common/clock.h"
#include "worker/pool_parts.h"
#include "worker/slots.h"
#include "worker/tls.h"

#define TRIM_IDLE_AGE_US 1000000
#define HOLES_MIN        64  /* connections slimmed that are worth a look through the heap */
#define HOLES_TIME_SHARE 100 /* such looks take this part of the time at most */

void pool_set_idle(struct conn *conn, bool idle)
{
    struct worker *w = conn->worker;
    struct pool *p = w->pool;

    if (conn->is_idle == idle)
        return;
    conn->is_idle = idle;
    if (idle) {
        conn->tls_slim = false;
        conn->idle_since_us = w->now_us;
        timer_set(&w->timers, &conn->timer, w->now_us + w->options.idle_timeout * 1000);
        TAILQ_INSERT_TAIL(&p->idle, conn, idle);
        STATS_ADD(w->page, conns_idle, 1);
        STATS_ADD(w->page, conns_active, -1);
    } else {
        timer_stop(&conn->timer);
        TAILQ_REMOVE(&p->idle, conn, idle);
        STATS_ADD(w->page, conns_idle, -1);
        STATS_ADD(w->page, conns_active, 1);
    }
}

bool pool_close_idle_one(struct pool *p, const struct pool_host *of, uint32_t ip)
{
    struct conn *conn;

    TAILQ_FOREACH(conn, &p->idle, idle)
    {
        if ((ip == IP_NONE || conn->ip == ip) && (!of || conn->host == of)) {
            conn_close(conn);
            return true;
        }
    }
    return false;
}

/* Connections that stay idle need no buffers. From the latest on back to those that were seen to before. */
static void slim_idle(struct pool *p)
{
    struct conn *conn;

    TAILQ_FOREACH_REVERSE(conn, &p->idle, conn_list, idle)
    {
        if (conn->tls_slim)
            return;
        if (!conn->ssl || p->worker->now_us - conn->idle_since_us < TRIM_IDLE_AGE_US)
            continue;
        tls_free_buffers(conn);
        if (conn->exchange->slim)
            conn->exchange->slim(conn);
        conn->tls_slim = true;
        p->holes++;
    }
}

/* What was given back lies between what connections keep, and the allocator holds on to its pages. */
static void give_back_pages(struct pool *p)
{
    slots_trim();
    if (p->holes < HOLES_MIN || p->worker->now_us < p->holes_at_us)
        return;
    uint64_t began_us = clock_us();
    malloc_trim(0);
    uint64_t ended_us = clock_us();
    p->holes = 0;
    p->holes_at_us = ended_us + (ended_us - began_us) * HOLES_TIME_SHARE;
}

void pool_trim_idle(struct pool *p)
{
    struct worker *w = p->worker;
    struct conn *conn;

    slim_idle(p);
    give_back_pages(p);
    while ((conn = TAILQ_FIRST(&p->idle))) {
        uint64_t idle = 0;
        for (uint32_t i = 0; i < w->region.header->workers; i++)
            idle += STATS_GET(region_page(&w->region, i), conns_idle);
        if (idle <= (uint64_t)w->options.max_idle_conns || w->now_us - conn->idle_since_us < TRIM_IDLE_AGE_US)
            return;
        conn_close(conn);
    }
}
