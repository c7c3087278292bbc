/* From task message to fetch, and from outcome to result. */
#include "worker/fetch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/access.h"
#include "worker/answer.h"
#include "worker/attempts.h"
#include "worker/chore.h"
#include "worker/conn.h"
#include "worker/decode.h"
#include "worker/health.h"
#include "worker/outbox.h"
#include "worker/pool.h"
#include "worker/probe.h"
#include "worker/record.h"
#include "worker/retry.h"
#include "worker/validate.h"

#define LOOK_AROUND_US  250000 /* that a fetch waits before others are thought of; then ever longer */
#define SPARES_KEPT     64
#define STALE_TRIES_MAX 5 /* kept connections that may turn out closed before it counts as a failure */

static void wait_on(struct fetch *f, uint64_t look_after_us)
{
    uint64_t look_at_us = f->worker->now_us + look_after_us;

    timer_set(&f->worker->timers, &f->timer, look_at_us < f->patience_until_us ? look_at_us : f->patience_until_us);
}

/* It has waited for some time. Where connections here are all busy, with answers that take for ever perhaps, those of
 * other workers may be free: they get it, once. */
static void look_around(struct fetch *f)
{
    struct worker *w = f->worker;

    if (f->m.flags & TASK_STAYS || !pool_has_more_elsewhere(f)) {
        wait_on(f, w->now_us - f->arrived_us);
        return;
    }
    pool_forget(w->pool, f);
    fetch_hand_back(f);
}

static void on_timer(struct timer *timer, void *user)
{
    struct fetch *f = (struct fetch *)(void *)((char *)timer - offsetof(struct fetch, timer));
    struct worker *w = f->worker;
    bool over = w->now_us >= f->deadline_us;

    (void)user;
    if (probe_is(f)) {
        probe_on_timeout(f);
    } else if (f->state == FETCH_WAITING && w->now_us < f->patience_until_us) {
        look_around(f);
    } else if (f->state == FETCH_WAITING) {
        pool_forget(w->pool, f);
        fetch_fail(f, over ? OUTCOME_DEADLINE : OUTCOME_ACQUIRE_TIMEOUT, NULL);
    } else if (f->state == FETCH_ACTIVE) {
        struct conn *conn = f->conn;
        bool usable = conn->exchange->cancel(conn, f);
        fetch_fail(f, over ? OUTCOME_DEADLINE : OUTCOME_REQUEST_TIMEOUT, NULL);
        if (!usable && conn->state != CONN_DEAD)
            conn_close(conn);
        else if (usable)
            pool_on_release(conn);
    }
}

struct fetch *fetch_take_spare(struct worker *w)
{
    struct fetch *f = TAILQ_FIRST(&w->spare);

    if (f) {
        TAILQ_REMOVE(&w->spare, f, link);
        return f;
    }
    f = calloc(1, sizeof *f);
    if (!f)
        die("out of memory: no room for a fetch; a smaller --concurrency needs less");
    f->worker = w;
    timer_init(&f->timer, on_timer);
    return f;
}

static struct span cut(const char **at, const char *end, uint32_t len, bool *good)
{
    struct span span = {*at, len};

    if (len > (size_t)(end - *at)) {
        *good = false;
        return (struct span){0};
    }
    *at += len;
    return len ? span : (struct span){0};
}

static void set_url(struct url *url, struct span text, const struct task_message *m)
{
    *url = (struct url){
        .text = text.data,
        .len = (uint32_t)text.len,
        .host_offset = m->host_offset,
        .host_len = m->host_len,
        .port = m->port,
        .path_offset = m->path_offset,
        .path_len = m->path_len,
        .scheme = (enum url_scheme)m->scheme,
    };
}

static bool url_fits(const struct url *u)
{
    return u->path_offset < u->len && u->host_offset + u->host_len <= u->path_offset &&
           u->path_len <= u->len - u->path_offset;
}

