/* What a log of attempts says of each: the layer it was, where it went, how it ended, and how long that took. */
#include "worker/attempts.h"

#include <string.h>

#include "worker/conn.h"

#define ATTEMPT_BYTES_MAX 320 /* of one attempt's text */

void attempts_take(struct fetch *f, struct span carried)
{
    struct task_log none = {.ip = IP_NONE, .outcome = OUTCOME_OK};

    buffer_clear(&f->log);
    f->layer = NULL;
    if (!f->worker->options.attempt_log || f->m.kind != TASK_FETCH)
        return;
    if (carried.len >= sizeof none)
        buffer_append(&f->log, carried.data, carried.len);
    else
        buffer_append(&f->log, &none, sizeof none);
}

/* What a tested connection serves is of the same layer as its test. A wait comes first: whatever the attempt after it
 * ran on, it was made because there was a wait. */
static const char *layer_of(const struct fetch *f, const struct conn *conn, const struct task_log *before)
{
    enum retry retry = outcome_row((enum outcome)before->outcome)->retry;

    if (f->validated && f->layer)
        return f->layer;
    if (retry == RETRY_AFTER_WAIT)
        return "retry";
    if (conn && conn->pooled && f->reused)
        return "pool";
    if (retry == RETRY_OTHER_ADDRESS && conn && conn->ip != before->ip)
        return "address";
    return "connection";
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* When the attempt began: with its connection if that was made for it. */
static uint64_t start_of(const struct fetch *f, const struct conn *conn, uint64_t since_us)
{
    if (!conn)
        return later(f->worker->now_us, since_us);
    return later(conn->pooled && f->reused ? f->begun_us : conn->dialed_us, since_us);
}

void attempts_add(struct fetch *f, const struct conn *conn, unsigned status, enum outcome outcome)
{
    struct worker *w = f->worker;
    struct task_log before;

    if (f->log.len < sizeof before)
        return;
    memcpy(&before, f->log.data, sizeof before);
    uint64_t since_us = before.ended_us ? before.ended_us : f->started_us;
    uint64_t start_us = start_of(f, conn, since_us);
    struct record_attempt attempt = {
        .layer = layer_of(f, conn, &before),
        .host_ip = conn ? &conn->address : NULL,
        .conn_id = conn ? conn->id : 0,
        .reused = conn && conn->pooled && f->reused,
        .validation = f->validating,
        .status = status,
        .outcome = outcome,
        .took_us = w->now_us > start_us ? w->now_us - start_us : 0,
        .waited_us = start_us - since_us,
    };
    f->layer = attempt.layer;
    struct task_log now = {.ended_us = w->now_us, .ip = conn ? conn->ip : IP_NONE, .outcome = (uint32_t)outcome};
    memcpy(f->log.data, &now, sizeof now);
    if (f->log.len + ATTEMPT_BYTES_MAX <= TASK_LOG_MAX)
        record_format_attempt(&f->log, sizeof now, &attempt);
}

struct span attempts_text(const struct fetch *f)
{
    if (f->log.len < sizeof(struct task_log))
        return (struct span){0};
    return (struct span){f->log.data + sizeof(struct task_log), f->log.len - sizeof(struct task_log)};
}
