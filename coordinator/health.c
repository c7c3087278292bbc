/* Circuits, second looks at addresses, their records in the map, and the sweep over the map. */
#include "coordinator/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "shm/store_health.h"
#include "shm/store_sweep.h"

#define ORIGIN_BYTES    1024
#define SWEEP_LOOKS     1000 /* records of the map in one turn of the loop */
#define SWEEP_PAUSE_US  2000 /* between two such turns */
#define LOG_WINDOW_US   10000000
#define LOGS_PER_WINDOW 20

struct health {
    struct frontier *frontier;
    struct region *region;
    struct store *store;
    const struct options *options;
    struct stats_page *page;
    uint64_t swept_at_us;
    bool sweeping;
    uint64_t log_window_us;  /* when it began */
    unsigned logs, unlogged; /* in it; left out since the last one */
    char detail[96];
};

static struct breaker_rules rules_of(const struct health *h)
{
    return (struct breaker_rules){
        .failures_max = (uint32_t)h->options->breaker_failures,
        .delay_us = h->options->breaker_delay * 1000,
    };
}

/* The host's key in the map; 0 when it is too long for one. */
static size_t name_origin(const struct host *host, char out[ORIGIN_BYTES])
{
    int n =
        snprintf(out, ORIGIN_BYTES, "%s://%.*s:%u%s%.*s", host->scheme == URL_HTTPS ? "https" : "http", host->name_len,
                 host->name, host->port, host->ip_len ? "@" : "", (int)host->ip_len, host->ip_len ? host->ip : "");

    return n > 0 && n < ORIGIN_BYTES ? (size_t)n : 0;
}

static uint64_t to_wall(uint64_t monotonic_us)
{
    uint64_t now_us = clock_us();

    return monotonic_us > now_us ? clock_wall_us() + (monotonic_us - now_us) : clock_wall_us();
}

static void keep(struct health *h, const struct host *host)
{
    static const enum store_circuit circuits[] = {
        [BREAKER_CLOSED] = STORE_CIRCUIT_CLOSED,
        [BREAKER_OPEN] = STORE_CIRCUIT_OPEN,
        [BREAKER_HALF_OPEN] = STORE_CIRCUIT_HALF_OPEN,
    };
    char origin[ORIGIN_BYTES];
    const struct breaker *b = &host->breaker;

    if (!h->store)
        return;
    store_health_put(h->store, origin, name_origin(host, origin),
                     &(struct store_health){
                         .circuit = circuits[b->state],
                         .failures = b->failures,
                         .delay_times = b->delay_times,
                         .trial_wall_us = b->state == BREAKER_CLOSED ? 0 : to_wall(b->trial_at_us),
                         .probed_wall_us = host->probed_wall_us,
                         .written_wall_us = clock_wall_us(),
                     });
}

static void tell(struct health *h, const char *event, const struct host *host)
{
    uint64_t now_us = clock_us();

    if (now_us - h->log_window_us > LOG_WINDOW_US) {
        h->log_window_us = now_us;
        h->logs = 0;
    }
    if (++h->logs > LOGS_PER_WINDOW) {
        h->unlogged++;
        return;
    }
    log_event(LOG_INFO, event, "host=%.*s port=%u failures=%u delay_ms=%llu unlogged=%u", host->name_len, host->name,
              host->port, host->breaker.failures,
              (unsigned long long)host->breaker.delay_times * h->options->breaker_delay, h->unlogged);
    h->unlogged = 0;
}

/* The frontier holds the host until the trial. A longer hold, which the server asked for, stays what it is. */
static void hold(struct health *h, struct host *host)
{
    uint64_t now_us = clock_us();
    uint64_t held_until_us = host->not_before_us;
    uint64_t left_us = host->breaker.trial_at_us > now_us ? host->breaker.trial_at_us - now_us : 0;

    frontier_hold_host(h->frontier, host, left_us / 1000 + 1);
    if (host->not_before_us != held_until_us)
        host->breaker.trial_at_us = host->not_before_us;
}

static void on_open(struct health *h, struct host *host, bool again)
{
    if (!again)
        STATS_ADD(h->page, circuits_open, 1);
    STATS_ADD(h->page, circuit_opens, 1);
    hold(h, host);
    tell(h, "circuit-open", host);
    keep(h, host);
}

static void on_close(struct health *h, struct host *host, uint64_t held_until_us)
{
    STATS_ADD(h->page, circuits_open, -1);
    STATS_ADD(h->page, circuit_closes, 1);
    frontier_end_hold(h->frontier, host, held_until_us);
    tell(h, "circuit-closed", host);
    keep(h, host);
}

static void try_host(struct health *h, struct host *host)
{
    if (!breaker_try(&host->breaker, clock_us())) {
        if (host->breaker.state == BREAKER_OPEN)
            hold(h, host);
        return;
    }
    tell(h, "circuit-half-open", host);
    keep(h, host);
}

static void on_hold_over(void *user, struct host *host)
{
    if (host->breaker.state == BREAKER_OPEN)
        try_host(user, host);
}

