/* Which task goes to which worker, and when. */
#include "coordinator/dispatch.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "shm/task.h"

#define QUANTUM        32   /* tasks a host may give in one turn of the line */
#define PACE_SLOT_US   2000 /* about as long as results gather while the coordinator dozes */
#define AHEAD_MAX      1024 /* tasks given ahead of a host's connections */
#define AHEAD_MIN      4  /* however few the workers: more wait for a connection than it serves before the next come */
#define SHARE_PER_SLOT 16 /* tasks for each request at a time that a host may give while others wait */
#define SHARE_MIN      64
#define NO_WORKER      UINT32_MAX
#define CELL_MAX       1000000 /* the upper end of the option max_connections: 64 such cells do not wrap a sum */

struct dispatch {
    struct fleet *fleet;
    struct frontier *frontier;
    struct region *region;
    const struct options *options;
    uint32_t slot;                      /* of time, for paces */
    uint32_t given, wanted;             /* tasks, and connections that they keep busy */
    bool ring_full[REGION_WORKERS_MAX]; /* found so in this run */
    bool any_full;
};

/* What one look at a host found. */
struct prospect {
    uint32_t per_conn;                  /* requests at a time on one connection */
    uint32_t conns_max;                 /* connections to this host */
    uint32_t ahead;                     /* tasks beyond what connections work on */
    uint32_t open;                      /* its connections now, fleet-wide */
    uint32_t spoken_for;                /* and with those that workers with its tasks are about to make */
    bool fleet_full;                    /* no further connection anywhere */
    uint32_t cells[REGION_WORKERS_MAX]; /* its connections now, by worker */
    bool holds[REGION_WORKERS_MAX];     /* has a connection to it, or tasks to make one for */
};

struct dispatch *dispatch_new(struct fleet *fleet, struct frontier *frontier, struct region *region,
                              const struct options *options)
{
    struct dispatch *d = calloc(1, sizeof *d);

    if (!d)
        die("out of memory: no room for dispatch");
    d->fleet = fleet;
    d->frontier = frontier;
    d->region = region;
    d->options = options;
    return d;
}

void dispatch_free(struct dispatch *d)
{
    free(d);
}

void dispatch_begin_turn(struct dispatch *d, uint64_t now_us)
{
    d->slot = (uint32_t)(now_us / PACE_SLOT_US);
}

static void catch_up_pace(const struct dispatch *d, struct host *host)
{
    uint32_t slots = d->slot - host->slot;

    if (slots == 0)
        return;
    /* Rises at once, falls by half a slot: a host that answers fast must never wait for its next tasks. */
    uint32_t fallen = slots < 32 ? host->pace >> slots : 0;
    host->pace = slots == 1 && host->done_in_slot > fallen ? host->done_in_slot : fallen;
    host->done_in_slot = 0;
    host->slot = d->slot;
}

void dispatch_count_answer(struct dispatch *d, struct host *host)
{
    catch_up_pace(d, host);
    host->done_in_slot++;
}

static void look(struct dispatch *d, struct host *host, struct prospect *p)
{
    const struct shm_host *shared = &d->region->table.hosts[host->index];
    uint32_t workers = fleet_workers(d->fleet);

    catch_up_pace(d, host);
    p->per_conn = 1;
    if (atomic_load_explicit(&shared->flags, memory_order_relaxed) & HOST_HTTP2) {
        uint32_t theirs = atomic_load_explicit(&shared->streams_max, memory_order_relaxed);
        p->per_conn = (uint32_t)d->options->max_streams_per_conn;
        if (theirs && theirs < p->per_conn)
            p->per_conn = theirs;
    }
    p->conns_max = (uint32_t)d->options->max_conns_per_host;
    if (p->conns_max > (uint32_t)d->options->max_connections)
        p->conns_max = (uint32_t)d->options->max_connections;
    p->ahead = 2 * host->pace;
    if (p->ahead < AHEAD_MIN)
        p->ahead = AHEAD_MIN;
    if (p->ahead < workers)
        p->ahead = workers;
    if (p->ahead > AHEAD_MAX)
        p->ahead = AHEAD_MAX;
    p->open = 0;
    p->spoken_for = 0;
    for (uint32_t w = 0; w < workers; w++) {
        uint32_t cell = iptable_host_cell(&d->region->table, host->index, w);
        p->open += p->cells[w] = cell < CELL_MAX ? cell : CELL_MAX;
        /* Who hands tasks back makes none. */
        p->holds[w] = p->cells[w] > 0 || (host->given[w] > 0 && !host->refused);
        p->spoken_for += p->cells[w] > 0 ? p->cells[w] : p->holds[w];
    }
    p->fleet_full = iptable_fleet_open(&d->region->table) >= (uint32_t)d->options->max_connections;
}

