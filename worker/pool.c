/* Who gets which connection, when a new one is made, and when one is let go. */
#include "worker/pool.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/access.h"
#include "worker/chore.h"
#include "worker/health.h"
#include "worker/lease.h"
#include "worker/pool_parts.h"
#include "worker/probe.h"
#include "worker/validate.h"

#define SHARE_REQUESTS 16 /* what a connection may serve while another host waits for its slot */

struct pool *pool_new(struct worker *w)
{
    struct pool *p = calloc(1, sizeof *p);

    if (p)
        p->hosts = calloc(w->region.table.hosts_max, sizeof(struct pool_host *));
    if (!p || !p->hosts)
        die("out of memory: no room for %u hosts; a smaller --max-hosts needs less", w->region.table.hosts_max);
    access_open(w);
    p->worker = w;
    p->hosts_max = w->region.table.hosts_max;
    TAILQ_INIT(&p->idle);
    TAILQ_INIT(&p->starving);
    TAILQ_INIT(&p->to_look_at);
    return p;
}

void pool_free(struct pool *p)
{
    for (uint32_t i = 0; i < p->hosts_max; i++) {
        pool_free_sessions(p->hosts[i]);
        free(p->hosts[i]);
    }
    free(p->hosts);
    free(p);
}

unsigned pool_waiting(const struct pool *p)
{
    return p->waiting;
}

bool pool_has_idle(const struct pool *p)
{
    return !TAILQ_EMPTY(&p->idle);
}

static bool too_old(const struct conn *conn)
{
    return conn->worker->now_us - conn->opened_us > conn->worker->options.max_lifetime * 1000;
}

void pool_file(struct conn *conn)
{
    struct pool_host *host = conn->host;
    struct conn_list *list = &host->busy;

    if (conn->state == CONN_OPEN && conn->active < conn->capacity && !probe_occupies(conn))
        list = conn->suspect ? &host->suspect : &host->ready;
    if (conn->list != list)
        conn_move(conn, list);
    pool_set_idle(conn, conn->active == 0);
}

static struct fetch *first_waiter(struct pool_host *host)
{
    return TAILQ_FIRST(&host->waiters);
}

void pool_forget(struct pool *p, struct fetch *f)
{
    TAILQ_REMOVE(&f->host->waiters, f, link);
    f->host->waiting--;
    p->waiting--;
    pool_release_promise(f);
    STATS_SET(p->worker->page, waiting, p->waiting);
}

void pool_give(struct conn *conn, struct fetch *f)
{
    bool reused = conn->served > 0 || conn->warm;

    pool_forget(conn->host->pool, f);
    fetch_begin(f, conn, reused);
    pool_file(conn);
    conn->exchange->start(conn, f);
}

static struct conn *first_on(struct conn_list *list, const struct fetch *avoider, uint64_t profiles)
{
    struct conn *conn = TAILQ_FIRST(list);

    while (conn && (!(conn->browser->member & profiles) || (avoider && fetch_avoids(avoider, conn->ip))))
        conn = TAILQ_NEXT(conn, link);
    return conn;
}

/* A suspect one only when no other is left. `avoider`: not one to an address that it avoids; NULL: any. */
static struct conn *first_ready(struct pool_host *host, const struct fetch *avoider, uint64_t profiles)
{
    struct conn *conn = first_on(&host->ready, avoider, profiles);

    return conn ? conn : first_on(&host->suspect, avoider, profiles);
}

struct conn *pool_take_ready(struct pool_host *host, const struct fetch *avoider, uint64_t profiles)
{
    struct conn *conn;

