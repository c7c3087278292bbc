#pragma once
/* The coordinator's middle, without processes and name servers: region, hosts, frontier, dispatch, tasks, results and
 * records are the real ones; the fleet is a table of workers whose ends of the rings the test holds itself, and the
 * resolver keeps each question until the test answers it. Both stand here in place of fleet.c and resolver.c, which the
 * linker then leaves out. Included once by each test executable. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/clock.h"
#include "coordinator/dispatch.h"
#include "coordinator/fleet.h"
#include "coordinator/frontier.h"
#include "coordinator/records.h"
#include "coordinator/resolver.h"
#include "coordinator/results.h"
#include "shm/task.h"

#define QUESTIONS_MAX 4096

/* --- in place of the fleet --- */
struct fleet {
    unsigned count;
    unsigned kills[REGION_WORKERS_MAX], nudges[REGION_WORKERS_MAX];
    struct fleet_worker workers[REGION_WORKERS_MAX];
};

unsigned fleet_workers(const struct fleet *f)
{
    return f->count;
}

struct fleet_worker *fleet_worker(struct fleet *f, unsigned worker)
{
    assert_in_range(worker, 0, f->count - 1);
    return &f->workers[worker];
}

void fleet_kill(struct fleet *f, unsigned worker, const char *why)
{
    assert_non_null(why);
    f->kills[worker]++;
    f->workers[worker].condemned = true;
}

void fleet_nudge(struct fleet *f, unsigned worker)
{
    f->nudges[worker]++;
}

/* --- in place of the resolver --- */
struct question {
    char name[256];
    resolver_on_answer on_answer;
    void *user;
};

struct resolver {
    struct question questions[QUESTIONS_MAX];
    unsigned count, asked, asked_anew;
};

void resolver_query(struct resolver *r, const char *name, size_t name_len, resolver_on_answer on_answer, void *user)
{
    assert_in_range(r->count, 0, QUESTIONS_MAX - 1);
    assert_in_range(name_len, 1, 255);
    struct question *q = &r->questions[r->count++];
    *q = (struct question){.on_answer = on_answer, .user = user};
    memcpy(q->name, name, name_len);
    r->asked++;
}

void resolver_query_anew(struct resolver *r, const char *name, size_t name_len, resolver_on_answer on_answer,
                         void *user)
{
    resolver_query(r, name, name_len, on_answer, user);
    r->asked_anew++;
}

/* --- the house --- */
struct house_plan {
    uint32_t workers, max_hosts, ips_max, ip_refs_max, ring_capacity, window;
    uint32_t concurrency, max_connections, max_conns_per_host;
};

static const struct house_plan usual_plan = {
    .workers = 2,
    .max_hosts = 16,
    .ips_max = 64,
    .ip_refs_max = 256,
    .ring_capacity = 1u << 16,
    .window = 10000,
    .concurrency = 1000,
    .max_connections = 100,
    .max_conns_per_host = 10,
};

struct house {
    struct options options;
    struct event_base *base;
    struct region region;
    struct resolver resolver;
    struct fleet fleet;
    struct timers timers;
    struct task_table *tasks;
    struct frontier *frontier;
    struct dispatch *dispatch;
    struct chores *chores;
    struct health *health;
    struct records *records;
    struct results results;
    int output_fd;
    struct buffer output;
    struct ring inbox[REGION_WORKERS_MAX], outbox[REGION_WORKERS_MAX]; /* the workers' ends */
    uint64_t seq;
    unsigned failures; /* tasks that the frontier gave up */
    enum outcome last_failure;
};

static inline void house_on_failure(void *user, struct task *task, enum outcome outcome, const char *detail)
{
    struct house *h = user;

    h->failures++;
    h->last_failure = outcome;
    assert_int_equal(task->place, TASK_NOWHERE);
    results_fail(&h->results, task, outcome, detail);
}

static inline void house_on_writable(void *user)
{
    (void)user;
}