static uint32_t conns_for(const struct prospect *p, uint32_t tasks)
{
    uint32_t conns = (tasks + p->per_conn - 1) / p->per_conn;

    return conns < p->conns_max ? conns : p->conns_max;
}

static void set_wanted(struct dispatch *d, struct host *host, uint32_t wanted)
{
    d->wanted = d->wanted - host->wanted + wanted;
    host->wanted = wanted;
    if (wanted == 0)
        host->given_in_turn = 0;
}

/* May this worker work for the host at all? One without a connection to it only while one more may be opened: tasks
 * that two workers have for one connection cost two, one after the other. */
static bool eligible(const struct dispatch *d, const struct prospect *p, uint32_t w)
{
    if (fleet_worker(d->fleet, w)->pid == 0 || d->ring_full[w])
        return false;
    if (p->holds[w])
        return true;
    if (p->spoken_for >= p->conns_max)
        return false;
    /* In a full fleet only who holds some connection can close it for a new one. */
    return !p->fleet_full || atomic_load_explicit(&d->region->table.fleet_cells[w], memory_order_relaxed) > 0;
}

/* After a task was handed back, the next worker in turn: who refused it knew no way to make room. */
static uint32_t choose_in_turn(const struct dispatch *d, const struct host *host, const struct prospect *p)
{
    uint32_t workers = fleet_workers(d->fleet);

    for (uint32_t i = 0; i < workers; i++) {
        uint32_t w = (host->refused_by + 1 + i) % workers;
        if (eligible(d, p, w))
            return w;
    }
    return NO_WORKER;
}

/* Whose task number `n` of a round is. A round has as many tasks as the host has connections, and each worker has as
 * many of them as connections, spread evenly: the first one takes its part of the numbers, the others are numbered anew
 * among themselves. */
static uint32_t owner_in_round(const struct dispatch *d, const struct prospect *p, uint32_t n)
{
    uint32_t left = p->open;

    for (uint32_t w = 0; w < fleet_workers(d->fleet) && left; w++) {
        uint64_t before = (uint64_t)n * p->cells[w] / left;
        if ((uint64_t)(n + 1) * p->cells[w] / left > before)
            return w;
        n -= (uint32_t)before;
        left -= p->cells[w];
    }
    return NO_WORKER;
}

/* While connections have nothing to do, all of them are used equally often, whichever worker is the faster. */
static uint32_t choose_in_round(const struct dispatch *d, struct host *host, const struct prospect *p)
{
    if (host->given_count >= p->open)
        return NO_WORKER;
    if (host->round >= p->open)
        host->round = 0;
    uint32_t w = owner_in_round(d, p, host->round);
    if (w == NO_WORKER || host->given[w] >= p->cells[w] || !eligible(d, p, w))
        return NO_WORKER;
    host->round++;
    return w;
}

/* The worker with the most free room on its connections to the host. */
static uint32_t choose_least_loaded(const struct dispatch *d, const struct host *host, const struct prospect *p)
{
    uint32_t best = NO_WORKER;
    int64_t best_load = 0;
    uint32_t best_given = 0;

    for (uint32_t w = 0; w < fleet_workers(d->fleet); w++) {
        const struct fleet_worker *worker = fleet_worker(d->fleet, w);
        if (!eligible(d, p, w))
            continue;
        int64_t load = (int64_t)host->given[w] - (int64_t)p->cells[w] * p->per_conn;
        if (best == NO_WORKER || load < best_load || (load == best_load && worker->given_count < best_given)) {
            best = w;
            best_load = load;
            best_given = worker->given_count;
        }
    }
    return best;
}