    while ((conn = first_ready(host, avoider, profiles))) {
        if (conn->unfit || access_is_black(conn) || (too_old(conn) && conn->active == 0)) {
            pool_retire(conn);
            continue;
        }
        if (too_old(conn)) {
            /* Closed by its last release. A test that runs on it and the request after that are one loan. */
            conn_move(conn, &host->busy);
            continue;
        }
        /* What sat idle is looked at before it is trusted; what was read to its end in this turn was. */
        if (conn->active == 0 && conn->checked_turn != conn->worker->turn && conn->exchange == &exchange_h1 &&
            !conn_is_fresh(conn))
            continue;
        return conn;
    }
    return NULL;
}

enum outcome pool_dial(struct pool_host *host, const struct fetch *avoider, struct fetch *f,
                       enum lease_refusal *refusal_out, uint32_t *ip_out, const char **detail_out)
{
    struct worker *w = host->worker;
    struct address address;
    struct conn *conn;
    enum outcome outcome = lease_take(host, avoider, ip_out, &address, refusal_out);

    if (outcome == OUTCOME_IP_EXHAUSTED && iptable_address_count(&w->region.table, host->index))
        *detail_out = "its addresses are blocked";
    if (outcome != OUTCOME_OK)
        return outcome;
    uint64_t profiles = f && f->profiles != PROFILE_ANY ? f->profiles : w->profiles;
    outcome = conn_dial(host, *ip_out, &address, profiles, &conn, detail_out);
    if (outcome != OUTCOME_OK) {
        lease_return(w, host->index, *ip_out);
        return outcome;
    }
    host->dialing_count++;
    host->conns++;
    STATS_ADD(w->page, conns_dialing, 1);
    if (f)
        pool_promise(conn, f);
    return OUTCOME_OK;
}

/* A connection that is to serve one chore alone: nobody in the line waits for it. */
static bool is_for_check(const struct conn *conn)
{
    return conn->intended && conn->intended->m.kind == TASK_CHECK;
}

/* Requests that the connections now being made will take. */
static uint64_t expected(const struct pool_host *host)
{
    struct worker *w = host->worker;
    uint32_t flags = atomic_load_explicit(&w->region.table.hosts[host->index].flags, memory_order_relaxed);

    if ((flags & HOST_HTTP2) && !host->dial_failed)
        return (uint64_t)host->dialing_count * (uint64_t)w->options.max_streams_per_conn;
    /* Until it is known what the server speaks, one is made and looked at: over HTTP/2 it may be all that is needed. */
    if (host->tls && !(flags & HOST_HTTP1) && !host->dial_failed && host->dialing_count)
        return UINT64_MAX;
    return host->dialing_count;
}

static void hand_back_all(struct pool_host *host)
{
    struct fetch *f;

    while ((f = first_waiter(host))) {
        pool_forget(host->pool, f);
        fetch_hand_back(f);
    }
}

static void starve(struct pool_host *host)
{
    if (host->starving)
        return;
    host->starving = true;
    TAILQ_INSERT_TAIL(&host->pool->starving, host, starve_link);
}

void pool_at_limit(struct pool_host *host, enum lease_refusal refusal, uint32_t ip)
{
    struct worker *w = host->worker;
    struct iptable *table = &w->region.table;
    uint32_t in_the_way = 0;

    if (host->conns)
        return;
    if (refusal == LEASE_FLEET_FULL)
        in_the_way = atomic_load_explicit(&table->fleet_cells[w->index], memory_order_relaxed);
    else if (refusal == LEASE_IP_FULL)
        in_the_way = iptable_ip_cell(table, ip, w->index);
    if (in_the_way)
        starve(host);
    else
        hand_back_all(host);
}

static enum outcome take_lease_for(struct fetch *f, uint32_t *ip_out, struct address *address_out,
                                   enum lease_refusal *refusal_out)
{
    *ip_out = f->m.ip;
    return f->m.ip == IP_NONE ? lease_take(f->host, NULL, ip_out, address_out, refusal_out)
                              : lease_take_at(f->host, f->m.ip, f->m.kind == TASK_CHECK, address_out, refusal_out);
}