/* As after a start: both ends of a worker's rings are new. */
static inline void house_attach(struct house *h, unsigned w)
{
    uint32_t capacity = h->region.layout.task_ring_capacity;
    void *tasks = region_task_ring(&h->region, w);
    void *records = region_record_ring(&h->region, w);

    ring_init(tasks, capacity);
    ring_init(records, capacity);
    ring_attach_producer(&h->fleet.workers[w].tasks, tasks, capacity);
    ring_attach_consumer(&h->fleet.workers[w].records, records, capacity);
    ring_attach_consumer(&h->inbox[w], tasks, capacity);
    ring_attach_producer(&h->outbox[w], records, capacity);
}

static inline void house_open_region(struct house *h, const struct house_plan *plan)
{
    struct region_sizes sizes = {
        .workers = plan->workers,
        .task_ring_capacity = plan->ring_capacity,
        .record_ring_capacity = plan->ring_capacity,
        .hosts_max = plan->max_hosts,
        .ips_max = plan->ips_max,
        .ip_refs_max = plan->ip_refs_max,
    };

    assert_int_equal(region_create(&h->region, &sizes, NULL), OUTCOME_OK);
    h->fleet.count = plan->workers;
    for (unsigned w = 0; w < plan->workers; w++) {
        h->fleet.workers[w].pid = (pid_t)(1000 + w);
        TAILQ_INIT(&h->fleet.workers[w].given);
        house_attach(h, w);
    }
}

