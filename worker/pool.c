/* Who gets which connection, when a new one is made, and when one is let go. */
#include "worker/pool.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/outbox.h"
#include "worker/tls.h"

#define SESSIONS_MAX     512 /* hosts of this worker that a TLS session is kept for */
#define ADDRESS_TRIES    8   /* addresses asked for in one go, when some are refused or full */
#define SHARE_REQUESTS   16  /* what a connection may serve while another host waits for its slot */
#define TRIM_IDLE_AGE_US 1000000

TAILQ_HEAD(host_list, pool_host);

struct pool {
    struct worker *worker;
    struct pool_host **hosts; /* by index in the shared table; made when first used */
    uint32_t hosts_max;
    struct conn_list idle; /* of all hosts, least recently used first */
    struct host_list starving, to_look_at;
    struct pool_host *with_session[SESSIONS_MAX];
    unsigned session_turn;
    unsigned waiting; /* fetches in all lines */
};

struct pool *pool_new(struct worker *w)
{
    struct pool *p = calloc(1, sizeof *p);

    if (p)
        p->hosts = calloc(w->region.table.hosts_max, sizeof(struct pool_host *));
    if (!p || !p->hosts)
        die("out of memory: no room for %u hosts; a smaller --max-hosts needs less", w->region.table.hosts_max);
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
        if (p->hosts[i])
            SSL_SESSION_free(p->hosts[i]->session);
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

static void name_host(struct pool_host *host, const struct shm_host *shared, uint32_t generation)
{
    struct address literal;

    host->generation = generation;
    host->port = shared->port;
    host->tls = shared->scheme == URL_HTTPS;
    host->name_len = shared->name_len;
    memcpy(host->name, shared->name, sizeof host->name - 1);
    host->name[host->name_len] = '\0';
    host->is_ip = address_parse(host->name, host->name_len, &literal);
    const char *from = host->name;
    size_t len = host->name_len;
    if (len > 1 && from[0] == '[') {
        from++;
        len -= 2;
    } else if (len > 1 && from[len - 1] == '.') {
        len--;
    }
    memcpy(host->verify_name, from, len);
    host->verify_name[len] = '\0';
    host->dial_failed = false;
    SSL_SESSION_free(host->session);
    host->session = NULL;
}

struct pool_host *pool_host_get(struct pool *p, uint32_t index, uint32_t generation)
{
    if (index >= p->hosts_max)
        return NULL;
    const struct shm_host *shared = &p->worker->region.table.hosts[index];
    struct pool_host *host = p->hosts[index];
    if (host && host->generation == generation)
        return host;
    if (atomic_load_explicit(&shared->generation, memory_order_acquire) != generation)
        return NULL;
    if (!host) {
        host = calloc(1, sizeof *host);
        if (!host)
            die("out of memory: no room for a host's connections");
        host->pool = p;
        host->worker = p->worker;
        host->index = index;
        TAILQ_INIT(&host->ready);
        TAILQ_INIT(&host->busy);
        TAILQ_INIT(&host->dialing);
        TAILQ_INIT(&host->waiters);
        p->hosts[index] = host;
    } else if (host->conns) {
        /* The coordinator reuses a slot only when no connection is counted on it. */
        return NULL;
    }
    name_host(host, shared, generation);
    return host;
}

static void set_idle(struct conn *conn, bool idle)
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

static bool too_old(const struct conn *conn)
{
    return conn->worker->now_us - conn->opened_us > conn->worker->options.max_lifetime * 1000;
}

/* Files an open connection by the room that is left on it. */
static void file(struct conn *conn)
{
    struct pool_host *host = conn->host;
    struct conn_list *list = conn->state == CONN_OPEN && conn->active < conn->capacity ? &host->ready : &host->busy;

    if (conn->list != list)
        conn_move(conn, list);
    set_idle(conn, conn->active == 0);
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
    STATS_SET(p->worker->page, waiting, p->waiting);
}

static void give(struct conn *conn, struct fetch *f)
{
    bool reused = conn->served > 0;

    pool_forget(conn->host->pool, f);
    fetch_begin(f, conn, reused);
    file(conn);
    conn->exchange->start(conn, f);
}

/* The connection that has waited longest, so that all stay in use and every address has its turn; NULL: none is free.
 */
static struct conn *take_ready(struct pool_host *host)
{
    struct conn *conn;