enum outcome pool_dial_for(struct fetch *f, const char **detail_out)
{
    struct pool_host *host = f->host;
    struct worker *w = host->worker;
    enum lease_refusal refusal = LEASE_GRANTED;
    struct address address;
    struct conn *conn;
    uint32_t ip;

    /* What the name has lost makes room for what it has gained. */
    pool_follow_list(host);
    enum outcome outcome = take_lease_for(f, &ip, &address, &refusal);

    /* What is idle gives way to a check: without it the address stays black. */
    if (outcome == OUTCOME_AT_LIMIT && f->m.kind == TASK_CHECK && refusal != LEASE_IP_FULL &&
        pool_close_idle_one(host->pool, refusal == LEASE_HOST_FULL ? host : NULL, IP_NONE))
        outcome = take_lease_for(f, &ip, &address, &refusal);
    if (outcome != OUTCOME_OK)
        return outcome;
    f->m.ip = ip;
    outcome = conn_dial(host, ip, &address, w->profiles, &conn, detail_out);
    if (outcome != OUTCOME_OK) {
        lease_return(w, host->index, ip);
        return outcome;
    }
    conn->intended = f;
    host->conns++;
    host->dialing_count += !is_for_check(conn);
    STATS_ADD(w->page, conns_dialing, 1);
    return OUTCOME_OK;
}

/* Serves the line of waiters as far as connections and limits allow. */
static void pump(struct pool_host *host)
{
    uint64_t stuck = 0; /* profiles that no connection can be had of now */
    struct fetch *f;

    pool_follow_list(host);
    while (!host->worker->closing && (f = pool_first_unpromised(host, stuck))) {
        enum lease_refusal refusal = LEASE_GRANTED;
        uint32_t ip = IP_NONE;
        const char *detail = NULL;
        if (validate_is_lost(f)) {
            pool_forget(host->pool, f);
            fetch_fail(f, OUTCOME_VALIDATION_FAILED, "each connection was closed after its test");
            continue;
        }
        if (f->m.avoid_count && pool_serve_avoider(host, f))
            continue;
        uint64_t profiles = f->profiles;
        if (profiles != PROFILE_ANY) {
            stuck |= pool_serve_picky(host, f) ? 0 : profiles;
            continue;
        }
        struct conn *conn = pool_take_ready(host, NULL, PROFILE_ANY);
        if (conn) {
            pool_give(conn, f);
            continue;
        }
        if (host->waiting <= expected(host))
            return;
        /* Who avoids all that there are takes any, but one of its own. */
        enum outcome outcome = pool_dial(host, NULL, f->m.avoid_count ? f : NULL, &refusal, &ip, &detail);
        if (outcome == OUTCOME_OK)
            continue;
        if (outcome == OUTCOME_AT_LIMIT) {
            if (refusal != LEASE_HOST_FULL &&
                pool_close_idle_one(host->pool, NULL, refusal == LEASE_IP_FULL ? ip : IP_NONE))
                continue;
            pool_at_limit(host, refusal, ip);
            return;
        }
        pool_forget(host->pool, f);
        fetch_dial_failed(f, NULL, ip, outcome, detail);
    }
}

void pool_submit(struct pool *p, struct fetch *f)
{
    f->host = pool_host_get(p, f->m.host, f->m.host_generation);
    if (!f->host) {
        fetch_hand_back(f);
        return;
    }
    TAILQ_INSERT_TAIL(&f->host->waiters, f, link);
    f->host->waiting++;
    p->waiting++;
    STATS_SET(p->worker->page, waiting, p->waiting);
    pump(f->host);
}

void pool_look_at(struct pool_host *host)
{
    host->worker->slot_freed = true;
    if (host->to_look_at)
        return;
    host->to_look_at = true;
    TAILQ_INSERT_TAIL(&host->pool->to_look_at, host, look_link);
}