/* Makes the strings of the message, kept in f->text, into spans. */
static bool unpack(struct fetch *f)
{
    const struct task_message *m = &f->m;
    /* A chore may have none at all. */
    const char *at = f->text.data ? f->text.data : "";
    const char *end = at + f->text.len;
    bool good = true;
    /* First of all, where they are aligned. */
    f->avoid = (const uint32_t *)(const void *)cut(&at, end, m->avoid_count * 4u, &good).data;
    f->chain = (const uint16_t *)(const void *)cut(&at, end, m->chain_count * 2u, &good).data;
    struct span url = cut(&at, end, m->url_len, &good);
    struct span first = cut(&at, end, m->first_url_len, &good);

    f->input = cut(&at, end, m->input_len, &good);
    f->method = cut(&at, end, m->method_len, &good);
    f->headers = cut(&at, end, m->headers_len, &good);
    f->body = cut(&at, end, m->body_len, &good);
    f->tag = cut(&at, end, m->tag_len, &good);
    struct span log = cut(&at, end, m->log_len, &good);
    attempts_take(f, log);
    if (m->kind > TASK_LIST || (m->kind != TASK_FETCH) != ((m->seq & CHORE_SEQ) != 0))
        return false;
    if (m->kind != TASK_FETCH && m->kind != TASK_CHECK && !(m->kind == TASK_LIST && url.data))
        return good;
    if (!good || !url.data)
        return false;
    /* Whatever method, body or raw request the options name is for input lines. */
    if (m->kind == TASK_CHECK)
        f->method = (struct span){"GET", 3};
    set_url(&f->url, url, m);
    f->first_url = f->url;
    if (!(m->flags & TASK_URL_IS_FIRST)) {
        f->first_url = (struct url){.text = first.data,
                                    .len = (uint32_t)first.len,
                                    .host_offset = m->first_host_offset,
                                    .host_len = m->first_host_len,
                                    .port = m->first_port,
                                    .path_offset = m->first_path_offset,
                                    .path_len = m->first_path_len,
                                    .scheme = (enum url_scheme)m->first_scheme};
    }
    if (m->flags & TASK_INPUT_IS_URL)
        f->input = (struct span){f->first_url.text, f->first_url.len};
    else if (!f->input.data)
        f->input = (struct span){"", 0};
    return url_fits(&f->url) && url_fits(&f->first_url);
}

static bool take_profiles(struct fetch *f)
{
    const struct profile_set *set = profile_set_at(f->m.profile);

    f->profiles = set ? set->members : PROFILE_ANY;
    return set || f->m.profile == 0;
}

static void reset(struct fetch *f)
{
    f->conn = NULL;
    f->dialed = NULL;
    f->host = NULL;
    f->sent_us = f->first_byte_us = 0;
    f->stale_tries = 0;
    f->ip = IP_NONE;
    f->promised = NULL;
    f->validations = 0;
    f->validating = f->validated = false;
    f->reused = f->unprocessed = false;
    f->started_us = f->m.started_us;
    f->first_attempt_wall_us = f->m.first_attempt_wall_us;
    f->attempts = f->m.attempts;
    f->learned = ACCESS_UNKNOWN;
    answer_reset(f);
}

struct fetch *fetch_new(struct worker *w, const void *message, uint32_t len)
{
    if (len < sizeof(struct task_message))
        return NULL;
    struct fetch *f = fetch_take_spare(w);
    memcpy(&f->m, message, sizeof f->m);
    buffer_clear(&f->text);
    buffer_append(&f->text, (const char *)message + sizeof f->m, len - sizeof f->m);
    if (!unpack(f) || !take_profiles(f)) {
        fetch_discard(f);
        return NULL;
    }
    reset(f);
    return f;
}

static void submit_chore(struct fetch *f)
{
    struct worker *w = f->worker;

    f->started_us = w->now_us;
    f->deadline_us = w->now_us + w->options.total_timeout * 1000;
    f->head_request = false;
    f->state = FETCH_DIALING;
    chore_begin(f);
}