static uint32_t choose(const struct dispatch *d, struct host *host, const struct prospect *p)
{
    if (host->refused && p->open == 0)
        return choose_in_turn(d, host, p);
    /* One that has waited in vain behind slow answers goes where answers come. */
    if (TAILQ_FIRST(&host->pending)->stays && p->cells[host->answered_by] && eligible(d, p, host->answered_by))
        return host->answered_by;
    uint32_t w = choose_in_round(d, host, p);
    return w == NO_WORKER ? choose_least_loaded(d, host, p) : w;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
    if (len)
        memcpy(at, data, len);
    return at + len;
}

static void fill_message(struct task_message *m, const struct task *task)
{
    const struct url *url = &task->url;
    bool first = task->chain_count == 0;
    bool same = task->input.data == task->first_url.text;

    *m = (struct task_message){
        .seq = task->seq,
        .slot = task->slot,
        .host = task->host->index,
        .host_generation = task->host->generation,
        .flags = (first ? TASK_URL_IS_FIRST : 0u) | (same ? TASK_INPUT_IS_URL : 0u) |
                 (task->body_dropped ? TASK_NO_BODY : 0u) | (task->crossed ? TASK_CROSSED : 0u) |
                 (task->validate ? TASK_VALIDATE : 0u) | (task->stays ? TASK_STAYS : 0u),
        .first_attempt_wall_us = task->first_attempt_wall_us,
        .started_us = task->started_us,
        .attempts = task->attempts,
        .dns_us = task->host->dns_us,
        .url_len = url->len,
        .first_url_len = first ? 0 : task->first_url.len,
        .input_len = same ? 0 : (uint32_t)task->input.len,
        .method_len = (uint32_t)task->method.len,
        .headers_len = (uint32_t)task->headers.len,
        .body_len = (uint32_t)task->body.len,
        .tag_len = (uint32_t)task->tag.len,
        .log_len = task->log_len,
        .avoid_count = (uint8_t)task->avoid_count,
        .chain_count = (uint16_t)task->chain_count,
        .host_offset = url->host_offset,
        .host_len = url->host_len,
        .path_offset = url->path_offset,
        .path_len = url->path_len,
        .first_path_len = task->first_url.path_len,
        .first_host_offset = task->first_url.host_offset,
        .first_host_len = task->first_url.host_len,
        .first_path_offset = task->first_url.path_offset,
        .first_port = task->first_url.port,
        .port = url->port,
        .scheme = (uint8_t)url->scheme,
        .first_scheme = (uint8_t)task->first_url.scheme,
        .refused_tries = (uint8_t)task->deaths,
        .profile = task->profile,
    };
}

static bool write_task(struct fleet_worker *worker, const struct task *task)
{
    struct task_message m;

    fill_message(&m, task);
    uint32_t avoid_bytes = m.avoid_count * (uint32_t)sizeof(uint32_t);
    uint32_t chain_bytes = m.chain_count * (uint32_t)sizeof(uint16_t);
    uint32_t len = (uint32_t)sizeof m + m.url_len + m.first_url_len + m.input_len + m.method_len + m.headers_len +
                   m.body_len + m.tag_len + m.log_len + avoid_bytes + chain_bytes;
    uint8_t *at = ring_reserve(&worker->tasks, len);
    if (!at)
        return false;
    at = put(at, &m, sizeof m);
    at = put(at, task->avoid, avoid_bytes);
    at = put(at, task->chain, chain_bytes);
    at = put(at, task->url.text, m.url_len);
    at = put(at, task->first_url.text, m.first_url_len);
    at = put(at, task->input.data, m.input_len);
    at = put(at, task->method.data, m.method_len);
    at = put(at, task->headers.data, m.headers_len);
    at = put(at, task->body.data, m.body_len);
    at = put(at, task->tag.data, m.tag_len);
    put(at, task->log, m.log_len);
    ring_commit(&worker->tasks, len);
    return true;
}