static inline struct house *house_new(const struct house_plan *plan)
{
    struct house *h = calloc(1, sizeof *h);
    struct options_error error;
    char path[64];

    assert_non_null(h);
    options_init(&h->options);
    h->options.workers = plan->workers;
    h->options.max_hosts = plan->max_hosts;
    h->options.window = plan->window;
    h->options.concurrency = plan->concurrency;
    h->options.max_connections = plan->max_connections;
    h->options.max_conns_per_host = plan->max_conns_per_host;
    h->base = event_base_new();
    house_open_region(h, plan);
    h->output_fd = memfd_create("records", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", h->output_fd);
    assert_int_equal(records_open(&h->records, h->base, path, false, house_on_writable, h), OUTCOME_OK);
    h->tasks = task_table_new(plan->window);
    h->frontier = frontier_new(&h->region, &h->resolver, &h->options, &h->timers, house_on_failure, h, &error);
    assert_non_null(h->frontier);
    h->dispatch = dispatch_new(&h->fleet, h->frontier, &h->region, &h->options);
    h->results = (struct results){
        .tasks = h->tasks,
        .fleet = &h->fleet,
        .frontier = h->frontier,
        .dispatch = h->dispatch,
        .chores = h->chores = chores_new(&h->fleet, h->frontier),
        .health = h->health = health_new(h->frontier, &h->region, NULL, &h->options),
        .records = h->records,
        .region = &h->region,
        .options = &h->options,
        .page = region_page(&h->region, plan->workers),
        .default_method = {"GET", 3},
    };
    dispatch_begin_turn(h->dispatch, 1000000);
    return h;
}

static inline void house_free(struct house *h)
{
    /* What still waits for an answer gets one, so that nothing is left to the leak checker. */
    while (h->resolver.count > 0) {
        struct question q = h->resolver.questions[--h->resolver.count];
        q.on_answer(q.user, &(struct resolver_answer){.outcome = OUTCOME_DNS_TIMEOUT, .expires_wall_us = UINT64_MAX});
    }
    dispatch_free(h->dispatch);
    chores_free(h->chores);
    health_free(h->health);
    frontier_free(h->frontier);
    task_table_free(h->tasks);
    buffer_fini(&h->results.scratch);
    buffer_fini(&h->results.message);
    records_close(h->records);
    timers_fini(&h->timers);
    region_close(&h->region);
    event_base_free(h->base);
    close(h->output_fd);
    buffer_fini(&h->output);
    options_fini(&h->options);
    free(h);
}

static inline int setup(void **state)
{
    *state = house_new(&usual_plan);
    return 0;
}

static inline int teardown(void **state)
{
    house_free(*state);
    return 0;
}

/* A house of another plan in place of the usual one. */
static inline struct house *rebuild(void **state, const struct house_plan *plan)
{
    house_free(*state);
    *state = house_new(plan);
    return *state;
}

/* --- tasks --- */
static inline struct task *make_task_with(struct house *h, const char *url_text, struct input_line line)
{
    struct buffer text = {0};
    const char *reason = "";
    struct url url;

    if (url_parse(url_text, strlen(url_text), NULL, &text, &url, &reason) != OUTCOME_OK)
        fail_msg("%s: %s", url_text, reason);
    struct task *task = task_new(h->tasks, ++h->seq, url_text, strlen(url_text), &line, &url);
    buffer_fini(&text);
    return task;
}

static inline struct task *make_task(struct house *h, const char *url)
{
    return make_task_with(h, url, (struct input_line){.url = url, .url_len = strlen(url)});
}

/* With addresses given by hand. */
static inline struct task *make_task_at(struct house *h, const char *url, const char *ip)
{
    return make_task_with(h, url, (struct input_line){.ip = ip, .ip_len = strlen(ip)});
}

/* Takes a task in at an address of its own; nothing need be asked. The pointer is good until the task has its record.
 */
static inline struct task *add_at(struct house *h, const char *url, const char *ip)
{
    struct task *task = make_task_at(h, url, ip);

    assert_non_null(task);
    frontier_add(h->frontier, task);
    return task;
}

static inline struct task *add(struct house *h, const char *url)
{
    struct task *task = make_task(h, url);

    assert_non_null(task);
    frontier_add(h->frontier, task);
    return task;
}

/* --- the resolver's answers --- */
static inline void answer_all(struct house *h, const struct resolver_answer *answer)
{
    static struct question questions[QUESTIONS_MAX];
    unsigned count = h->resolver.count;

    memcpy(questions, h->resolver.questions, count * sizeof questions[0]);
    h->resolver.count = 0;
    for (unsigned i = 0; i < count; i++)
        questions[i].on_answer(questions[i].user, answer);
}

/* Every open question is answered with 192.0.2.`first` and so on, good for an hour. */
static inline void answer_ok(struct house *h, uint32_t count, uint8_t first)
{
    struct address list[64];

    for (uint32_t i = 0; i < count; i++)
        list[i] = (struct address){.family = 4, .bytes = {192, 0, 2, (uint8_t)(first + i)}};
    answer_all(h, &(struct resolver_answer){.outcome = OUTCOME_OK,
                                            .addresses = list,
                                            .count = count,
                                            .took_us = 1500,
                                            .expires_wall_us = clock_wall_us() + 3600000000u});
}

static inline void answer_failure(struct house *h, enum outcome outcome)
{
    answer_all(h, &(struct resolver_answer){.outcome = outcome, .expires_wall_us = clock_wall_us() + 30000000u});
}

/* --- the workers' side --- */
/* Takes the next task that worker `w` was sent; false when there is none. */
static inline bool pop_task(struct house *h, unsigned w, struct task_message *message_out)
{
    const void *data;
    uint32_t len;
    enum outcome outcome = ring_peek(&h->inbox[w], &data, &len);

    *message_out = (struct task_message){0};
    if (outcome == OUTCOME_AGAIN)
        return false;
    assert_int_equal(outcome, OUTCOME_OK);
    assert_true(len >= sizeof *message_out);
    memcpy(message_out, data, sizeof *message_out);
    ring_advance(&h->inbox[w]);
    ring_release(&h->inbox[w]);
    return true;
}

static inline void send_bytes(struct house *h, unsigned w, const void *head, size_t head_len, const char *payload,
                              size_t len)
{
    char *at = ring_reserve(&h->outbox[w], (uint32_t)(head_len + len));

    assert_non_null(at);
    memcpy(at, head, head_len);
    if (len)
        memcpy(at + head_len, payload, len);
    ring_commit(&h->outbox[w], (uint32_t)(head_len + len));
    ring_publish(&h->outbox[w]);
}

static inline struct result_message result_of(const struct task_message *m, enum result_kind kind)
{
    return (struct result_message){
        .seq = m->seq,
        .slot = m->slot,
        .kind = kind,
        .outcome = kind == RESULT_RETRY ? OUTCOME_RATE_LIMITED : OUTCOME_OK,
        .attempts = m->attempts + (kind != RESULT_HAND_BACK),
        .first_attempt_wall_us = m->first_attempt_wall_us ? m->first_attempt_wall_us : 1000000,
        .started_us = m->started_us ? m->started_us : clock_us(),
    };
}

static inline void send_result(struct house *h, unsigned w, struct result_message r, const char *payload)
{
    r.len = (uint32_t)strlen(payload);
    send_bytes(h, w, &r, sizeof r, payload, r.len);
}

/* Answers a task with a record that has nothing but its number. */
static inline void send_record(struct house *h, unsigned w, const struct task_message *m)
{
    char line[64];

    snprintf(line, sizeof line, "{\"seq\":%llu}\n", (unsigned long long)m->seq);
    send_result(h, w, result_of(m, RESULT_RECORD), line);
}

/* Gives out what can be given; returns how many tasks are with workers. */
static inline uint32_t deal(struct house *h)
{
    dispatch_run(h->dispatch);
    return dispatch_given(h->dispatch);
}

/* --- what came out --- */
/* All lines written so far, NUL-terminated. */
static inline const char *output(struct house *h)
{
    char chunk[4096];
    off_t at = 0;
    ssize_t n;

    assert_int_equal(records_flush(h->records), OUTCOME_OK);
    buffer_clear(&h->output);
    while ((n = pread(h->output_fd, chunk, sizeof chunk, at)) > 0) {
        buffer_append(&h->output, chunk, (size_t)n);
        at += n;
    }
    buffer_append_char(&h->output, '\0');
    return h->output.data;
}

/* How many records there are of the line `seq`. */
static inline unsigned records_of(struct house *h, uint64_t seq)
{
    char key[40];
    unsigned count = 0;

    snprintf(key, sizeof key, "{\"seq\":%llu", (unsigned long long)seq);
    for (const char *at = output(h); (at = strstr(at, key)); at++)
        count += at[strlen(key)] == ',' || at[strlen(key)] == '}';
    return count;
}

static inline void assert_output_has(struct house *h, const char *part)
{
    if (!strstr(output(h), part))
        fail_msg("no %s in %s", part, h->output.data);
}

/* What holds of a host at all times between calls. */
static inline void assert_host(const struct host *host)
{
    uint32_t given = 0;

    for (unsigned w = 0; w < REGION_WORKERS_MAX; w++)
        given += host->given[w];
    assert_int_equal(given, host->given_count);
    assert_true(host->held_count >= host->pending_count + host->given_count);
    assert_true(host->wanted <= host->given_count);
    assert_int_equal(TAILQ_EMPTY(&host->pending), host->pending_count == 0);
    if (host->list == HOST_READY)
        assert_true(host->pending_count > 0 && host->state == HOST_USABLE && host->not_before_us == 0);
    /* Without tasks it is among the idle ones, and only there. */
    assert_int_equal(host->list == HOST_IDLE, host->held_count == 0);
}

static inline void assert_all_gone(struct house *h)
{
    assert_int_equal(task_count(h->tasks), 0);
    assert_int_equal(task_bytes(h->tasks), 0);
    assert_int_equal(dispatch_given(h->dispatch), 0);
    assert_int_equal(frontier_queued(h->frontier), 0);
    for (unsigned w = 0; w < h->fleet.count; w++) {
        assert_int_equal(h->fleet.workers[w].given_count, 0);
        assert_true(TAILQ_EMPTY(&h->fleet.workers[w].given));
    }
}

/* The house after the worker's end, as the fleet does it. */
static inline void die_and_start_again(struct house *h, unsigned w)
{
    h->fleet.workers[w].pid = 0;
    iptable_reclaim(&h->region.table, w);
    results_on_death(&h->results, w);
    house_attach(h, w);
    h->fleet.workers[w].condemned = false;
    h->fleet.workers[w].pid = (pid_t)(1000 + w);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
