/* HTTP/2 on a connection: many requests at a time, framing and HPACK by nghttp2, output gathered into one send a turn.
 */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "common/log.h"
#include "worker/conn.h"
#include "worker/fetch.h"
#include "worker/h2_profile.h"
#include "worker/pool.h"
#include "worker/probe.h"
#include "worker/slots.h"

#define STREAM_WINDOW     (1 << 20)
#define CONNECTION_WINDOW (16 << 20)
#define ACKS_MAX          (NET_IN_BYTES / 9 + 1000)
#define INTERIM_MAX       16
#define GATHER_BYTES      16384  /* a TLS record's worth */
#define BACKLOG_MAX       262144 /* gather no more while the socket holds this much back */

struct h2 {
    struct conn *conn;
    nghttp2_session *session;
    const uint8_t *rest; /* of a frame that nghttp2 gave and that is not yet sent; its memory */
    size_t rest_len;
    void *table;   /* of streams, see slots.h */
    bool refused;  /* GOAWAY came: no further requests */
    bool released; /* a stream ended while input was taken */
};

static struct fetch *fetch_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct fetch *f = fetch_of(session, frame->hd.stream_id);

    (void)user;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    /* Each head of the stream, interim ones and trailers too, counts against the same limit. */
    if (f && frame->headers.cat != NGHTTP2_HCAT_RESPONSE)
        f->head_bytes += 32;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2 *h2 = user;
    struct fetch *f = fetch_of(session, frame->hd.stream_id);

    (void)flags;
    if (!f || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    f->head_bytes += name_len + value_len + 32;
    if (f->head_bytes > h2->conn->worker->options.max_header)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (f->head_done)
        return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        unsigned status = 0;
        for (size_t i = 0; i < value_len && i < 3; i++)
            status = status * 10 + (unsigned)(value[i] - '0');
        /* An interim one is no answer yet. */
        if (status >= 200)
            fetch_on_status(f, status);
    } else if (f->status >= 200) {
        fetch_on_field(f, (const char *)name, name_len, (const char *)value, value_len);
    }
    return 0;
}

static void note_settings(struct h2 *h2)
{
    struct conn *conn = h2->conn;
    struct worker *w = conn->worker;
    uint32_t theirs = nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    uint32_t ours = (uint32_t)w->options.max_streams_per_conn;

    conn->capacity = theirs < ours ? theirs : ours;
    atomic_store_explicit(&w->region.table.hosts[conn->host->index].streams_max, theirs, memory_order_relaxed);
}

static void h2_follow_options(struct conn *conn)
{
    note_settings(conn->protocol.h2);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    struct fetch *f;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        f = fetch_of(session, frame->hd.stream_id);
        if (!f || f->head_done)
            break;
        if (f->status >= 200)
            fetch_on_head(f, f->content_length);
        else if (++f->interim > INTERIM_MAX)
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_ENHANCE_YOUR_CALM);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            note_settings(h2);
        break;
    case NGHTTP2_RST_STREAM:
        f = fetch_of(session, frame->hd.stream_id);
        if (f)
            f->reset_by_peer = true;
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            probe_on_pong(h2->conn);
        break;
    case NGHTTP2_PUSH_PROMISE:
        /* Browsers of old do not forbid it in their SETTINGS; nobody here has a use for it. */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->push_promise.promised_stream_id, NGHTTP2_CANCEL);
        break;
    case NGHTTP2_GOAWAY:
        h2->refused = true;
        break;
    default:
        break;
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
                   void *user)
{
    struct fetch *f = fetch_of(session, stream_id);

    (void)flags;
    (void)user;
    if (!f || f->truncated)
        return 0;
    if (!fetch_on_body(f, (const char *)data, len))
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
    return 0;
}