void pool_resubmit(struct pool *p, struct fetch *f)
{
    TAILQ_INSERT_HEAD(&f->host->waiters, f, link);
    f->host->waiting++;
    p->waiting++;
    STATS_SET(p->worker->page, waiting, p->waiting);
    pool_look_at(f->host);
}

/* While another host has no connection at all, one that has had its share, or that nobody here needs now, is closed for
 * it; one that is never without a request takes no new ones first. */
static void settle(struct conn *conn)
{
    struct pool_host *host = conn->host;
    bool had_its_share = conn->served >= (uint64_t)SHARE_REQUESTS * conn->capacity;

    /* A test and the request after it are one loan. */
    if (conn->tests || conn->promises)
        return;
    if (conn->state == CONN_OPEN && !TAILQ_EMPTY(&host->pool->starving) && (had_its_share || host->waiting == 0))
        pool_retire(conn);
}

/* All that has come was read, unless the last read was a full one: then more may wait in the socket. */
static void note_read(struct conn *conn)
{
    conn->checked_turn = conn->read_full ? UINT64_MAX : conn->worker->turn;
}

/* The one request of a check goes out at once; nothing else may follow on its connection. */
static void run_check(struct conn *conn, struct fetch *f)
{
    fetch_begin(f, conn, false);
    pool_file(conn);
    pool_retire(conn);
    conn->exchange->start(conn, f);
    /* A request that could not even be begun leaves nothing to wait for. */
    if (conn->active == 0)
        conn_close(conn);
}

/* Answers or starts the chore that the connection was made for; true when the pool has no part in it. */
static bool serve_intended(struct conn *conn)
{
    struct fetch *f = conn->intended;

    conn->intended = NULL;
    if (!f)
        return false;
    if (f->m.kind == TASK_CHECK) {
        run_check(conn, f);
        return true;
    }
    conn->warm = true;
    chore_end(f, OUTCOME_OK, 1);
    return false;
}

/* Whom the connection was kept or made for comes before the line. */
static void serve_promised(struct conn *conn)
{
    struct fetch *f;

    while (conn->state == CONN_OPEN && conn->active < conn->capacity && (f = pool_first_promised(conn)))
        pool_give(conn, f);
    /* It takes nothing new: who waited for it needs another one. */
    if (conn->state == CONN_RETIRING && conn->promises) {
        pool_break_promises(conn);
        pool_look_at(conn->host);
    }
}

void pool_on_open(struct conn *conn)
{
    struct pool_host *host = conn->host;
    struct worker *w = conn->worker;

    host->dialing_count -= !is_for_check(conn);
    host->dial_failed = false;
    STATS_ADD(w->page, conns_dialing, -1);
    STATS_ADD(w->page, conns_active, 1);
    if (conn->exchange == &exchange_h1)
        atomic_fetch_or_explicit(&w->region.table.hosts[host->index].flags, HOST_HTTP1, memory_order_relaxed);
    conn->pooled = true;
    note_read(conn);
    if (serve_intended(conn))
        return;
    pool_file(conn);
    if (pool_has_lost_address(conn)) {
        pool_retire(conn);
        return;
    }
    serve_promised(conn);
    pump(host);
    settle(conn);
}

void pool_on_release(struct conn *conn)
{
    struct pool_host *host = conn->host;

    if (conn->state == CONN_OPEN && health_is_spoilt(conn)) {
        STATS_ADD(conn->worker->page, conns_evicted, 1);
        pool_retire(conn);
    }
    if (conn->state == CONN_DEAD)
        return;
    if (conn->unfit)
        pool_retire(conn);
    if (conn->active == 0 && (conn->state == CONN_RETIRING || (too_old(conn) && !conn->promises)))
        conn_close(conn);
    if (conn->state == CONN_DEAD)
        return;
    note_read(conn);
    serve_promised(conn);
    if (conn->state == CONN_DEAD)
        return;
    pool_file(conn);
    pool_follow_list(host);
    settle(conn);
    /* A slot given up is for the host that starves; pool_tend() comes back to this one. */
    if (conn->state != CONN_DEAD)
        pump(host);
}

