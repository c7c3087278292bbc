/* Formatting of connections, in pieces of whole lines that pass through the record ring. */
#include "worker/conn_list.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/chore.h"
#include "worker/pool.h"

#define LINE_BYTES_MAX 2048 /* of one connection: its longest member is a host name of 255 bytes, escaped */

struct lister {
    struct fetch *f;
    struct buffer *out;
    uint64_t wall_now_us;
    size_t piece_bytes_max;
    uint32_t count;
};

static const char *state_name(enum conn_state state)
{
    static const char *const names[] = {
        [CONN_CONNECTING] = "connecting", [CONN_HANDSHAKE] = "handshake", [CONN_OPEN] = "open",
        [CONN_RETIRING] = "retiring",     [CONN_DEAD] = "dead",
    };

    return names[state];
}

static void put_text(struct buffer *out, const char *text)
{
    if (text)
        json_put_string(out, text, strlen(text));
    else
        buffer_append_str(out, "null");
}

/* A moment of the monotonic clock, as the wall clock had it. */
static void put_time(const struct lister *l, uint64_t at_us)
{
    uint64_t ago_us = l->f->worker->now_us - at_us;
    char text[CLOCK_RFC3339_LEN];

    clock_rfc3339(l->wall_now_us - ago_us, text);
    json_put_string(l->out, text, sizeof text);
}

static void put_times(const struct lister *l, const struct conn *conn)
{
    uint64_t now_us = l->f->worker->now_us;
    struct buffer *out = l->out;

    json_key(out, "created");
    put_time(l, conn->dialed_us);
    json_key(out, "last_used");
    if (conn->served == 0)
        buffer_append_str(out, "null");
    else
        put_time(l, conn->is_idle ? conn->idle_since_us : now_us);
    json_key(out, "age_ms");
    json_put_ms(out, now_us - conn->dialed_us);
    json_key(out, "idle_ms");
    json_put_ms(out, conn->is_idle ? now_us - conn->idle_since_us : 0);
}

static void put_health(const struct lister *l, const struct conn *conn)
{
    json_member_bool(l->out, "healthy", conn->state == CONN_OPEN && !conn->suspect);
    json_member_uint(l->out, "error_count", conn->errors);
    json_key(l->out, "last_checked");
    if (conn->last_checked_us)
        put_time(l, conn->last_checked_us);
    else
        buffer_append_str(l->out, "null");
}

static void put_tls(struct buffer *out, const struct conn *conn)
{
    json_key(out, "tls");
    if (!conn->tls_version) {
        buffer_append_str(out, "null");
        return;
    }
    json_open(out);
    json_key(out, "version");
    put_text(out, conn->tls_version);
    json_key(out, "cipher");
    put_text(out, conn->tls_cipher);
    json_member_bool(out, "resumed", conn->tls_resumed);
    json_close(out);
}

static void put_conn(const struct lister *l, const struct conn *conn)
{
    const struct pool_host *host = conn->host;
    struct buffer *out = l->out;
    char ip[ADDRESS_TEXT_MAX];

    address_format(&conn->address, ip);
    json_open(out);
    json_key(out, "target_ip");
    put_text(out, ip);
    json_member_string(out, "target_host", host->name, host->name_len);
    json_member_uint(out, "target_port", host->port);
    json_member_uint(out, "conn_id", conn->id);
    json_member_uint(out, "worker", conn->worker->index);
    json_key(out, "state");
    put_text(out, state_name(conn->state));
    put_times(l, conn);
    json_member_bool(out, "in_use", conn->active > 0);
    put_health(l, conn);
    json_member_uint(out, "request_count", conn->served);
    json_key(out, "fingerprint");
    put_text(out, "none");
    json_key(out, "http_version");
    put_text(out, conn->exchange ? conn->exchange->version : NULL);
    json_member_uint(out, "streams", conn->active);
    put_tls(out, conn);
    json_close(out);
    buffer_append_char(out, '\n');
}

static bool is_wanted(const struct fetch *f, const struct conn *conn)
{
    const struct url *url = &f->url;
    const struct pool_host *host = conn->host;

    if (f->m.ip != IP_NONE && f->m.ip != conn->ip)
        return false;
    return f->m.url_len == 0 ||
           (host->name_len == url->host_len && memcmp(host->name, url->text + url->host_offset, url->host_len) == 0);
}

static void send_piece(struct lister *l)
{
    if (l->out->len)
        chore_put(l->f, l->out->data, l->out->len);
    buffer_clear(l->out);
}

static void on_conn(void *user, const struct conn *conn)
{
    struct lister *l = user;

    if (!is_wanted(l->f, conn))
        return;
    if (l->out->len + LINE_BYTES_MAX > l->piece_bytes_max)
        send_piece(l);
    put_conn(l, conn);
    l->count++;
}

uint32_t conn_list_send(struct fetch *f)
{
    struct lister l = {
        .f = f,
        .out = &f->worker->line,
        .wall_now_us = clock_wall_us(),
        .piece_bytes_max = chore_put_max(f),
    };

    buffer_clear(l.out);
    pool_each(f->worker->pool, on_conn, &l);
    send_piece(&l);
    return l.count;
}