void fetch_submit(struct fetch *f)
{
    struct worker *w = f->worker;
    uint64_t until = w->now_us + w->options.acquire_timeout * 1000;

    f->arrived_us = w->now_us;
    if (f->m.kind != TASK_FETCH) {
        submit_chore(f);
        return;
    }
    if (!f->started_us) {
        f->started_us = w->now_us;
        f->first_attempt_wall_us = clock_wall_us();
    }
    f->deadline_us = f->started_us + w->options.total_timeout * 1000;
    f->patience_until_us = until < f->deadline_us ? until : f->deadline_us;
    wait_on(f, LOOK_AROUND_US);
    f->state = FETCH_WAITING;
    pool_submit(w->pool, f);
}

static void count_attempt(struct fetch *f)
{
    struct worker *w = f->worker;

    f->attempts++;
    f->sent_us = w->now_us;
    histogram_add(&w->page->acquire_time, w->now_us - f->arrived_us);
    STATS_ADD(w->page, requests, 1);
    STATS_ADD(w->page, reuses, f->reused);
    STATS_ADD(w->page, retries, f->attempts > 1);
}

void fetch_begin(struct fetch *f, struct conn *conn, bool reused)
{
    struct worker *w = f->worker;
    uint64_t time_us = health_request_us(conn->host);

    conn_attach(conn, f);
    f->state = FETCH_ACTIVE;
    f->unprocessed = false;
    f->ip = conn->ip;
    f->begun_us = w->now_us;
    f->first_byte_us = 0;
    answer_reset(f);
    /* What the connection was before its test. */
    if (!f->validated)
        f->reused = reused;
    if (validate_is_due(f)) {
        validate_begin(f);
        time_us = w->options.test_timeout * 1000;
    } else {
        count_attempt(f);
    }
    struct span method = request_method(&w->defaults, f);
    f->head_request = method.len == 4 && memcmp(method.data, "HEAD", 4) == 0;
    uint64_t until = w->now_us + time_us;
    timer_set(&w->timers, &f->timer, until < f->deadline_us ? until : f->deadline_us);
}

void fetch_send_result(struct fetch *f, enum result_kind kind, enum outcome outcome, const void *payload, size_t len)
{
    timer_stop(&f->timer);
    decoder_free(f->decoder);
    f->decoder = NULL;
    f->result.seq = f->m.seq;
    f->result.slot = f->m.slot;
    f->result.kind = (uint32_t)kind;
    f->result.outcome = (uint32_t)outcome;
    f->result.attempts = f->attempts;
    f->result.first_attempt_wall_us = f->first_attempt_wall_us;
    f->result.started_us = f->started_us;
    f->result.status = f->status;
    f->result.host = f->m.host;
    f->result.host_generation = f->m.host_generation;
    f->result.ip = f->learned != ACCESS_UNKNOWN ? f->learned_ip : f->m.kind == TASK_FETCH ? f->ip : f->m.ip;
    f->result.access = (uint32_t)f->learned;
    outbox_put(f, payload, len);
}

/* A host is left alone for as long as it asks, but not longer than any URL may take. */
static uint32_t host_wait_ms(const struct fetch *f)
{
    uint64_t max = f->worker->options.total_timeout;

    return f->retry_after_ms < max ? f->retry_after_ms : (uint32_t)max;
}

void fetch_send_record(struct fetch *f, const struct conn *conn, enum outcome outcome, const char *detail)
{
    struct worker *w = f->worker;

    STATS_ADD(w->page, records, 1);
    STATS_ADD(w->page, failed, outcome != OUTCOME_OK);
    STATS_ADD(w->page, outcomes[outcome], 1);
    record_of_fetch(f, conn, outcome, detail);
    f->result.delay_ms = 0;
    f->result.host_wait_ms = outcome == OUTCOME_RATE_LIMITED ? host_wait_ms(f) : 0;
    fetch_send_result(f, RESULT_RECORD, outcome, w->line.data, w->line.len);
}

