/* Sockets: dialing, reading, writing, and the life of a connection up to its end. */
#include "worker/conn.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/access.h"
#include "worker/dial.h"
#include "worker/pool.h"
#include "worker/probe.h"
#include "worker/tls.h"

#define CONN_ID_STEP             1000000000u /* a connection's number is worker * this + its count: unique and readable */

#define CONN_MOVES(state, moves) [CONN_##state] = (moves),
static const unsigned allowed_moves[] = {CONN_STATES(CONN_MOVES)};
#undef CONN_MOVES

void conn_set_state(struct conn *conn, enum conn_state state)
{
    assert(allowed_moves[conn->state] & 1u << state);
    conn->state = state;
}

void conn_move(struct conn *conn, struct conn_list *list)
{
    if (conn->list)
        TAILQ_REMOVE(conn->list, conn, link);
    conn->list = list;
    TAILQ_INSERT_TAIL(list, conn, link);
}

void conn_attach(struct conn *conn, struct fetch *f)
{
    TAILQ_INSERT_TAIL(&conn->fetches, f, link);
    f->conn = conn;
    conn->active++;
    conn->served++;
}

void conn_detach(struct conn *conn, struct fetch *f)
{
    TAILQ_REMOVE(&conn->fetches, f, link);
    f->conn = NULL;
    conn->active--;
    conn->tests -= f->validating;
}

static void on_timer(struct timer *timer, void *user)
{
    struct conn *conn = (struct conn *)(void *)((char *)timer - offsetof(struct conn, timer));

    (void)user;
    switch (conn->state) {
    case CONN_CONNECTING:
        conn_fail(conn, OUTCOME_CONNECTION_TIMEOUT, NULL);
        break;
    case CONN_HANDSHAKE:
        conn_fail(conn, OUTCOME_TLS_TIMEOUT, NULL);
        break;
    case CONN_OPEN:
        if (conn->active == 0)
            conn_close(conn);
        break;
    case CONN_RETIRING:
    case CONN_DEAD:
        break;
    }
}

static void take_records(struct conn *conn);

static void describe(struct conn *conn)
{
    struct record_connection c = {
        .host_ip = &conn->address,
        .local_ip = conn->local.family ? &conn->local : NULL,
        .http_version = conn->exchange->version,
        .tls_version = conn->tls_version,
        .tls_cipher = conn->tls_cipher,
        .tls_resumed = conn->tls_resumed,
        .profile = conn->browser->profile ? conn->browser->profile->name : NULL,
    };

    if (conn->ssl && !conn->host->is_ip)
        c.sni = (struct span){conn->host->verify_name, strlen(conn->host->verify_name)};
    record_format_connection(&conn->record, &c);
}

static void go_open(struct conn *conn)
{
    struct worker *w = conn->worker;

    conn->opened_us = w->now_us;
    bool is_h2 = conn->ssl && tls_chose_h2(conn);
    if (is_h2 && !tls_offers_h2(&w->options)) {
        conn_fail(conn, OUTCOME_PROTOCOL_ERROR, "the server chose HTTP/2, which was not offered");
        return;
    }
    if (conn->ssl && !is_h2 && strcmp(w->options.http_version, "2") == 0) {
        conn_fail(conn, OUTCOME_PROTOCOL_ERROR, "the server does not speak HTTP/2");
        return;
    }
    conn->exchange = is_h2 ? &exchange_h2 : &exchange_h1;
    timer_stop(&conn->timer);
    conn_set_state(conn, CONN_OPEN);
    STATS_ADD(w->page, connects, 1);
    if (conn->ssl) {
        STATS_ADD(w->page, handshakes, 1);
        STATS_ADD(w->page, resumptions, conn->tls_resumed);
    }
    conn->exchange->open(conn);
    describe(conn);
    /* What came with the handshake's last flight is looked at before any request is on the connection: it can't be an
     * answer. */
    if (conn->ssl && conn->net_len)
        take_records(conn);
    if (conn->state != CONN_DEAD)
        pool_on_open(conn);
}