/* What the map says is bounded by what could be true: it may be old, or written by another hand. */
static void on_new_host(void *user, struct host *host)
{
    struct health *h = user;
    char origin[ORIGIN_BYTES];
    struct store_health known;
    struct breaker_rules rules = rules_of(h);
    uint64_t now_wall_us = clock_wall_us();

    if (!h->store || store_health_get(h->store, origin, name_origin(host, origin), &known) != OUTCOME_OK)
        return;
    host->probed_wall_us = known.probed_wall_us < now_wall_us ? known.probed_wall_us : 0;
    if (rules.failures_max == 0)
        return;
    host->breaker.failures = known.failures;
    if (known.circuit == STORE_CIRCUIT_CLOSED)
        return;
    uint64_t left_us = known.trial_wall_us > now_wall_us ? known.trial_wall_us - now_wall_us : 0;
    uint64_t left_max_us = BREAKER_DELAY_TIMES_MAX * rules.delay_us;
    host->breaker.state = BREAKER_OPEN;
    host->breaker.delay_times = known.delay_times < 1                         ? 1
                                : known.delay_times > BREAKER_DELAY_TIMES_MAX ? BREAKER_DELAY_TIMES_MAX
                                                                              : known.delay_times;
    host->breaker.trial_at_us = clock_us() + (left_us < left_max_us ? left_us : left_max_us);
    STATS_ADD(h->page, circuits_open, 1);
    try_host(h, host);
}

/* Forgotten by the table; the map still knows. */
static void on_forget(void *user, struct host *host)
{
    struct health *h = user;

    if (host->breaker.state != BREAKER_CLOSED)
        STATS_ADD(h->page, circuits_open, -1);
}

struct health *health_new(struct frontier *frontier, struct region *region, struct store *store,
                          const struct options *options)
{
    struct health *h = calloc(1, sizeof *h);

    if (!h)
        die("out of memory: no room for the health of hosts");
    h->frontier = frontier;
    h->region = region;
    h->store = store;
    h->options = options;
    h->page = region_page(region, region->layout.workers);
    h->swept_at_us = clock_us();
    frontier_set_keeper(frontier, &(struct frontier_keeper){
                                      .user = h,
                                      .on_new = on_new_host,
                                      .on_hold_over = on_hold_over,
                                      .on_forget = on_forget,
                                  });
    return h;
}

void health_free(struct health *h)
{
    free(h);
}

/* D4: nothing of it answers; its name may have moved. More failures in a row than it may have connections: none of
 * these can be a good one either. */
static void look_at_addresses(struct health *h, struct host *host, enum outcome outcome)
{
    uint64_t now_us = clock_us();

    if (outcome_row(outcome)->blame != BLAME_ADDRESS ||
        (iptable_host_open(&h->region->table, host->index) > 0 &&
         host->breaker.failures <= (uint32_t)h->options->max_conns_per_host))
        return;
    if (host->asked_again_us && now_us - host->asked_again_us < h->options->dns_ttl_min * 1000)
        return;
    if (!frontier_ask_again(h->frontier, host))
        return;
    host->asked_again_us = now_us;
    STATS_ADD(h->page, dns_second_looks, 1);
}

const char *health_on_end(struct health *h, const struct task *task, const struct result_message *m)
{
    struct host *host = task->host;
    enum outcome outcome = (enum outcome)m->outcome;

    /* What nearly all are: an answer of a host that has answered before. */
    if (m->kind == RESULT_HAND_BACK ||
        (outcome == OUTCOME_OK && host->breaker.state == BREAKER_CLOSED && host->breaker.failures == 0))
        return NULL;
    struct breaker_rules rules = rules_of(h);
    enum breaker_verdict verdict = breaker_judge(outcome, m->status);
    uint64_t held_until_us = host->breaker.trial_at_us;
    enum breaker_move move = breaker_take(&host->breaker, &rules, verdict, task->seq, clock_us());
    if (verdict == BREAKER_FAILURE)
        look_at_addresses(h, host, outcome);
    switch (move) {
    case BREAKER_STAYS:
        return NULL;
    case BREAKER_CLOSES:
        on_close(h, host, held_until_us);
        return NULL;
    case BREAKER_OPENS:
        on_open(h, host, false);
        return NULL;
    case BREAKER_REOPENS:
        break;
    }
    on_open(h, host, true);
    snprintf(h->detail, sizeof h->detail, "the host's circuit is open: %u attempts in a row failed",
             host->breaker.failures);
    frontier_end_queue(h->frontier, host, outcome, h->detail);
    return h->detail;
}

void health_note_probe(struct health *h, struct host *host)
{
    host->probed_wall_us = clock_wall_us();
    keep(h, host);
}

/* The map is walked in small steps: the loop must not stand still for it. */
static uint64_t sweep_map(struct health *h, uint64_t now_us)
{
    uint64_t interval_us = h->options->cleanup_interval * 1000;

    if (!h->sweeping && now_us < h->swept_at_us + interval_us)
        return h->swept_at_us + interval_us;
    h->sweeping = store_sweep(h->store, clock_wall_us(), SWEEP_LOOKS);
    if (h->sweeping)
        return now_us + SWEEP_PAUSE_US;
    h->swept_at_us = now_us;
    STATS_ADD(h->page, sweeps, 1);
    return now_us + interval_us;
}

uint64_t health_turn(struct health *h, uint64_t now_us)
{
    return h->store ? sweep_map(h, now_us) : UINT64_MAX;
}
