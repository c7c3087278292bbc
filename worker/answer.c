/* Taking in status, fields and body of an answer. */
#include "worker/answer.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/conn.h"
#include "worker/decode.h"

#define RETRY_AFTER_MAX_MS UINT64_C(86400000) /* a day */

void answer_reset(struct fetch *f)
{
    f->head_done = f->truncated = f->end_stream = f->reset_by_peer = false;
    f->status = f->interim = 0;
    f->content_length = -1;
    f->head_bytes = f->wire_bytes = f->body_bytes = 0;
    f->codings_len = 0;
    decoder_free(f->decoder);
    f->decoder = NULL;
    f->body_fault = OUTCOME_OK;
    f->retry_after_given = false;
    f->retry_after_ms = 0;
    f->content_type = f->location = f->webserver = (struct meta_span){0};
    buffer_clear(&f->meta);
}

static void fail_body(struct fetch *f, enum outcome outcome, const char *detail)
{
    if (f->body_fault != OUTCOME_OK)
        return;
    f->body_fault = outcome;
    f->fault_detail = detail;
}

void fetch_on_status(struct fetch *f, unsigned status)
{
    f->status = status;
}

static void keep(struct fetch *f, struct meta_span *span, const char *value, size_t len)
{
    /* The first of several wins. */
    if (span->present)
        return;
    *span = (struct meta_span){.offset = (uint32_t)f->meta.len, .len = (uint32_t)len, .present = true};
    buffer_append(&f->meta, value, len);
}

/* Several fields are one list (RFC 9110 5.3). What does not fit could not be decoded anyway. */
static void keep_coding(struct fetch *f, const char *value, size_t len)
{
    if (len + 1 > sizeof f->codings - f->codings_len) {
        fail_body(f, OUTCOME_PROTOCOL_ERROR, "Content-Encoding is too long");
        return;
    }
    if (f->codings_len)
        f->codings[f->codings_len++] = ',';
    memcpy(f->codings + f->codings_len, value, len);
    f->codings_len += (unsigned)len;
}

/* Seconds, or a date (RFC 9110 10.2.3); what is neither was not given. */
static void take_retry_after(struct fetch *f, const char *value, size_t len)
{
    char text[64];
    struct tm tm = {0};
    uint64_t seconds = 0;
    size_t digits = 0;

    if (len == 0 || len >= sizeof text)
        return;
    memcpy(text, value, len);
    text[len] = '\0';
    for (; digits < len && text[digits] >= '0' && text[digits] <= '9'; digits++)
        seconds = seconds < RETRY_AFTER_MAX_MS ? seconds * 10 + (uint64_t)(text[digits] - '0') : seconds;
    if (digits < len) {
        char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        if (!end || *end)
            return;
        int64_t until = (int64_t)timegm(&tm);
        int64_t now = (int64_t)(clock_wall_us() / 1000000);
        seconds = until > now ? (uint64_t)(until - now) : 0;
    }
    f->retry_after_given = true;
    f->retry_after_ms = (uint32_t)(seconds < RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : RETRY_AFTER_MAX_MS);
}

static bool named(const char *name, size_t len, const char *wanted, size_t wanted_len)
{
    return len == wanted_len && strncasecmp(name, wanted, len) == 0;
}

#define is(wanted) named(name, name_len, wanted, sizeof(wanted) - 1)

void fetch_on_field(struct fetch *f, const char *name, size_t name_len, const char *value, size_t value_len)
{
    /* Told apart by length first: most fields are none of ours. */
    switch (name_len) {
    case 6:
        if (is("server"))
            keep(f, &f->webserver, value, value_len);
        break;
    case 8:
        if (is("location"))
            keep(f, &f->location, value, value_len);
        break;
    case 11:
        if (is("retry-after"))
            take_retry_after(f, value, value_len);
        break;
    case 12:
        if (is("content-type"))
            keep(f, &f->content_type, value, value_len);
        break;
    case 14:
        if (is("content-length") && value_len && value_len < 19) {
            int64_t length = 0;
            for (size_t i = 0; i < value_len && length >= 0; i++)
                length = value[i] >= '0' && value[i] <= '9' ? length * 10 + (value[i] - '0') : -1;
            f->content_length = length;
        }
        break;
    case 16:
        if (is("content-encoding"))
            keep_coding(f, value, value_len);
        break;
    default:
        break;
    }
}

void fetch_on_head(struct fetch *f, int64_t content_length)
{
    struct worker *w = f->worker;

    f->head_done = true;
    f->first_byte_us = w->now_us;
    /* An answer to HEAD announces a length that does not come; it is told all the same. */
    if (content_length >= 0)
        f->content_length = content_length;
    if (w->options.hash) {
        if (!f->digest)
            f->digest = EVP_MD_CTX_new();
        if (!f->digest || EVP_DigestInit_ex(f->digest, EVP_sha256(), NULL) != 1)
            die("out of memory: libcrypto has no room for a digest");
    }
}

/* Takes bytes of the body as it is meant; false: enough. */
static bool take_body(void *user, const char *data, size_t len)
{
    struct fetch *f = user;
    struct worker *w = f->worker;
    /* The limit may have been lowered since the body began. */
    uint64_t room = w->options.max_body > f->body_bytes ? w->options.max_body - f->body_bytes : 0;

    if (len > room) {
        len = (size_t)room;
        f->truncated = true;
    }
    f->body_bytes += len;
    if (w->options.hash && f->digest)
        EVP_DigestUpdate(f->digest, data, len);
    return !f->truncated;
}

/* At the body's first byte: an answer to HEAD names a coding and has nothing to decode. */
static bool begin_decoding(struct fetch *f)
{
    unsigned ratio = (unsigned)f->worker->options.max_ratio;
    enum outcome outcome = decoder_new(&f->decoder, f->codings, f->codings_len, ratio);

    if (outcome != OUTCOME_OK)
        fail_body(f, outcome, outcome == OUTCOME_PROTOCOL_ERROR ? "the body has too many content codings" : NULL);
    else if (!f->decoder)
        f->codings_len = 0;
    return f->body_fault == OUTCOME_OK;
}

bool fetch_on_body(struct fetch *f, const char *data, size_t len)
{
    const char *reason = NULL;

    f->wire_bytes += len;
    if (f->body_fault != OUTCOME_OK)
        return false;
    if (f->codings_len && !f->decoder && !begin_decoding(f))
        return false;
    if (!f->decoder)
        return take_body(f, data, len);
    if (f->wire_bytes > f->worker->options.max_body)
        f->truncated = true;
    enum outcome outcome = decoder_feed(f->decoder, data, len, take_body, f, &reason);
    if (outcome != OUTCOME_OK)
        fail_body(f, outcome, reason);
    return f->body_fault == OUTCOME_OK && !f->truncated;
}

enum outcome answer_end_body(struct fetch *f, const char **detail_out)
{
    const char *reason = NULL;

    if (f->decoder && !f->truncated && f->body_fault == OUTCOME_OK && decoder_end(f->decoder, &reason) != OUTCOME_OK)
        fail_body(f, OUTCOME_PROTOCOL_ERROR, reason);
    decoder_free(f->decoder);
    f->decoder = NULL;
    *detail_out = f->fault_detail;
    return f->body_fault;
}

bool answer_redirects(const struct fetch *f)
{
    bool status = f->status == 301 || f->status == 302 || f->status == 303 || f->status == 307 || f->status == 308;

    return status && f->location.present && f->location.len;
}

struct span answer_location(const struct fetch *f)
{
    return (struct span){f->meta.data + f->location.offset, f->location.len};
}
