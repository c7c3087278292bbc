/* The order and form of a record's keys. */
#include "common/record.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/json.h"

#define member_span(b, literal, span)                                  \
    do {                                                               \
        if ((span).data)                                               \
            json_member_string((b), literal, (span).data, (span).len); \
    } while (0)
#define member_text(b, literal, text) json_member_string((b), literal, (text), strlen(text))

static void put_time(struct buffer *b, uint64_t wall_us)
{
    buffer_reserve(b, CLOCK_RFC3339_LEN + 2);
    b->data[b->len] = '"';
    clock_rfc3339(wall_us, b->data + b->len + 1);
    b->data[b->len + 1 + CLOCK_RFC3339_LEN] = '"';
    b->len += CLOCK_RFC3339_LEN + 2;
}

static void put_request(struct buffer *b, const struct record *r)
{
    json_member_uint(b, "seq", r->seq);
    json_member_string(b, "input", r->input.data, r->input.len);
    if (r->input_truncated)
        json_member_bool(b, "input_truncated", true);
    if (r->url.data) {
        char port[8];
        size_t n = sizeof port;
        unsigned value = r->port;
        do {
            port[--n] = (char)('0' + value % 10);
            value /= 10;
        } while (value);
        json_member_string(b, "url", r->url.data, r->url.len);
        member_text(b, "scheme", r->scheme);
        json_member_string(b, "host", r->host.data, r->host.len);
        json_member_string(b, "port", port + n, sizeof port - n);
        json_member_string(b, "path", r->path.data, r->path.len);
    }
    json_key(b, "timestamp");
    put_time(b, r->timestamp_wall_us);
}

