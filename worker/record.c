/* Filling a record from a fetch and its connection. */
#include "worker/record.h"

#include "worker/attempts.h"
#include "worker/conn.h"
#include "worker/pool.h"

#define SHORT_INPUT_BYTES 1024

static struct span meta(const struct fetch *f, struct meta_span m)
{
    return m.present ? (struct span){f->meta.data ? f->meta.data + m.offset : "", m.len} : (struct span){0};
}

static uint64_t since(uint64_t from_us, uint64_t to_us)
{
    return from_us && to_us > from_us ? to_us - from_us : 0;
}

static void set_connection(struct record *r, const struct fetch *f, const struct conn *conn)
{
    r->connection = (struct span){conn->record.data, conn->record.len};
    r->conn_id = conn->id;
    r->reused = f->reused;
    r->connect_us = f->reused ? 0 : since(conn->dialed_us, conn->connected_us);
    r->tls_us = f->reused || !conn->ssl ? 0 : since(conn->connected_us, conn->opened_us);
}

/* A record that would not pass through the ring, of a hostile line and a hostile answer, is told without their long
 * parts. */
static void format_short(struct buffer *line, struct record *r)
{
    r->input.len = r->input.len < SHORT_INPUT_BYTES ? r->input.len : SHORT_INPUT_BYTES;
    r->input_truncated = true;
    r->content_type = r->location = r->webserver = (struct span){0};
    if (r->attempt_log.data)
        r->attempt_log.len = 0;
    buffer_clear(line);
    record_format(line, r);
}

void record_of_fetch(struct fetch *f, const struct conn *conn, enum outcome outcome, const char *detail)
{
    struct worker *w = f->worker;
    bool first = f->m.flags & TASK_URL_IS_FIRST;
    uint8_t digest[EVP_MAX_MD_SIZE];
    struct record r = {
        .seq = f->m.seq,
        .input = f->input,
        .url = {f->first_url.text, f->first_url.len},
        .host = {f->first_url.text + f->first_url.host_offset, f->first_url.host_len},
        .path = {f->first_url.text + f->first_url.path_offset, f->first_url.path_len},
        .scheme = f->first_url.scheme == URL_HTTPS ? "https" : "http",
        .port = f->first_url.port,
        .timestamp_wall_us = f->first_attempt_wall_us,
        .outcome = outcome,
        .detail = detail,
        .method = request_method(&w->defaults, f),
        .status = f->head_done ? f->status : 0,
        .content_length = f->content_length >= 0                   ? f->content_length
                          : outcome == OUTCOME_OK && !f->truncated ? (int64_t)f->wire_bytes
                                                                   : -1,
        .chain = f->chain,
        .chain_count = f->m.chain_count,
        .worker = w->index,
        .attempts = f->attempts,
        .total_us = since(f->started_us, w->now_us) + f->m.dns_us,
        .with_timings = w->options.timings,
        .dns_us = f->m.dns_us,
        .ttfb_us = since(f->sent_us, f->first_byte_us),
        .bytes_wire = f->wire_bytes,
        .bytes_body = f->body_bytes,
        .truncated = f->truncated,
        .tag = f->tag.len ? f->tag : (struct span){0},
    };

    if (r.status) {
        r.content_type = meta(f, f->content_type);
        r.location = meta(f, f->location);
        r.webserver = meta(f, f->webserver);
    }
    if (!first)
        r.final_url = (struct span){f->url.text, f->url.len};
    if (conn)
        set_connection(&r, f, conn);
    else if (f->dialed)
        r.dialed = &f->dialed->address;
    r.attempt_log = attempts_text(f);
    if (w->options.hash && outcome == OUTCOME_OK && f->head_done && f->digest &&
        EVP_DigestFinal_ex(f->digest, digest, NULL) == 1)
        r.sha256 = digest;
    buffer_clear(&w->line);
    record_format(&w->line, &r);
    if (w->line.len + sizeof(struct result_message) > RING_MESSAGE_MAX(w->region.header->record_ring_capacity))
        format_short(&w->line, &r);
}
