/* The pool under options that change while it runs. Requests under way keep the limits that they began with. */
#include "worker/pool_parts.h"

/* Timers were set by the timeout as it was. */
static void rearm_idle(struct pool *p)
{
    struct worker *w = p->worker;
    struct conn *conn;

    TAILQ_FOREACH(conn, &p->idle, idle)
    {
        timer_set(&w->timers, &conn->timer, conn->idle_since_us + w->options.idle_timeout * 1000);
    }
}

static void refile(struct conn_list *list)
{
    struct conn *next;

    for (struct conn *conn = TAILQ_FIRST(list); conn; conn = next) {
        next = TAILQ_NEXT(conn, link);
        if (!conn->exchange->follow_options)
            continue;
        conn->exchange->follow_options(conn);
        pool_file(conn);
    }
}

void pool_follow_options(struct pool *p)
{
    rearm_idle(p);
    for (uint32_t i = 0; i < p->hosts_max; i++) {
        struct pool_host *host = p->hosts[i];
        if (!host)
            continue;
        refile(&host->ready);
        refile(&host->suspect);
        refile(&host->busy);
        if (host->waiting)
            pool_look_at(host);
    }
    p->worker->tend_at_us = p->worker->now_us;
}