/* Why a stream without a whole answer ended. */
static void fail_stream(struct h2 *h2, struct fetch *f, uint32_t code)
{
    static const char *const too_large = "the head's fields are above max_header";
    size_t head_max = h2->conn->worker->options.max_header;

    if (code == NGHTTP2_REFUSED_STREAM) {
        f->unprocessed = true;
        fetch_fail(f, OUTCOME_CONNECTION_CLOSED, "the server refused the stream");
    } else if (f->head_bytes > head_max) {
        fetch_fail(f, OUTCOME_TOO_LARGE, too_large);
    } else if (f->reset_by_peer) {
        fetch_fail(f, OUTCOME_CONNECTION_BROKEN, nghttp2_http2_strerror(code));
    } else {
        fetch_fail(f, OUTCOME_PROTOCOL_ERROR,
                   code ? nghttp2_http2_strerror(code) : "the stream ended without an answer");
    }
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    struct h2 *h2 = user;
    struct fetch *f = fetch_of(session, stream_id);

    if (!f)
        return 0;
    /* NO_ERROR from the server after a whole answer to an unfinished upload is a whole answer (RFC 9113 8.1). */
    bool whole = f->head_done && (f->truncated || (code == NGHTTP2_NO_ERROR && f->end_stream));
    if (whole)
        fetch_on_complete(f);
    else
        fail_stream(h2, f, code);
    h2->released = true;
    return 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct fetch *f;

    (void)user;
    if ((hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS) && (hd->flags & NGHTTP2_FLAG_END_STREAM) &&
        (f = fetch_of(session, hd->stream_id)))
        f->end_stream = true;
    return 0;
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    static nghttp2_session_callbacks *made;

    if (made)
        return made;
    if (nghttp2_session_callbacks_new(&made) != 0)
        die("out of memory: nghttp2 has no room for its callbacks");
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, on_begin_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
    return made;
}

static nghttp2_option *make_options(void)
{
    static nghttp2_option *made;

    if (!made && nghttp2_option_new(&made) != 0)
        die("out of memory: nghttp2 has no room for its options");
    /* Closed streams are of no use to a client that never reprioritises: their memory goes at once. */
    nghttp2_option_set_no_closed_streams(made, 1);
    /* Answers to PING and SETTINGS are sent once a turn, so one read's worth of them may gather. */
    nghttp2_option_set_max_outbound_ack(made, ACKS_MAX);
    return made;
}

static void h2_open(struct conn *conn)
{
    struct worker *w = conn->worker;
    struct h2 *h2 = calloc(1, sizeof *h2);
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)w->options.max_header},
    };

    if (!h2)
        die("out of memory: no room for an HTTP/2 connection");
    nghttp2_mem memory = slots_for_nghttp2(&h2->table);
    if (nghttp2_session_client_new3(&h2->session, make_callbacks(), h2, make_options(), &memory) != 0)
        die("out of memory: no room for an HTTP/2 session");
    h2->conn = conn;
    conn->protocol.h2 = h2;
    conn->capacity = (unsigned)w->options.max_streams_per_conn;
    atomic_fetch_or_explicit(&w->region.table.hosts[conn->host->index].flags, HOST_HTTP2, memory_order_relaxed);
    if (conn->browser->profile) {
        h2_profile_open(h2->session, &conn->browser->profile->http2);
    } else {
        nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof settings[0]);
        nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
    }
    conn_mark_dirty(conn);
}

