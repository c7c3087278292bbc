/* HTTP/2 of the stub origin: nghttp2 takes the frames apart, and each request is answered like one of HTTP/1.1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/origin/stub.h"

#define STREAMS_MAX 256u

/* What is known of a request until its end: nghttp2 keeps it with the stream. */
struct request {
    char target[256];
    size_t target_len;
    bool head;
};

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct request *r;

    (void)user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    r = calloc(1, sizeof *r);
    if (!r)
        die("out of memory: no room for a request");
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, r);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags;
    (void)user;
    if (!r)
        return 0;
    if (name_len == 5 && memcmp(name, ":path", 5) == 0) {
        r->target_len = value_len < sizeof r->target ? value_len : sizeof r->target;
        memcpy(r->target, value, r->target_len);
    }
    r->head |= name_len == 7 && memcmp(name, ":method", 7) == 0 && value_len == 4 && memcmp(value, "HEAD", 4) == 0;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stub_conn *c = user;
    struct request *r;

    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (r)
        stub_conn_owe(c, frame->hd.stream_id, r->head, r->target, r->target_len);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user)
{
    struct stub_conn *c = user;
    struct stub_answer *a;

    (void)code;
    free(nghttp2_session_get_stream_user_data(session, stream));
    LIST_FOREACH(a, &c->answers, entry)
    {
        if (a->stream == stream)
            break;
    }
    if (a)
        stub_answer_free(a);
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream;
    (void)source;
    (void)user;
    if (room < STUB_BODY_LEN)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    /* The bytes alone, without a NUL. */
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result)
    memcpy(to, STUB_BODY, STUB_BODY_LEN);
    *flags = NGHTTP2_DATA_FLAG_EOF;
    return STUB_BODY_LEN;
}

bool stub_h2_flush(struct stub_conn *c)
{
    const uint8_t *data;
    ssize_t n = 0;

    while (!c->dead && (n = nghttp2_session_mem_send(c->h2, &data)) > 0)
        stub_conn_send(c, data, (size_t)n);
    return n >= 0 && (nghttp2_session_want_read(c->h2) || nghttp2_session_want_write(c->h2));
}

bool stub_h2_open(struct stub_conn *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX};

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return false;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    int failed = nghttp2_session_server_new(&c->h2, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    return failed == 0 && nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, &settings, 1) == 0 && stub_h2_flush(c);
}

bool stub_h2_take(struct stub_conn *c, const uint8_t *data, size_t len)
{
    return nghttp2_session_mem_recv(c->h2, data, len) == (ssize_t)len && stub_h2_flush(c);
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

void stub_h2_answer(struct stub_conn *c, const struct stub_answer *a)
{
    nghttp2_data_provider body = {.read_callback = read_body};
    char status[16];

    snprintf(status, sizeof status, "%u", a->status);
    nghttp2_nv fields[] = {field(":status", status), field("content-type", "text/plain"), field("content-length", "3")};
    if (a->cut)
        nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, a->stream, NGHTTP2_INTERNAL_ERROR);
    else
        nghttp2_submit_response(c->h2, a->stream, fields, 3, a->head ? NULL : &body);
}
