/* Promises: connections that are kept, or being made, for one fetch of the line each. */
#include "worker/pool_parts.h"
#include "worker/validate.h"

struct fetch *pool_first_unpromised(const struct pool_host *host, uint64_t without)
{
    struct fetch *f = TAILQ_FIRST(&host->waiters);

    while (f && (f->promised || !(f->profiles & ~without)))
        f = TAILQ_NEXT(f, link);
    return f;
}

struct fetch *pool_first_served_by(const struct conn *conn)
{
    struct fetch *f = TAILQ_FIRST(&conn->host->waiters);

    while (f && (f->promised || !(f->profiles & conn->browser->member) || fetch_avoids(f, conn->ip)))
        f = TAILQ_NEXT(f, link);
    return f;
}

struct fetch *pool_first_promised(const struct conn *conn)
{
    struct fetch *f = conn->promises ? TAILQ_FIRST(&conn->host->waiters) : NULL;

    while (f && f->promised != conn)
        f = TAILQ_NEXT(f, link);
    return f;
}

void pool_promise(struct conn *conn, struct fetch *f)
{
    f->promised = conn;
    conn->promises++;
}

void pool_release_promise(struct fetch *f)
{
    if (f->promised)
        f->promised->promises--;
    f->promised = NULL;
}

void pool_resubmit_on(struct conn *conn, struct fetch *f)
{
    pool_resubmit(conn->host->pool, f);
    pool_promise(conn, f);
}

void pool_break_promises(struct conn *conn)
{
    struct fetch *f;

    while ((f = pool_first_promised(conn))) {
        pool_release_promise(f);
        f->validated = false;
        /* Its own test was passed; it is another's that has ended the connection. */
        if (conn->unfit)
            validate_undo(f);
    }
}

bool pool_has_more_elsewhere(const struct fetch *f)
{
    const struct pool_host *host = f->host;
    const struct iptable *table = &host->worker->region.table;

    return !f->promised && host->dialing_count == 0 &&
           iptable_host_open(table, host->index) > iptable_host_cell(table, host->index, host->worker->index);
}
