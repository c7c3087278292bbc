/* From worker messages to records, redirects and retries. */
#include "coordinator/results.h"

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/results_check.h"
#include "shm/task.h"

#define DEATHS_MAX 5 /* workers that may die holding one task before it is given up */

static void count(struct results *r, uint64_t seq, enum outcome outcome)
{
    job_mark(r->job, seq, outcome);
    r->done++;
    r->outcomes[outcome]++;
    if (outcome != OUTCOME_OK)
        r->failed++;
}

static void set_url(struct record *record, const struct url *url)
{
    record->url = (struct span){url->text, url->len};
    record->scheme = url->scheme == URL_HTTPS ? "https" : "http";
    record->host = (struct span){url->text + url->host_offset, url->host_len};
    record->port = url->port;
    record->path = (struct span){url->text + url->path_offset, url->path_len};
}

static void put(struct results *r, const struct record *record)
{
    record_format(records_buffer(r->records), record);
    records_added(r->records);
    count(r, record->seq, record->outcome);
    STATS_ADD(r->page, records, 1);
    STATS_ADD(r->page, failed, record->outcome != OUTCOME_OK);
    STATS_ADD(r->page, outcomes[record->outcome], 1);
}

void results_refuse(struct results *r, uint64_t seq, struct span input, bool input_truncated, struct span tag,
                    const struct url *url, enum outcome outcome, const char *detail)
{
    struct record record = {
        .seq = seq,
        .input = input,
        .input_truncated = input_truncated,
        .timestamp_wall_us = clock_wall_us(),
        .outcome = outcome,
        .detail = detail,
        .content_length = -1,
        .tag = tag,
    };

    if (url)
        set_url(&record, url);
    STATS_ADD(r->page, invalid_lines, 1);
    put(r, &record);
}

/* Empty when no attempt was made. */
static struct span attempt_log(const struct task *task)
{
    struct span log = task_log_text(task);

    return log.data ? log : (struct span){"", 0};
}

static struct record record_of(const struct results *r, const struct task *task)
{
    struct record record = {
        .seq = task->seq,
        .input = task->input,
        .timestamp_wall_us = task->first_attempt_wall_us ? task->first_attempt_wall_us : clock_wall_us(),
        .method = task->method.data ? task->method : r->default_method,
        .content_length = -1,
        .chain = task->chain,
        .chain_count = task->chain_count,
        .attempts = task->attempts,
        .total_us = task->started_us ? clock_us() - task->started_us
                    : task->host     ? task->host->dns_us
                                     : 0,
        .attempt_log = r->options->attempt_log ? attempt_log(task) : (struct span){0},
        .tag = task->tag,
    };

    set_url(&record, &task->first_url);
    if (task->chain_count)
        record.final_url = (struct span){task->url.text, task->url.len};
    return record;
}

/* The log that is told, with the kept answer at its end. */
static struct span log_with_kept(struct results *r, struct span log, unsigned status, uint64_t from_us)
{
    struct record_attempt attempt = {.layer = "cache", .status = status, .took_us = clock_us() - from_us};

    buffer_clear(&r->log);
    buffer_append(&r->log, log.data, log.len);
    record_format_attempt(&r->log, 0, &attempt);
    return (struct span){r->log.data, r->log.len};
}

/* Makes the record of a kept answer in place of `outcome`, if there is one; `log` is what is to be told of the attempts
 * (with that option). */
static bool put_kept(struct results *r, const struct task *task, enum outcome outcome, struct span log)
{
    uint64_t from_us = clock_us();
    struct answer kept;

    if (!answers_find(r->answers, task, r->default_method, &kept))
        return false;
    struct record record = record_of(r, task);
    if (r->options->attempt_log)
        record.attempt_log = log_with_kept(r, log, kept.status, from_us);
    struct record_stale stale = {.members = kept.members, .since_wall_us = kept.since_wall_us, .reason = outcome};
    record_format_stale(records_buffer(r->records), &record, &stale);
    records_added(r->records);
    count(r, task->seq, OUTCOME_OK);
    STATS_ADD(r->page, stale_answers, 1);
    return true;
}