static bool give(struct dispatch *d, struct host *host, uint32_t w)
{
    struct fleet_worker *worker = fleet_worker(d->fleet, w);
    struct task *task = TAILQ_FIRST(&host->pending);

    if (!write_task(worker, task)) {
        d->ring_full[w] = d->any_full = true;
        return false;
    }
    frontier_take(d->frontier, host);
    breaker_on_given(&host->breaker, task->seq);
    task->ring_end = worker->tasks.position;
    task->place = TASK_GIVEN;
    task->worker = w;
    TAILQ_INSERT_TAIL(&worker->given, task, link);
    worker->given_count++;
    worker->to_wake = true;
    host->given[w]++;
    host->given_count++;
    host->given_in_turn++;
    d->given++;
    return true;
}

/* A host that had its share steps back while others wait for connections that it keeps busy. */
static bool has_had_its_share(const struct dispatch *d, const struct host *host, const struct prospect *p)
{
    uint32_t share = SHARE_PER_SLOT * host->wanted * p->per_conn;

    return frontier_has_blocked(d->frontier) && host->given_in_turn >= (share > SHARE_MIN ? share : SHARE_MIN);
}

/* May the host give one more, by the plan for connections? *wanted_out: the connections that it then keeps busy. */
static bool fits_plan(const struct dispatch *d, const struct host *host, const struct prospect *p, uint32_t *wanted_out)
{
    uint32_t wanted = conns_for(p, host->given_count + 1);

    *wanted_out = wanted;
    if (d->wanted < (uint32_t)d->options->max_connections)
        return true;
    if (has_had_its_share(d, host, p))
        return false;
    if (wanted <= host->wanted)
        return true;
    *wanted_out = host->wanted;
    return host->wanted > 0 && host->given_count < host->wanted * p->per_conn + p->ahead;
}

/* One host's turn in the line. */
static void give_host(struct dispatch *d, struct host *host)
{
    struct prospect p = {0};
    uint32_t wanted;

    look(d, host, &p);
    for (int n = 0; n < QUANTUM && host->pending_count && d->given < (uint32_t)d->options->concurrency; n++) {
        if (host->given_count >= p.conns_max * p.per_conn + p.ahead || !breaker_lets_pass(&host->breaker)) {
            frontier_park(d->frontier, host);
            return;
        }
        uint32_t w = fits_plan(d, host, &p, &wanted) ? choose(d, host, &p) : NO_WORKER;
        if (w == NO_WORKER) {
            frontier_block(d->frontier, host);
            return;
        }
        if (!give(d, host, w))
            continue;
        set_wanted(d, host, wanted);
        p.spoken_for += !p.holds[w];
        p.holds[w] = true;
    }
    frontier_rotate(d->frontier, host);
}

bool dispatch_run(struct dispatch *d)
{
    struct host *host;

    memset(d->ring_full, 0, sizeof d->ring_full);
    d->any_full = false;
    while (d->given < (uint32_t)d->options->concurrency && (host = frontier_first(d->frontier)))
        give_host(d, host);
    for (uint32_t w = 0; w < fleet_workers(d->fleet); w++) {
        if (fleet_worker(d->fleet, w)->to_wake)
            ring_publish(&fleet_worker(d->fleet, w)->tasks);
    }
    return d->any_full;
}

void dispatch_take_back(struct dispatch *d, struct task *task)
{
    struct fleet_worker *worker = fleet_worker(d->fleet, task->worker);
    struct host *host = task->host;

    TAILQ_REMOVE(&worker->given, task, link);
    task->place = TASK_NOWHERE;
    worker->given_count--;
    host->given[task->worker]--;
    host->given_count--;
    d->given--;
    breaker_on_back(&host->breaker, task->seq);
    if (host->wanted > host->given_count)
        set_wanted(d, host, host->given_count);
    frontier_consider(d->frontier, host);
}

uint32_t dispatch_given(const struct dispatch *d)
{
    return d->given;
}