static void advance_handshake(struct conn *conn)
{
    enum outcome outcome = tls_handshake(conn);

    if (outcome == OUTCOME_OK)
        go_open(conn);
    else if (outcome != OUTCOME_AGAIN)
        conn_fail(conn, outcome, conn->detail);
}

static void on_connected(struct conn *conn)
{
    struct worker *w = conn->worker;
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    uint16_t port;

    conn->connected_us = w->now_us;
    if (getsockname(conn->fd, (struct sockaddr *)&local, &len) == 0)
        (void)address_from_sockaddr((struct sockaddr *)&local, &conn->local, &port);
    event_add(&conn->readable, NULL);
    if (!conn->host->tls) {
        go_open(conn);
        return;
    }
    conn_set_state(conn, CONN_HANDSHAKE);
    timer_set(&w->timers, &conn->timer, w->now_us + w->options.tls_timeout * 1000);
    enum outcome outcome = tls_start(conn);
    if (outcome != OUTCOME_OK) {
        conn_fail(conn, outcome, "libssl has no memory");
        return;
    }
    advance_handshake(conn);
}

static void on_connect_result(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof error;

    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        snprintf(conn->detail, sizeof conn->detail, "%s", strerror(error));
        conn_fail(conn, dial_outcome(error), conn->detail);
        return;
    }
    on_connected(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;
    struct worker *w = conn->worker;

    (void)what;
    w->now_us = clock_us();
    if (conn->state == CONN_CONNECTING) {
        on_connect_result(conn);
        return;
    }
    if (conn->state == CONN_DEAD)
        return;
    ssize_t n = send((int)fd, conn->out.data, conn->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        snprintf(conn->detail, sizeof conn->detail, "%s", strerror(errno));
        conn_fail(conn, OUTCOME_CONNECTION_BROKEN, conn->detail);
        return;
    }
    if (n > 0) {
        STATS_ADD(w->page, bytes_out, n);
        buffer_consume(&conn->out, (size_t)n);
    }
    if (conn->out.len)
        event_add(&conn->writable, NULL);
    else if (conn->exchange && conn->exchange->flush)
        conn_mark_dirty(conn);
}

void conn_send_raw(struct conn *conn, const void *data, size_t len)
{
    ssize_t n = 0;

    if (conn->out.len == 0) {
        n = send(conn->fd, data, len, MSG_NOSIGNAL);
        /* Any error but a full socket ends the connection: what is lost here can't be sent again, and reading then
         * finds the end. */
        if (n < 0 && errno != EAGAIN) {
            conn->was_reset = errno == ECONNRESET;
            shutdown(conn->fd, SHUT_RDWR);
        }
        if (n < 0)
            n = errno == EAGAIN ? 0 : (ssize_t)len;
        else
            STATS_ADD(conn->worker->page, bytes_out, n);
    }
    if ((size_t)n < len) {
        buffer_append(&conn->out, (const char *)data + n, len - (size_t)n);
        event_add(&conn->writable, NULL);
    }
}

enum outcome conn_send(struct conn *conn, const void *data, size_t len)
{
    if (conn->ssl)
        return tls_write(conn, data, len);
    conn_send_raw(conn, data, len);
    return OUTCOME_OK;
}

/* The peer has sent all that it will. */
static void take_end(struct conn *conn, bool clean)
{
    if (conn->state == CONN_DEAD)
        return;
    if (conn->exchange)
        conn->exchange->input_end(conn, clean);
    if (conn->state == CONN_DEAD)
        return;
    if (conn->active || conn->probe)
        conn_fail(conn, OUTCOME_CONNECTION_CLOSED, clean ? NULL : "without a TLS close_notify");
    else
        conn_close(conn);
}