/* After the record. */
static void end_task(struct results *r, struct task *task)
{
    frontier_leave(r->frontier, task);
    task_free(r->tasks, task);
}

void results_fail(struct results *r, struct task *task, enum outcome outcome, const char *detail)
{
    if (answers_stand_in(outcome) && put_kept(r, task, outcome, task_log_text(task))) {
        STATS_ADD(r->page, records, 1);
        STATS_ADD(r->page, outcomes[OUTCOME_OK], 1);
    } else {
        struct record record = record_of(r, task);
        record.outcome = outcome;
        record.detail = detail;
        put(r, &record);
    }
    end_task(r, task);
}

void results_dry(struct results *r, struct task *task)
{
    struct record record = record_of(r, task);

    record.dry_run = true;
    put(r, &record);
    end_task(r, task);
}

void results_pass_over(struct results *r, uint64_t seq)
{
    job_mark_passed(r->job, seq);
}

/* The log in a record line that a worker made: it stands before the tag, which ends the line. */
static struct span log_of_line(const char *line, size_t len, const struct task *task)
{
    static const char key[] = ",\"attempt_log\":[";
    const char *from = memmem(line, len, key, sizeof key - 1);
    size_t tail = strlen("]}\n") + (task->tag.len ? strlen(",\"tag\":") + task->tag.len : 0);

    if (!from || (size_t)(line + len - from) < sizeof key - 1 + tail || line[len - tail] != ']')
        return (struct span){0};
    from += sizeof key - 1;
    return (struct span){from, (size_t)(line + len - tail - from)};
}

/* A worker's record, which is in the buffer already, is told as it is, or a kept answer in its place. */
static void finish(struct results *r, struct task *task, const struct result_message *m)
{
    struct buffer *out = records_buffer(r->records);
    size_t start = out->len - m->len;
    struct span log = {0};

    if (r->answers && m->outcome == OUTCOME_OK)
        answers_keep(r->answers, task, r->default_method, m->status, out->data + start, m->len);
    bool replaced = r->answers && answers_stand_in((enum outcome)m->outcome);
    if (replaced) {
        log = log_of_line(out->data + start, m->len, task);
        buffer_clear(&r->scratch);
        buffer_append(&r->scratch, out->data + start, m->len);
        log.data = log.data ? r->scratch.data + (log.data - (out->data + start)) : NULL;
        out->len = start;
        replaced = put_kept(r, task, (enum outcome)m->outcome, log);
        if (!replaced)
            buffer_append(out, r->scratch.data, m->len);
    }
    if (!replaced) {
        records_added(r->records);
        count(r, task->seq, (enum outcome)m->outcome);
    }
    dispatch_count_answer(r->dispatch, task->host);
    end_task(r, task);
}

static uint64_t at_most(uint64_t wanted_ms, uint64_t max_ms)
{
    return wanted_ms < max_ms ? wanted_ms : max_ms;
}

/* An attempt on another connection goes to another address too, if there is one. */
static void retry(struct results *r, struct task *task, const struct result_message *m, const char *log)
{
    enum retry kind = outcome_row((enum outcome)m->outcome)->retry;

    task_keep_log(task, log, m->len);
    if ((kind == RETRY_OTHER_ADDRESS || kind == RETRY_NEW_CONNECTION) && m->ip != IP_NONE)
        task_avoid(task, m->ip);
    /* What is kept comes before a wait. */
    if (kind == RETRY_AFTER_WAIT && put_kept(r, task, (enum outcome)m->outcome, task_log_text(task))) {
        STATS_ADD(r->page, records, 1);
        STATS_ADD(r->page, outcomes[OUTCOME_OK], 1);
        dispatch_count_answer(r->dispatch, task->host);
        end_task(r, task);
        return;
    }
    frontier_delay(r->frontier, task, (uint32_t)at_most(m->delay_ms, r->options->retry_delay_max));
}