static void h2_close(struct conn *conn)
{
    nghttp2_session_del(conn->protocol.h2->session);
    free(conn->protocol.h2);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *out, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct h2 *h2 = user;
    struct fetch *f = fetch_of(session, stream_id);

    (void)source;
    if (!f)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct span body = request_body(&h2->conn->worker->defaults, f);
    size_t left = body.len - f->body_sent;
    size_t n = left < size ? left : size;
    memcpy(out, body.data + f->body_sent, n);
    f->body_sent += (uint32_t)n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void h2_start(struct conn *conn, struct fetch *f)
{
    struct h2 *h2 = conn->protocol.h2;
    struct worker *w = conn->worker;
    nghttp2_nv fields[REQUEST_FIELDS_MAX + 6];
    nghttp2_data_provider provider = {.read_callback = read_body};

    f->body_sent = 0;
    size_t count = request_fill_h2(conn->browser->defaults, f, &w->lower, fields);
    bool has_body = request_body(&w->defaults, f).len > 0;
    nghttp2_priority_spec priority;
    int32_t id = nghttp2_submit_request(h2->session, h2_profile_priority(conn->browser->profile, &priority), fields,
                                        count, has_body ? &provider : NULL, f);
    if (id < 0) {
        /* Stream numbers are used up, or memory: this connection has served its time. */
        f->unprocessed = true;
        h2->refused = true;
        fetch_fail(f, OUTCOME_CONNECTION_CLOSED, nghttp2_strerror(id));
        return;
    }
    f->stream_id = id;
    conn_mark_dirty(conn);
}

static enum outcome h2_input(struct conn *conn, const char *data, size_t len, const char **detail_out)
{
    struct h2 *h2 = conn->protocol.h2;
    ssize_t n = nghttp2_session_mem_recv(h2->session, (const uint8_t *)data, len);

    if (n < 0) {
        *detail_out = nghttp2_strerror((int)n);
        return OUTCOME_PROTOCOL_ERROR;
    }
    return OUTCOME_OK;
}

static void h2_input_done(struct conn *conn)
{
    struct h2 *h2 = conn->protocol.h2;

    if (h2->refused && conn->state == CONN_OPEN)
        pool_retire(conn);
    if (conn->state == CONN_DEAD)
        return;
    /* With the handshake's last flight the connection is not yet the pool's: pool_on_open() serves the waiters. */
    if (conn->pooled && (h2->released || conn->active < conn->capacity || pool_can_lend(conn))) {
        h2->released = false;
        pool_on_release(conn);
    }
    conn_mark_dirty(conn);
}

static void h2_input_end(struct conn *conn, bool clean)
{
    (void)conn;
    (void)clean;
}

/* Takes frames into `out` until it is full or none is left; returns their bytes. The rest of a frame that does not fit
 * is kept for the next call. */
static size_t gather(struct h2 *h2, uint8_t out[GATHER_BYTES], ssize_t *error_out)
{
    size_t len = 0;

    while (len < GATHER_BYTES) {
        if (h2->rest_len == 0) {
            ssize_t n = nghttp2_session_mem_send(h2->session, &h2->rest);
            if (n <= 0) {
                *error_out = n;
                break;
            }
            h2->rest_len = (size_t)n;
        }
        size_t take = h2->rest_len < GATHER_BYTES - len ? h2->rest_len : GATHER_BYTES - len;
        memcpy(out + len, h2->rest, take);
        h2->rest += take;
        h2->rest_len -= take;
        len += take;
    }
    return len;
}

static enum outcome h2_flush(struct conn *conn, const char **detail_out)
{
    struct h2 *h2 = conn->protocol.h2;
    /* Its own room: what ends while this runs may say good-bye on another connection. */
    uint8_t out[GATHER_BYTES];
    ssize_t error = 0;
    size_t len;

    while (conn_backlog(conn) < BACKLOG_MAX && (len = gather(h2, out, &error)) > 0) {
        if (conn_send(conn, out, len) != OUTCOME_OK)
            return OUTCOME_TLS_ERROR;
    }
    if (error < 0) {
        *detail_out = nghttp2_strerror((int)error);
        return OUTCOME_PROTOCOL_ERROR;
    }
    /* nghttp2 has ended the session by itself: a GOAWAY for what the server did wrong is out. */
    if (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session)) {
        *detail_out = "the HTTP/2 session was ended";
        return h2->refused ? OUTCOME_CONNECTION_CLOSED : OUTCOME_PROTOCOL_ERROR;
    }
    return OUTCOME_OK;
}

static bool h2_cancel(struct conn *conn, struct fetch *f)
{
    struct h2 *h2 = conn->protocol.h2;

    nghttp2_session_set_stream_user_data(h2->session, f->stream_id, NULL);
    nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, f->stream_id, NGHTTP2_CANCEL);
    conn_mark_dirty(conn);
    return true;
}

/* Finds the fetches again through their own list: nghttp2 has no walk over streams. */
static void h2_cancel_all(struct conn *conn, enum outcome outcome, const char *detail)
{
    struct fetch *f;

    while ((f = TAILQ_FIRST(&conn->fetches))) {
        nghttp2_session_set_stream_user_data(conn->protocol.h2->session, f->stream_id, NULL);
        fetch_fail(f, outcome, detail);
    }
}

static void h2_ping(struct conn *conn)
{
    /* Without memory for it nothing is sent, and the probe fails when its time is over. */
    int ignored = nghttp2_submit_ping(conn->protocol.h2->session, NGHTTP2_FLAG_NONE, NULL);

    (void)ignored;
    conn_mark_dirty(conn);
}

static void h2_slim(struct conn *conn)
{
    slots_drop_blank(conn->protocol.h2->table);
}

static void h2_shutdown(struct conn *conn)
{
    struct h2 *h2 = conn->protocol.h2;
    const char *detail = NULL;

    nghttp2_session_terminate_session(h2->session, NGHTTP2_NO_ERROR);
    enum outcome ignored = h2_flush(conn, &detail);
    (void)ignored;
}

const struct exchange exchange_h2 = {
    .version = "2",
    .open = h2_open,
    .close = h2_close,
    .start = h2_start,
    .input = h2_input,
    .input_done = h2_input_done,
    .input_end = h2_input_end,
    .flush = h2_flush,
    .cancel = h2_cancel,
    .cancel_all = h2_cancel_all,
    .follow_options = h2_follow_options,
    .ping = h2_ping,
    .slim = h2_slim,
    .shutdown = h2_shutdown,
};