void pool_on_dial_failed(struct conn *conn, enum outcome outcome, const char *detail)
{
    struct pool_host *host = conn->host;
    struct fetch *f = conn->promises ? pool_first_promised(conn) : pool_first_served_by(conn);

    if (conn->intended) {
        f = conn->intended;
        conn->intended = NULL;
        chore_end(f, outcome, 0);
        return;
    }
    host->dial_failed = true;
    /* It was made for the head of the line, which has used up an attempt by it; not for one that avoids the address. */
    if (f) {
        pool_forget(host->pool, f);
        fetch_dial_failed(f, conn, conn->ip, outcome, detail);
    }
}

void pool_on_dead(struct conn *conn)
{
    struct pool_host *host = conn->host;
    struct worker *w = conn->worker;

    if (conn->is_idle) {
        conn->is_idle = false;
        TAILQ_REMOVE(&host->pool->idle, conn, idle);
        STATS_ADD(w->page, conns_idle, -1);
    } else if (conn->pooled) {
        STATS_ADD(w->page, conns_active, -1);
    } else {
        host->dialing_count -= !is_for_check(conn);
        STATS_ADD(w->page, conns_dialing, -1);
    }
    if (conn->pooled)
        pool_break_promises(conn);
    host->conns--;
    lease_return(w, host->index, conn->ip);
    pool_look_at(host);
}

void pool_tend(struct pool *p)
{
    struct host_list starving;
    struct pool_host *host;

    if (!p->worker->slot_freed)
        return;
    p->worker->slot_freed = false;
    /* Taken off as a whole: who still gets nothing comes back to the end of the list. */
    TAILQ_INIT(&starving);
    TAILQ_CONCAT(&starving, &p->starving, starve_link);
    while ((host = TAILQ_FIRST(&starving))) {
        TAILQ_REMOVE(&starving, host, starve_link);
        host->starving = false;
        pump(host);
    }
    while ((host = TAILQ_FIRST(&p->to_look_at))) {
        TAILQ_REMOVE(&p->to_look_at, host, look_link);
        host->to_look_at = false;
        pump(host);
    }
}

void pool_retire(struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return;
    conn_set_state(conn, CONN_RETIRING);
    if (conn->active == 0)
        conn_close(conn);
    else
        conn_move(conn, &conn->host->busy);
}

static unsigned close_list(struct conn_list *list)
{
    struct conn *conn;
    unsigned closed = 0;

    for (; (conn = TAILQ_FIRST(list)); closed++)
        conn_close(conn);
    return closed;
}

unsigned pool_flush(struct pool *p, bool idle_only)
{
    struct conn *conn;
    unsigned closed = 0;

    for (; idle_only && (conn = TAILQ_FIRST(&p->idle)); closed++)
        conn_close(conn);
    for (uint32_t i = 0; !idle_only && i < p->hosts_max; i++) {
        if (p->hosts[i])
            closed +=
                close_list(&p->hosts[i]->ready) + close_list(&p->hosts[i]->suspect) + close_list(&p->hosts[i]->busy);
    }
    return closed;
}

void pool_close_all(struct pool *p)
{
    for (uint32_t i = 0; i < p->hosts_max; i++) {
        struct pool_host *host = p->hosts[i];
        struct conn *conn;
        struct fetch *f;
        while (host && ((conn = TAILQ_FIRST(&host->ready)) || (conn = TAILQ_FIRST(&host->suspect)) ||
                        (conn = TAILQ_FIRST(&host->busy)) || (conn = TAILQ_FIRST(&host->dialing))))
            conn_close(conn);
        while (host && (f = first_waiter(host))) {
            pool_forget(p, f);
            fetch_discard(f);
        }
    }
}
