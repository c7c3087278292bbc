/* Fetches that name profiles of their own: they go over connections of those and no others. */
#include "worker/pool_parts.h"

#include "worker/browser.h"

/* A connection of those profiles that will be free some day. */
static bool has_one(const struct conn_list *list, uint64_t profiles)
{
    const struct conn *conn;

    TAILQ_FOREACH(conn, list, link)
    {
        if ((conn->browser->member & profiles) && conn->state != CONN_RETIRING && !conn->unfit)
            return true;
    }
    return false;
}

/* Until it is known that the server speaks HTTP/1.1 alone, one that is being made may do for many. */
static bool is_on_its_way(const struct pool_host *host, uint64_t profiles)
{
    uint32_t flags = atomic_load_explicit(&host->worker->region.table.hosts[host->index].flags, memory_order_relaxed);
    bool may_be_h2 = host->tls && ((flags & HOST_HTTP2) || !(flags & HOST_HTTP1));

    return may_be_h2 && !host->dial_failed && has_one(&host->dialing, profiles);
}

/* A test and the request after it are one loan. */
static bool is_lent(const struct conn *conn)
{
    return conn->tests || conn->promises;
}

static bool close_idle_on(struct conn_list *list)
{
    struct conn *conn;

    TAILQ_FOREACH(conn, list, link)
    {
        if (conn->active == 0 && !is_lent(conn)) {
            conn_close(conn);
            return true;
        }
    }
    return false;
}

/* At a limit: if the host has no connection of those profiles that may be waited for, one of another profile makes
 * room, at once when it is idle, else when what runs on it has ended. True: one was closed. */
static bool make_room(struct pool_host *host, uint64_t profiles)
{
    struct conn *conn;
    struct conn *oldest = NULL;

    if (has_one(&host->busy, profiles) || has_one(&host->dialing, profiles))
        return false;
    if (close_idle_on(&host->ready) || close_idle_on(&host->suspect))
        return true;
    TAILQ_FOREACH(conn, &host->busy, link)
    {
        if (conn->state == CONN_RETIRING)
            return false;
        if (!oldest && conn->state == CONN_OPEN && !is_lent(conn))
            oldest = conn;
    }
    if (!oldest)
        oldest = TAILQ_FIRST(&host->ready);
    if (oldest && !is_lent(oldest))
        pool_retire(oldest);
    return false;
}

enum served { SERVED, WAITS, AT_LIMIT };

/* SERVED: it is gone from the line; AT_LIMIT: as pool_dial() says. */
static enum served serve(struct pool_host *host, struct fetch *f, enum lease_refusal *refusal_out, uint32_t *ip_out)
{
    const char *detail = NULL;
    struct conn *conn = pool_take_ready(host, NULL, f->profiles);

    /* The look at a connection that sat idle may have served the line. */
    if (f->state != FETCH_WAITING || f->promised)
        return SERVED;
    if (conn) {
        pool_give(conn, f);
        return SERVED;
    }
    if (is_on_its_way(host, f->profiles))
        return WAITS;
    enum outcome outcome = pool_dial(host, NULL, f, refusal_out, ip_out, &detail);
    if (outcome == OUTCOME_OK)
        return SERVED;
    if (outcome == OUTCOME_AT_LIMIT)
        return AT_LIMIT;
    pool_forget(host->pool, f);
    fetch_dial_failed(f, NULL, *ip_out, outcome, detail);
    return SERVED;
}

bool pool_serve_picky(struct pool_host *host, struct fetch *f)
{
    enum lease_refusal refusal = LEASE_GRANTED;
    uint32_t ip = IP_NONE;
    uint64_t profiles = f->profiles;
    enum served served = serve(host, f, &refusal, &ip);

    if (served != AT_LIMIT)
        return served == SERVED;
    if (refusal != LEASE_HOST_FULL && pool_close_idle_one(host->pool, NULL, refusal == LEASE_IP_FULL ? ip : IP_NONE))
        return true;
    if (refusal != LEASE_IP_FULL && make_room(host, profiles))
        return true;
    pool_at_limit(host, refusal, ip);
    return false;
}