static void redirect(struct results *r, struct task *task, const struct result_message *m, const char *location)
{
    struct url next;
    const char *reason = "";
    const char *newline = memchr(location, '\n', m->len);
    size_t len = newline ? (size_t)(newline - location) : m->len;

    if (newline)
        task_keep_log(task, newline + 1, m->len - len - 1);
    enum outcome outcome = url_parse(location, len, &task->url, &r->scratch, &next, &reason);

    frontier_leave(r->frontier, task);
    if (outcome != OUTCOME_OK) {
        results_fail(r, task, outcome, reason);
        return;
    }
    task_redirect(task, &next, m->status, task->method.data ? task->method : r->default_method);
    frontier_add(r->frontier, task);
}

/* Copies the line first and looks at the copy: a broken worker could change the ring's bytes in between. */
static bool copy_line(struct results *r, const struct result_message *m, const char *bytes)
{
    struct buffer *out = records_buffer(r->records);

    buffer_append(out, bytes, m->len);
    if (result_is_record(out->data + out->len - m->len, m->len, m->seq))
        return true;
    out->len -= m->len;
    return false;
}

/* What became of a task that a worker was given. */
static bool take_result(struct results *r, unsigned worker, const struct result_message *m, const char *bytes)
{
    struct task *task = task_find(r->tasks, m->slot, m->seq);

    if (!task || task->place != TASK_GIVEN || task->worker != worker || !result_fits_task(m, task, bytes))
        return false;
    if (m->kind == RESULT_RECORD && !copy_line(r, m, bytes))
        return false;
    struct host *host = task->host;
    const char *over = r->health ? health_on_end(r->health, task, m) : NULL;
    dispatch_take_back(r->dispatch, task);
    fleet_worker(r->fleet, worker)->deaths_in_row = 0;
    task->attempts = m->attempts;
    task->first_attempt_wall_us = m->first_attempt_wall_us;
    task->started_us = m->started_us;
    r->answered += m->kind != RESULT_HAND_BACK;
    if (m->host_wait_ms)
        frontier_hold_host(r->frontier, host, at_most(m->host_wait_ms, r->options->total_timeout));
    if (m->access != ACCESS_UNKNOWN && r->access) {
        const struct url *url = &task->url;
        struct span path = {url->text + url->path_offset, url->len - url->path_offset};
        access_learn(r->access, host, m->ip, (enum access_state)m->access, m->status, path);
    }
    if (m->kind == RESULT_RECORD) {
        host->refused = false;
        host->answered_by = worker;
        finish(r, task, m);
    } else if (m->kind == RESULT_REDIRECT) {
        redirect(r, task, m, bytes);
    } else if (m->kind == RESULT_RETRY) {
        if (over) {
            task_keep_log(task, bytes, m->len);
            results_fail(r, task, (enum outcome)m->outcome, over);
        } else {
            retry(r, task, m, bytes);
        }
    } else {
        task->stays = true;
        host->refused = true;
        host->refused_by = worker;
        task_keep_log(task, bytes, m->len);
        frontier_put_back(r->frontier, task);
        frontier_block(r->frontier, host);
    }
    return true;
}

/* A worker could change the ring's bytes between a look and the use. */
static const char *copy_bytes(struct results *r, const char *bytes, size_t len)
{
    buffer_clear(&r->message);
    buffer_append(&r->message, bytes, len);
    return len ? r->message.data : "";
}

/* Takes one message; false when it makes no sense. */
static bool take(struct results *r, unsigned worker, const void *data, uint32_t len)
{
    struct result_message m;

    if (len < sizeof m)
        return false;
    memcpy(&m, data, sizeof m);
    const char *bytes = (const char *)data + sizeof m;
    if (!result_is_sound(&m, len, &r->region->layout))
        return false;
    if (m.kind != RESULT_RECORD)
        bytes = copy_bytes(r, bytes, m.len);
    switch ((enum result_kind)m.kind) {
    case RESULT_RECORD:
    case RESULT_REDIRECT:
    case RESULT_RETRY:
    case RESULT_HAND_BACK:
        return take_result(r, worker, &m, bytes);
    case RESULT_CHORE:
    case RESULT_PART:
        return chores_on_message(r->chores, worker, &m, bytes);
    case RESULT_NOTE:
        return !r->access || access_on_note(r->access, &m);
    case RESULT_SESSION:
        return !r->sessions || sessions_on_message(r->sessions, &m, bytes);
    }
    return false;
}