    while ((conn = TAILQ_FIRST(&host->ready))) {
        if (too_old(conn)) {
            pool_retire(conn);
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

static void end_lease(struct worker *w, uint32_t index, uint32_t ip)
{
    iptable_return(&w->region.table, w->index, index, ip);
    _Atomic uint32_t *wanted = &w->region.header->slot_wanted;
    if (atomic_load_explicit(wanted, memory_order_relaxed) == REGION_SLOT_WANTED) {
        atomic_store(wanted, REGION_SLOT_FREED);
        outbox_wake_coordinator(w, REGION_DOZING);
    }
}

/* The next address in turn that the policy and its own limit allow; claims its slot. */
static enum outcome draw_address(struct pool_host *host, uint32_t *ip_out, struct address *address_out)
{
    struct worker *w = host->worker;
    const struct options *o = &w->options;
    enum outcome outcome = OUTCOME_IP_EXHAUSTED;

    for (int tries = 0; tries < ADDRESS_TRIES; tries++) {
        enum outcome drawn = iptable_next_address(&w->region.table, host->index, ip_out, address_out);
        if (drawn != OUTCOME_OK)
            return drawn;
        if (!o->allow_private && !address_is_public(address_out))
            outcome = OUTCOME_ADDRESS_DENIED;
        else if (iptable_lease_ip(&w->region.table, w->index, *ip_out, (uint32_t)o->max_conns_per_ip))
            return OUTCOME_OK;
        else
            outcome = OUTCOME_AT_LIMIT;
    }
    return outcome;
}

/* A slot first and then an address: who finds no slot uses up no address's turn. */
static enum outcome lease(struct pool_host *host, uint32_t *ip_out, struct address *address_out,
                          enum lease_refusal *refusal_out)
{
    struct worker *w = host->worker;
    const struct options *o = &w->options;

    *refusal_out = iptable_lease(&w->region.table, w->index, host->index, IP_NONE, (uint32_t)o->max_connections,
                                 (uint32_t)o->max_conns_per_host, 0);
    if (*refusal_out != LEASE_GRANTED)
        return OUTCOME_AT_LIMIT;
    enum outcome outcome = draw_address(host, ip_out, address_out);
    if (outcome == OUTCOME_AT_LIMIT)
        *refusal_out = LEASE_IP_FULL;
    if (outcome != OUTCOME_OK)
        end_lease(w, host->index, IP_NONE);
    return outcome;
}

static enum outcome dial(struct pool_host *host, enum lease_refusal *refusal_out, uint32_t *ip_out)
{
    struct worker *w = host->worker;
    struct address address;
    struct conn *conn;
    enum outcome outcome = lease(host, ip_out, &address, refusal_out);

    if (outcome != OUTCOME_OK)
        return outcome;
    outcome = conn_dial(host, *ip_out, &address, &conn);
    if (outcome != OUTCOME_OK) {
        end_lease(w, host->index, *ip_out);
        return outcome;
    }
    host->dialing_count++;
    host->conns++;
    STATS_ADD(w->page, conns_dialing, 1);
    return OUTCOME_OK;
}

/* Requests that the connections now being made will take. */
static uint64_t expected(const struct pool_host *host)
{
    struct worker *w = host->worker;
    uint32_t flags = atomic_load_explicit(&w->region.table.hosts[host->index].flags, memory_order_relaxed);

    if (flags & HOST_HTTP2)
        return (uint64_t)host->dialing_count * (uint64_t)w->options.max_streams_per_conn;
    /* Until it is known what the server speaks, one is made and looked at: over HTTP/2 it may be all that is needed. */
    if (host->tls && !(flags & HOST_HTTP1) && !host->dial_failed && host->dialing_count)
        return UINT64_MAX;
    return host->dialing_count;
}

/* Closes the least recently used idle connection of another host, to make room; with an address, one to it. */
static bool close_an_idle_one(struct pool_host *for_host, uint32_t ip)
{
    struct conn *conn;

    TAILQ_FOREACH(conn, &for_host->pool->idle, idle)
    {
        if (ip == IP_NONE || conn->ip == ip) {
            conn_close(conn);
            return true;
        }
    }
    return false;
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

/* No slot for a further connection. With one of its own the host waits for it; else a connection here that stands in
 * the way is closed as soon as it is free; with none here at all the tasks are better off with another worker. */
static void at_limit(struct pool_host *host, enum lease_refusal refusal, uint32_t ip)
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

/* Serves the line of waiters as far as connections and limits allow. */
static void pump(struct pool_host *host)
{
    struct fetch *f;

    while (!host->worker->closing && (f = first_waiter(host))) {
        enum lease_refusal refusal = LEASE_GRANTED;
        uint32_t ip = IP_NONE;
        struct conn *conn = take_ready(host);
        if (conn) {
            give(conn, f);
            continue;
        }
        if (host->waiting <= expected(host))
            return;
        enum outcome outcome = dial(host, &refusal, &ip);
        if (outcome == OUTCOME_OK)
            continue;
        if (outcome == OUTCOME_AT_LIMIT) {
            if (refusal != LEASE_HOST_FULL && close_an_idle_one(host, refusal == LEASE_IP_FULL ? ip : IP_NONE))
                continue;
            at_limit(host, refusal, ip);
            return;
        }
        pool_forget(host->pool, f);
        f->attempts++;
        fetch_fail(f, outcome, NULL);
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

void pool_resubmit(struct pool *p, struct fetch *f)
{
    TAILQ_INSERT_HEAD(&f->host->waiters, f, link);
    f->host->waiting++;
    p->waiting++;
    pump(f->host);
}

/* While another host has no connection at all, one that has had its share, or that nobody here needs now, is closed for
 * it. */
static void settle(struct conn *conn)
{
    struct pool_host *host = conn->host;

    if (conn->state == CONN_OPEN && conn->active == 0 && !TAILQ_EMPTY(&host->pool->starving) &&
        (conn->served >= SHARE_REQUESTS || host->waiting == 0))
        conn_close(conn);
}

void pool_on_open(struct conn *conn)
{
    struct pool_host *host = conn->host;
    struct worker *w = conn->worker;

    host->dialing_count--;
    host->dial_failed = false;
    STATS_ADD(w->page, conns_dialing, -1);
    STATS_ADD(w->page, conns_active, 1);
    if (conn->exchange == &exchange_h1)
        atomic_fetch_or_explicit(&w->region.table.hosts[host->index].flags, HOST_HTTP1, memory_order_relaxed);
    conn->pooled = true;
    file(conn);
    conn->checked_turn = w->turn;
    pump(host);
    settle(conn);
}

void pool_on_release(struct conn *conn)
{
    struct pool_host *host = conn->host;

    if (conn->state == CONN_DEAD)
        return;
    if (conn->active == 0 && (conn->state == CONN_RETIRING || too_old(conn))) {
        conn_close(conn);
        return;
    }
    file(conn);
    conn->checked_turn = conn->worker->turn;
    settle(conn);
    pump(host);
}

void pool_on_dial_failed(struct conn *conn, enum outcome outcome, const char *detail)
{
    struct pool_host *host = conn->host;
    struct fetch *f = first_waiter(host);

    host->dial_failed = true;
    /* It was made for the head of the line, which has used up an attempt by it. */
    if (f) {
        pool_forget(host->pool, f);
        f->attempts++;
        f->dialed = conn;
        fetch_fail(f, outcome, detail);
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
        host->dialing_count--;
        STATS_ADD(w->page, conns_dialing, -1);
    }
    host->conns--;
    end_lease(w, host->index, conn->ip);
    w->slot_freed = true;
    if (!host->to_look_at) {
        host->to_look_at = true;
        TAILQ_INSERT_TAIL(&host->pool->to_look_at, host, look_link);
    }
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

void pool_keep_session(struct pool_host *host, SSL_SESSION *session)
{
    struct pool *p = host->pool;

    if (!host->session) {
        struct pool_host **place = &p->with_session[p->session_turn++ % SESSIONS_MAX];
        if (*place && *place != host) {
            SSL_SESSION_free((*place)->session);
            (*place)->session = NULL;
        }
        *place = host;
    }
    SSL_SESSION_free(host->session);
    host->session = session;
}

void pool_close_all(struct pool *p)
{
    for (uint32_t i = 0; i < p->hosts_max; i++) {
        struct pool_host *host = p->hosts[i];
        struct conn *conn;
        while (host && ((conn = TAILQ_FIRST(&host->ready)) || (conn = TAILQ_FIRST(&host->busy)) ||
                        (conn = TAILQ_FIRST(&host->dialing))))
            conn_close(conn);
    }
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
        conn->tls_slim = true;
    }
}

void pool_trim_idle(struct pool *p)
{
    struct worker *w = p->worker;
    struct conn *conn;

    slim_idle(p);
    while ((conn = TAILQ_FIRST(&p->idle))) {
        uint64_t idle = 0;
        for (uint32_t i = 0; i < w->region.header->workers; i++)
            idle += STATS_GET(region_page(&w->region, i), conns_idle);
        if (idle <= (uint64_t)w->options.max_idle_conns || w->now_us - conn->idle_since_us < TRIM_IDLE_AGE_US)
            return;
        conn_close(conn);
    }
}
