/* HTTP/1.1 on a connection: one request at a time, strictly in turn. */
#include <stdlib.h>

#include "common/log.h"
#include "worker/conn.h"
#include "worker/fetch.h"
#include "worker/h1_parser.h"
#include "worker/pool.h"

struct h1 {
    struct conn *conn;
    struct h1_parser parser;
    struct fetch *fetch; /* NULL between requests */
    bool whole;          /* the answer is complete; its fetch is finished when the input is done */
    bool cut;            /* the body cap was reached: the rest is not wanted */
};

static void on_status(void *user, unsigned status)
{
    struct h1 *h1 = user;

    fetch_on_status(h1->fetch, status);
}

static void on_field(void *user, const char *name, size_t name_len, const char *value, size_t value_len)
{
    struct h1 *h1 = user;

    fetch_on_field(h1->fetch, name, name_len, value, value_len);
}

static void on_head(void *user, enum h1_framing framing, int64_t content_length)
{
    struct h1 *h1 = user;

    (void)framing;
    fetch_on_head(h1->fetch, content_length);
}

static void on_body(void *user, const char *data, size_t len)
{
    struct h1 *h1 = user;

    if (!h1->cut && !fetch_on_body(h1->fetch, data, len))
        h1->cut = true;
}

static void on_complete(void *user)
{
    struct h1 *h1 = user;

    h1->whole = true;
}

static const struct h1_callbacks callbacks = {on_status, on_field, on_head, on_body, on_complete};

static void h1_open(struct conn *conn)
{
    struct h1 *h1 = calloc(1, sizeof *h1);
    struct h1_limits limits = {
        .head_bytes_max = conn->worker->options.max_header,
        .fields_max = 256,
        .interim_max = 16,
    };

    if (!h1)
        die("out of memory: no room for a connection's parser");
    h1->conn = conn;
    h1_parser_init(&h1->parser, &callbacks, &limits);
    conn->protocol.h1 = h1;
    conn->capacity = 1;
}

static void h1_close(struct conn *conn)
{
    h1_parser_fini(&conn->protocol.h1->parser);
    free(conn->protocol.h1);
}

static void h1_start(struct conn *conn, struct fetch *f)
{
    struct h1 *h1 = conn->protocol.h1;
    struct worker *w = conn->worker;

    h1->fetch = f;
    h1->whole = h1->cut = false;
    h1_parser_begin(&h1->parser, h1, f->head_request);
    struct span request = request_raw(&w->defaults);
    if (!request.data || f->m.kind != TASK_FETCH) {
        buffer_clear(&w->out);
        request_put_h1(conn->browser->defaults, f, &w->out);
        request = (struct span){w->out.data, w->out.len};
    }
    if (conn_send(conn, request.data, request.len) != OUTCOME_OK)
        conn_fail(conn, OUTCOME_TLS_ERROR, conn->detail);
}

static enum outcome h1_input(struct conn *conn, const char *data, size_t len, const char **detail_out)
{
    struct h1 *h1 = conn->protocol.h1;
    size_t taken = 0;

    if (!h1->fetch || h1->whole || h1->cut) {
        /* Nobody asked for these bytes: they must not become the next request's answer. */
        if (!h1->cut)
            STATS_ADD(conn->worker->page, stray_closes, 1);
        if (conn->state == CONN_OPEN)
            pool_retire(conn);
        return OUTCOME_OK;
    }
    enum outcome outcome = h1_parser_feed(&h1->parser, data, len, &taken);
    if (outcome != OUTCOME_OK) {
        *detail_out = h1->parser.reason;
        return outcome;
    }
    if (h1->whole && taken < len) {
        STATS_ADD(conn->worker->page, stray_closes, 1);
        pool_retire(conn);
    }
    return OUTCOME_OK;
}

/* Ends the exchange whose answer is whole, or cut at the cap. */
static void finish(struct conn *conn, bool keep)
{
    struct h1 *h1 = conn->protocol.h1;
    struct fetch *f = h1->fetch;

    h1->fetch = NULL;
    fetch_on_complete(f);
    if (!keep && conn->state == CONN_OPEN)
        pool_retire(conn);
    else
        pool_on_release(conn);
}

static void h1_input_done(struct conn *conn)
{
    struct h1 *h1 = conn->protocol.h1;

    if (!h1->fetch)
        return;
    if (h1->whole)
        finish(conn, h1->parser.keep_alive && !h1->cut && conn_backlog(conn) == 0 &&
                         request_can_be_followed(&conn->worker->defaults));
    else if (h1->cut)
        finish(conn, false);
}

static void h1_input_end(struct conn *conn, bool clean)
{
    struct h1 *h1 = conn->protocol.h1;

    if (h1->fetch && !h1->whole && h1_parser_eof(&h1->parser, clean) == OUTCOME_OK)
        finish(conn, false);
}

static bool h1_cancel(struct conn *conn, struct fetch *f)
{
    (void)f;
    conn->protocol.h1->fetch = NULL;
    return false;
}

static void h1_cancel_all(struct conn *conn, enum outcome outcome, const char *detail)
{
    struct fetch *f = conn->protocol.h1->fetch;

    conn->protocol.h1->fetch = NULL;
    if (f)
        fetch_fail(f, outcome, detail);
}

const struct exchange exchange_h1 = {
    .version = "1.1",
    .open = h1_open,
    .close = h1_close,
    .start = h1_start,
    .input = h1_input,
    .input_done = h1_input_done,
    .input_end = h1_input_end,
    .cancel = h1_cancel,
    .cancel_all = h1_cancel_all,
};