static void put_result(struct buffer *b, const struct record *r)
{
    const struct outcome_row *row = outcome_row(r->outcome);

    json_member_bool(b, "failed", r->outcome != OUTCOME_OK);
    if (r->dry_run)
        json_member_bool(b, "dry_run", true);
    if (r->outcome == OUTCOME_OK)
        return;
    member_text(b, "error_code", row->name);
    if (r->detail && *r->detail) {
        char text[512];
        int n = snprintf(text, sizeof text, "%s: %s", row->text, r->detail);
        json_member_string(b, "error", text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    } else {
        member_text(b, "error", row->text);
    }
}

static void put_chain(struct buffer *b, const struct record *r)
{
    member_span(b, "final_url", r->final_url);
    if (r->chain_count == 0)
        return;
    json_key(b, "chain_status_codes");
    buffer_append_char(b, '[');
    for (unsigned i = 0; i < r->chain_count; i++) {
        if (i)
            buffer_append_char(b, ',');
        json_put_uint(b, r->chain[i]);
    }
    if (r->status) {
        buffer_append_char(b, ',');
        json_put_uint(b, r->status);
    }
    buffer_append_char(b, ']');
}

static void put_answer(struct buffer *b, const struct record *r)
{
    member_span(b, "method", r->method);
    if (r->status) {
        json_member_uint(b, "status_code", r->status);
        member_span(b, "content_type", r->content_type);
        if (r->content_length >= 0)
            json_member_int(b, "content_length", r->content_length);
        member_span(b, "location", r->location);
        member_span(b, "webserver", r->webserver);
    }
    put_chain(b, r);
}

static void put_address(struct buffer *b, const char *key, size_t key_len, const struct address *a)
{
    char text[ADDRESS_TEXT_MAX];

    json_put_key(b, key, key_len);
    json_put_string(b, text, address_format(a, text));
}

void record_format_connection(struct buffer *b, const struct record_connection *c)
{
    /* An object of its own at first, so that the commas fall right; its brace is taken off at the end. */
    size_t start = b->len;

    json_open(b);
    if (c->host_ip)
        put_address(b, "host_ip", 7, c->host_ip);
    if (c->local_ip)
        put_address(b, "local_ip", 8, c->local_ip);
    if (c->http_version)
        member_text(b, "http_version", c->http_version);
    if (c->tls_version) {
        json_key(b, "tls");
        json_open(b);
        member_text(b, "version", c->tls_version);
        member_text(b, "cipher", c->tls_cipher);
        json_member_bool(b, "resumed", c->tls_resumed);
        json_close(b);
    }
    member_span(b, "sni", c->sni);
    if (c->profile)
        member_text(b, "profile", c->profile);
    memmove(b->data + start, b->data + start + 1, b->len - start - 1);
    b->len--;
}

void record_format_attempt(struct buffer *b, size_t start, const struct record_attempt *a)
{
    if (b->len > start)
        buffer_append_char(b, ',');
    json_open(b);
    member_text(b, "layer", a->layer);
    if (a->host_ip)
        put_address(b, "host_ip", 7, a->host_ip);
    if (a->conn_id) {
        json_member_uint(b, "conn_id", a->conn_id);
        json_member_bool(b, "reused", a->reused);
    }
    if (a->validation)
        json_member_bool(b, "validation", true);
    if (a->status)
        json_member_uint(b, "status_code", a->status);
    else
        member_text(b, "error_code", outcome_name(a->outcome));
    json_key(b, "ms");
    json_put_ms(b, a->took_us);
    json_key(b, "wait_ms");
    json_put_ms(b, a->waited_us);
    json_close(b);
}

static void put_connection(struct buffer *b, const struct record *r)
{
    if (r->connection.len) {
        buffer_append_char(b, ',');
        buffer_append(b, r->connection.data, r->connection.len);
    } else if (r->dialed) {
        put_address(b, "host_ip", 7, r->dialed);
    }
}

static void put_times(struct buffer *b, const struct record *r)
{
    json_key(b, "time");
    buffer_append_char(b, '"');
    json_put_ms(b, r->total_us);
    buffer_append(b, "ms\"", 3);
    if (!r->with_timings)
        return;
    json_key(b, "timings");
    json_open(b);
    json_key(b, "dns");
    json_put_ms(b, r->dns_us);
    json_key(b, "connect");
    json_put_ms(b, r->connect_us);
    json_key(b, "tls");
    json_put_ms(b, r->tls_us);
    json_key(b, "ttfb");
    json_put_ms(b, r->ttfb_us);
    json_key(b, "total");
    json_put_ms(b, r->total_us);
    json_close(b);
}

static void put_hash(struct buffer *b, const uint8_t *sha256)
{
    static const char digits[] = "0123456789abcdef";
    char hex[64];

    for (size_t i = 0; i < 32; i++) {
        hex[2 * i] = digits[sha256[i] >> 4];
        hex[2 * i + 1] = digits[sha256[i] & 15];
    }
    json_key(b, "hash");
    json_open(b);
    json_member_string(b, "body_sha256", hex, sizeof hex);
    json_close(b);
}

static void put_exchange(struct buffer *b, const struct record *r)
{
    if (r->attempts)
        json_member_uint(b, "attempts", r->attempts);
    if (r->connection.len) {
        json_member_uint(b, "worker", r->worker);
        json_member_uint(b, "conn_id", r->conn_id);
        json_member_bool(b, "reused", r->reused);
    }
    if (r->status) {
        json_member_uint(b, "bytes_wire", r->bytes_wire);
        json_member_uint(b, "bytes_body", r->bytes_body);
        if (r->truncated)
            json_member_bool(b, "truncated", true);
    }
    if (r->sha256)
        put_hash(b, r->sha256);
}

/* What readers of the line find from its end: the log, then the tag. */
static void put_tail(struct buffer *b, const struct record *r)
{
    if (r->attempt_log.data) {
        json_key(b, "attempt_log");
        buffer_append_char(b, '[');
        buffer_append(b, r->attempt_log.data, r->attempt_log.len);
        buffer_append_char(b, ']');
    }
    if (r->tag.data) {
        json_key(b, "tag");
        buffer_append(b, r->tag.data, r->tag.len);
    }
}

void record_format(struct buffer *out, const struct record *r)
{
    json_open(out);
    put_request(out, r);
    put_result(out, r);
    put_answer(out, r);
    put_connection(out, r);
    put_times(out, r);
    put_exchange(out, r);
    put_tail(out, r);
    json_close(out);
    buffer_append_char(out, '\n');
}

void record_format_stale(struct buffer *out, const struct record *r, const struct record_stale *stale)
{
    json_open(out);
    put_request(out, r);
    json_member_bool(out, "failed", false);
    buffer_append_char(out, ',');
    buffer_append(out, stale->members.data, stale->members.len);
    put_times(out, r);
    if (r->attempts)
        json_member_uint(out, "attempts", r->attempts);
    json_member_bool(out, "stale", true);
    json_key(out, "stale_since");
    put_time(out, stale->since_wall_us);
    member_text(out, "stale_reason", outcome_name(stale->reason));
    put_tail(out, r);
    json_close(out);
    buffer_append_char(out, '\n');
}