static bool give(struct conn *conn, const char *data, size_t len)
{
    const char *detail = NULL;
    enum outcome outcome = conn->exchange->input(conn, data, len, &detail);

    if (outcome != OUTCOME_OK && conn->state != CONN_DEAD)
        conn_fail(conn, outcome, detail);
    return conn->state != CONN_DEAD;
}

/* Decrypts and hands on everything that was read. */
static void take_records(struct conn *conn)
{
    struct worker *w = conn->worker;
    enum outcome outcome;
    size_t len;

    while ((outcome = tls_read(conn, w->plain_in, sizeof w->plain_in, &len)) == OUTCOME_OK) {
        if (!give(conn, w->plain_in, len))
            return;
    }
    /* Nothing more will come: what is whole is finished, and no new request is put on it. */
    if (outcome != OUTCOME_AGAIN)
        pool_retire(conn);
    conn->exchange->input_done(conn);
    if (outcome == OUTCOME_TLS_ERROR)
        conn_fail(conn, outcome, conn->detail);
    else if (outcome != OUTCOME_AGAIN)
        take_end(conn, outcome == OUTCOME_CONNECTION_CLOSED);
}

static void take_plain(struct conn *conn)
{
    if (conn->net_len && !give(conn, conn->net, conn->net_len))
        return;
    conn->net_len = 0;
    conn->exchange->input_done(conn);
    if (conn->net_eof)
        take_end(conn, true);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;
    struct worker *w = conn->worker;

    (void)what;
    if (conn->state == CONN_DEAD)
        return;
    ssize_t n = recv((int)fd, w->net_in, sizeof w->net_in, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 0 && conn->was_reset) {
        errno = ECONNRESET;
        n = -1;
    }
    w->now_us = clock_us();
    if (n < 0) {
        snprintf(conn->detail, sizeof conn->detail, "%s", strerror(errno));
        conn_fail(conn, OUTCOME_CONNECTION_BROKEN, conn->detail);
        return;
    }
    STATS_ADD(w->page, bytes_in, n);
    conn->net = w->net_in;
    conn->net_len = (size_t)n;
    conn->net_eof = n == 0;
    conn->read_full = (size_t)n == sizeof w->net_in;
    if (conn->state == CONN_HANDSHAKE) {
        advance_handshake(conn);
        return;
    }
    if (conn->ssl)
        take_records(conn);
    else
        take_plain(conn);
    conn->net_len = 0;
}

static void draw_browser(struct conn *conn, uint64_t profiles)
{
    struct worker *w = conn->worker;

    draw_begin(&conn->draw, w->seed, w->index, w->conns_made);
    conn->browser = browser_draw(w, profiles, &conn->draw);
    if (conn->browser->profile)
        conn->language_len = (uint8_t)accept_language_draw(&conn->draw, conn->language);
}

enum outcome conn_dial(struct pool_host *host, uint32_t ip, const struct address *address, uint64_t profiles,
                       struct conn **conn_out, const char **detail_out)
{
    struct worker *w = host->worker;
    int fd;
    enum outcome outcome = dial_start(w, address, host->port, &fd, detail_out);

    if (outcome != OUTCOME_OK)
        return outcome;
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        close(fd);
        return OUTCOME_RESOURCE_EXHAUSTED;
    }
    conn->worker = w;
    conn->host = host;
    conn->ip = ip;
    (void)access_follow(conn);
    conn->address = *address;
    conn->fd = fd;
    conn->state = CONN_CONNECTING;
    conn->capacity = 1;
    conn->dialed_us = w->now_us;
    conn->id = (uint64_t)w->index * CONN_ID_STEP + ++w->conns_made;
    draw_browser(conn, profiles);
    TAILQ_INIT(&conn->fetches);
    timer_init(&conn->timer, on_timer);
    timer_set(&w->timers, &conn->timer, w->now_us + w->options.conn_timeout * 1000);
    event_assign(&conn->readable, w->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, w->base, fd, EV_WRITE, on_writable, conn);
    event_add(&conn->writable, NULL);
    conn_move(conn, &host->dialing);
    STATS_ADD(w->page, dials, 1);
    *conn_out = conn;
    return OUTCOME_OK;
}