/* Asks the coordinator for another attempt, if one is due. */
static bool retried(struct fetch *f, enum outcome outcome)
{
    struct worker *w = f->worker;
    struct span method = request_method(&w->defaults, f);
    struct retry_question question = {
        .outcome = outcome,
        .attempts = f->attempts,
        .elapsed_us = w->now_us - f->started_us,
        .idempotent = outcome_method_idempotent(method.data, method.len),
        .never_sent = f->sent_us == 0 || f->unprocessed,
        .retry_after_ms = f->retry_after_ms,
    };

    if (!retry_wanted(&w->options, &question, &f->result.delay_ms))
        return false;
    f->result.host_wait_ms = host_wait_ms(f);
    fetch_send_result(f, RESULT_RETRY, outcome, f->log.data, f->log.len);
    return true;
}

/* The answer refuses the address, not the request: it is asked for at another one, as long as there is one, and however
 * many have refused. */
static void end_blocked(struct fetch *f, const struct conn *conn)
{
    struct worker *w = f->worker;
    struct span method = request_method(&w->defaults, f);

    if (w->now_us >= f->deadline_us || !outcome_method_idempotent(method.data, method.len) ||
        !access_has_usable(conn->host)) {
        fetch_send_record(f, conn, OUTCOME_IP_BLOCKED, NULL);
        return;
    }
    f->result.delay_ms = f->result.host_wait_ms = 0;
    fetch_send_result(f, RESULT_RETRY, OUTCOME_IP_BLOCKED, f->log.data, f->log.len);
}

static bool redirected(struct fetch *f, const struct conn *conn)
{
    struct worker *w = f->worker;
    const char *reason = NULL;
    struct url next;

    /* A raw request is written for one place, and may hold secrets of it. */
    if (!answer_redirects(f) || w->options.max_redirects == 0 || request_raw(&w->defaults).data)
        return false;
    if (f->m.chain_count >= (uint32_t)w->options.max_redirects) {
        fetch_send_record(f, conn, OUTCOME_TOO_MANY_REDIRECTS, NULL);
        return true;
    }
    struct span location = answer_location(f);
    if (url_parse(location.data, location.len, &f->url, &w->location, &next, &reason) != OUTCOME_OK) {
        fetch_send_record(f, conn, OUTCOME_INVALID_URL, reason);
        return true;
    }
    STATS_ADD(w->page, redirects, 1);
    f->result.delay_ms = f->result.host_wait_ms = 0;
    if (f->log.len) {
        buffer_append_char(&w->location, '\n');
        buffer_append(&w->location, f->log.data, f->log.len);
    }
    fetch_send_result(f, RESULT_REDIRECT, OUTCOME_OK, w->location.data, w->location.len);
    return true;
}

void fetch_on_complete(struct fetch *f)
{
    struct conn *conn = f->conn;
    struct worker *w = f->worker;

    if (probe_is(f)) {
        probe_on_complete(f);
        return;
    }
    conn_detach(conn, f);
    if (f->validating) {
        attempts_add(f, conn, f->status, OUTCOME_OK);
        validate_on_answer(f, conn);
        return;
    }
    STATS_ADD(w->page, responses, 1);
    STATS_ADD(w->page, response_us, w->now_us - f->sent_us);
    STATS_ADD(w->page, body_bytes, f->wire_bytes);
    STATS_ADD(w->page, status_classes[f->status / 100 <= 5 ? f->status / 100 : 0], 1);
    histogram_add(&w->page->response_time, w->now_us - f->sent_us);
    health_on_answer(conn, f->status, w->now_us - f->sent_us);
    if (f->m.kind != TASK_FETCH) {
        chore_end(f, OUTCOME_OK, 0);
        return;
    }
    f->learned_ip = conn->ip;
    if (access_judge(conn, f->status, &f->learned) == ACCESS_BLACK) {
        attempts_add(f, conn, f->status, OUTCOME_IP_BLOCKED);
        end_blocked(f, conn);
        return;
    }
    bool asks_for_time = f->status == 429 || f->status == 503;
    attempts_add(f, conn, f->status, asks_for_time ? OUTCOME_RATE_LIMITED : OUTCOME_OK);
    if (asks_for_time && retried(f, OUTCOME_RATE_LIMITED))
        return;
    if (redirected(f, conn))
        return;
    const char *detail = NULL;
    enum outcome fault = answer_end_body(f, &detail);
    if (fault != OUTCOME_OK) {
        fetch_send_record(f, conn, fault, detail);
        return;
    }
    bool limited = f->status == 429 || (f->status == 503 && f->retry_after_given);
    fetch_send_record(f, conn, limited ? OUTCOME_RATE_LIMITED : OUTCOME_OK, NULL);
}