static unsigned drain(struct results *r, unsigned worker)
{
    struct ring *ring = &fleet_worker(r->fleet, worker)->records;
    const void *data;
    uint32_t len;
    unsigned taken = 0;
    enum outcome outcome = OUTCOME_AGAIN;

    /* What one says after it was found out waits for its end. */
    if (fleet_worker(r->fleet, worker)->condemned)
        return 0;
    while (!records_full(r->records) && (outcome = ring_peek(ring, &data, &len)) == OUTCOME_OK) {
        if (!take(r, worker, data, len)) {
            outcome = OUTCOME_CORRUPT;
            break;
        }
        ring_advance(ring);
        taken++;
    }
    if (outcome == OUTCOME_CORRUPT) {
        fleet_kill(r->fleet, worker, "its record ring makes no sense");
        return taken;
    }
    if (taken)
        ring_release(ring);
    return taken;
}

/* A worker that waited for room in its ring is told that there is some. */
static void tell_room(struct results *r, unsigned worker)
{
    struct region_worker *shared = &r->region->header->worker[worker];

    if (atomic_load_explicit(&shared->wants_room, memory_order_relaxed) && atomic_exchange(&shared->wants_room, 0))
        fleet_worker(r->fleet, worker)->to_wake = true;
}

unsigned results_turn(struct results *r)
{
    unsigned taken = 0;

    for (unsigned w = 0; w < fleet_workers(r->fleet); w++) {
        unsigned n = drain(r, w);
        if (n)
            tell_room(r, w);
        taken += n;
    }
    return taken;
}

bool results_waiting(const struct results *r)
{
    if (records_full(r->records))
        return false;
    for (unsigned w = 0; w < fleet_workers(r->fleet); w++) {
        struct fleet_worker *worker = fleet_worker(r->fleet, w);
        if (!worker->condemned && ring_has_message(&worker->records))
            return true;
    }
    return false;
}

/* A task whose worker died goes to another; `taken`: the dead one had taken it out of the ring, and may have sent it.
 */
static void give_again(struct results *r, struct task *task, bool taken)
{
    struct span method = task->method.data ? task->method : r->default_method;

    task->deaths += taken;
    if (taken && !outcome_method_idempotent(method.data, method.len)) {
        results_fail(r, task, OUTCOME_RETRIES_EXHAUSTED,
                     "its worker died, and the request is not one to be sent twice");
    } else if (task->deaths >= DEATHS_MAX) {
        results_fail(r, task, OUTCOME_RETRIES_EXHAUSTED, "the workers that held it died");
    } else {
        STATS_ADD(r->page, requeued, 1);
        frontier_put_back(r->frontier, task);
    }
}

void results_on_death(struct results *r, unsigned worker)
{
    struct fleet_worker *w = fleet_worker(r->fleet, worker);
    struct task *task;
    uint64_t taken_to = ring_taken_to(&w->tasks);
    uint64_t done = r->done;
    const void *data;
    uint32_t len;

    /* All of it, however full the buffer is: the ring is made anew after this. */
    while (ring_peek(&w->records, &data, &len) == OUTCOME_OK && take(r, worker, data, len))
        ring_advance(&w->records);
    STATS_ADD(r->page, worker_deaths, 1);
    while ((task = TAILQ_LAST(&w->given, task_list))) {
        dispatch_take_back(r->dispatch, task);
        give_again(r, task, task->ring_end <= taken_to);
    }
    /* Tasks that were given up may have been the reason. */
    if (r->done != done)
        w->deaths_in_row = 1;
    chores_on_death(r->chores, worker);
}