void conn_mark_dirty(struct conn *conn)
{
    if (conn->is_dirty || conn->state == CONN_DEAD)
        return;
    conn->is_dirty = true;
    TAILQ_INSERT_TAIL(&conn->worker->dirty, conn, dirty);
}

void conn_flush_dirty(struct worker *w)
{
    struct conn *conn;

    while ((conn = TAILQ_FIRST(&w->dirty))) {
        const char *detail = NULL;
        TAILQ_REMOVE(&w->dirty, conn, dirty);
        conn->is_dirty = false;
        if (conn->state == CONN_DEAD)
            continue;
        enum outcome outcome = conn->exchange->flush(conn, &detail);
        if (outcome != OUTCOME_OK && conn->state != CONN_DEAD)
            conn_fail(conn, outcome, detail);
        else if (conn->pooled && conn->active < conn->capacity)
            /* Streams that were reset by us end here: their places are free. */
            pool_on_release(conn);
    }
}

/* The common end: off the loop, the lease given back, off to the dead. */
static void bury(struct conn *conn)
{
    struct worker *w = conn->worker;

    conn_set_state(conn, CONN_DEAD);
    probe_abandon(conn, false);
    timer_remove(&w->timers, &conn->timer);
    event_del(&conn->readable);
    event_del(&conn->writable);
    if (conn->is_dirty)
        TAILQ_REMOVE(&w->dirty, conn, dirty);
    conn->is_dirty = false;
    close(conn->fd);
    conn->fd = -1;
    conn_move(conn, &w->dead);
    STATS_ADD(w->page, closes, 1);
    pool_on_dead(conn);
}

void conn_fail(struct conn *conn, enum outcome outcome, const char *detail)
{
    struct worker *w = conn->worker;
    bool dialing = !conn->pooled;

    if (conn->state == CONN_DEAD)
        return;
    if (dialing)
        STATS_ADD(w->page, dial_failures, 1);
    if (log_shows(LOG_DEBUG))
        log_event(LOG_DEBUG, "connection-failed", "id=%llu host=%s outcome=%s detail=\"%s\"",
                  (unsigned long long)conn->id, conn->host->name, outcome_name(outcome), detail ? detail : "");
    probe_abandon(conn, true);
    bury(conn);
    if (dialing) {
        pool_on_dial_failed(conn, outcome, detail);
    } else {
        /* The exchange ends what ran on it: it knows which requests were never looked at. */
        if (detail != conn->detail)
            snprintf(conn->detail, sizeof conn->detail, "%s", detail ? detail : "");
        conn->exchange->cancel_all(conn, outcome, conn->detail[0] ? conn->detail : NULL);
    }
}

void conn_close(struct conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    if (conn->exchange && conn->exchange->shutdown)
        conn->exchange->shutdown(conn);
    if (conn->ssl)
        tls_close(conn);
    if (conn->active || !conn->pooled) {
        conn_fail(conn, OUTCOME_CONNECTION_CLOSED, NULL);
        return;
    }
    bury(conn);
}

bool conn_is_fresh(struct conn *conn)
{
    char byte;
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return true;
    /* Tickets and other words of TLS itself are no reason to close; the reader tells them from stray bytes. */
    on_readable(conn->fd, EV_READ, conn);
    return conn->state == CONN_OPEN;
}

void conn_sweep(struct worker *w)
{
    struct conn *conn;

    while ((conn = TAILQ_FIRST(&w->dead))) {
        TAILQ_REMOVE(&w->dead, conn, link);
        if (conn->exchange)
            conn->exchange->close(conn);
        SSL_free(conn->ssl);
        buffer_fini(&conn->out);
        buffer_fini(&conn->record);
        free(conn);
    }
}