/* A kept connection that the server had closed before the request came: no fault of the URL. */
static bool was_stale(const struct fetch *f, enum outcome outcome)
{
    struct span method = request_method(&f->worker->defaults, f);

    return (f->reused || f->validated) && f->status == 0 && f->stale_tries < STALE_TRIES_MAX &&
           (outcome == OUTCOME_CONNECTION_CLOSED || outcome == OUTCOME_CONNECTION_BROKEN) &&
           (f->unprocessed || outcome_method_idempotent(method.data, method.len));
}

void fetch_fail(struct fetch *f, enum outcome outcome, const char *detail)
{
    struct conn *conn = f->conn;
    struct worker *w = f->worker;

    if (probe_is(f)) {
        probe_on_failure(f, outcome);
        return;
    }
    if (conn) {
        conn_detach(conn, f);
        attempts_add(f, conn, 0, outcome);
        health_on_failure(conn, outcome, w->now_us - f->sent_us);
    }
    if (f->m.kind != TASK_FETCH) {
        chore_end(f, outcome, 0);
        return;
    }
    if (conn && was_stale(f, outcome)) {
        f->stale_tries++;
        if (f->validating)
            validate_undo(f);
        else
            f->attempts--;
        f->validated = f->validating = false;
        f->state = FETCH_WAITING;
        timer_set(&w->timers, &f->timer, f->deadline_us);
        pool_resubmit(w->pool, f);
        return;
    }
    if (conn && f->validating && outcome != OUTCOME_DEADLINE) {
        validate_on_failure(f, conn, outcome, detail);
        return;
    }
    f->validating = false;
    if (!retried(f, outcome))
        fetch_send_record(f, conn, outcome, detail);
}

void fetch_dial_failed(struct fetch *f, const struct conn *dialed, uint32_t ip, enum outcome outcome,
                       const char *detail)
{
    f->attempts++;
    f->ip = ip;
    f->dialed = dialed;
    attempts_add(f, dialed, 0, outcome);
    fetch_fail(f, outcome, detail);
}

bool fetch_avoids(const struct fetch *f, uint32_t ip)
{
    for (unsigned i = 0; i < f->m.avoid_count; i++) {
        if (f->avoid[i] == ip)
            return true;
    }
    return false;
}

void fetch_hand_back(struct fetch *f)
{
    STATS_ADD(f->worker->page, handed_back, 1);
    f->result.delay_ms = f->result.host_wait_ms = 0;
    fetch_send_result(f, RESULT_HAND_BACK, OUTCOME_OK, f->log.data, f->log.len);
}

void fetch_discard(struct fetch *f)
{
    timer_stop(&f->timer);
    f->state = FETCH_SPARE;
    TAILQ_INSERT_HEAD(&f->worker->spare, f, link);
}

static void free_list(struct worker *w, struct fetch_list *list)
{
    struct fetch *f;

    while ((f = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, f, link);
        timer_remove(&w->timers, &f->timer);
        buffer_fini(&f->text);
        buffer_fini(&f->meta);
        buffer_fini(&f->log);
        buffer_fini(&f->payload);
        EVP_MD_CTX_free(f->digest);
        decoder_free(f->decoder);
        free(f);
    }
}

void fetch_trim_spare(struct worker *w)
{
    struct fetch_list kept = TAILQ_HEAD_INITIALIZER(kept);
    struct fetch *f;

    for (int n = 0; n < SPARES_KEPT && (f = TAILQ_FIRST(&w->spare)); n++) {
        TAILQ_REMOVE(&w->spare, f, link);
        TAILQ_INSERT_TAIL(&kept, f, link);
    }
    free_list(w, &w->spare);
    TAILQ_CONCAT(&w->spare, &kept, link);
}

void fetch_free_all(struct worker *w)
{
    free_list(w, &w->unsent);
    free_list(w, &w->spare);
}
