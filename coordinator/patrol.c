/* The rounds, and what is looked at in each. */
#include "coordinator/patrol.h"

#include <stdlib.h>

#include "common/log.h"
#include "coordinator/patrol_page.h"

#define ROUND_US     1000000
#define ROWS_MAX     8192 /* of hosts, and of addresses, that one round looks at */
#define STRIKES_MAX  5    /* rounds in a row in which a worker's sums may disagree: it is in the middle of counting */
#define DISAGREE_MAX 2    /* connections that a worker counts at a time */

struct beat {
    struct stats_page page; /* as it was last seen to be sound */
    unsigned strikes;
    uint64_t hosts, ips; /* of this round: the sums of its cells */
};

struct patrol {
    struct region *region;
    struct fleet *fleet;
    const struct options *options;
    uint64_t round_at_us;
    uint32_t connections_max;    /* the highest limit that was in force */
    uint32_t host_hand, ip_hand; /* where the next round goes on, in tables that are too long for one */
    struct beat *beats;          /* by worker */
};

struct patrol *patrol_new(struct region *region, struct fleet *fleet, const struct options *options)
{
    struct patrol *p = calloc(1, sizeof *p);

    if (p)
        p->beats = calloc(region->layout.workers, sizeof *p->beats);
    if (!p || !p->beats)
        die("out of memory: no room for the patrol");
    p->region = region;
    p->fleet = fleet;
    p->options = options;
    patrol_follow_options(p);
    return p;
}

void patrol_free(struct patrol *p)
{
    if (p)
        free(p->beats);
    free(p);
}

void patrol_follow_options(struct patrol *p)
{
    if ((uint32_t)p->options->max_connections > p->connections_max)
        p->connections_max = (uint32_t)p->options->max_connections;
}

/* A lease is claimed before it is known to be above the limit. */
static bool cell_is_sound(const struct patrol *p, uint32_t cell)
{
    return cell <= p->connections_max + 1;
}

/* Rows of one table from *hand on: adds each worker's cells up; false for a worker with one that cannot be. */
static void look_at_rows(struct patrol *p, uint32_t used, uint32_t *hand,
                         uint32_t (*cell_of)(const struct iptable *t, uint32_t row, uint32_t worker), bool of_hosts,
                         bool *mad_out)
{
    uint32_t workers = p->region->layout.workers;
    uint32_t rows = used < ROWS_MAX ? used : ROWS_MAX;

    for (uint32_t n = 0; n < rows; n++) {
        uint32_t row = (*hand + n) % used;
        for (uint32_t w = 0; w < workers; w++) {
            uint32_t cell = cell_of(&p->region->table, row, w);
            *(of_hosts ? &p->beats[w].hosts : &p->beats[w].ips) += cell;
            mad_out[w] = mad_out[w] || !cell_is_sound(p, cell);
        }
    }
    *hand = used ? (*hand + rows) % used : 0;
}

/* Each connection has a host, and an address at most. A worker in the middle of a lease has counted one and not the
 * other; so the sums have to disagree for a while. */
static bool sums_agree(struct patrol *p, unsigned w)
{
    struct beat *b = &p->beats[w];
    const struct iptable *t = &p->region->table;
    uint64_t open = iptable_fleet_cell(t, w);
    bool agree = b->hosts <= open + DISAGREE_MAX && open <= b->hosts + DISAGREE_MAX && b->ips <= open + DISAGREE_MAX;

    /* A part of a table has no sum. */
    if (t->hosts_used > ROWS_MAX || t->ips_used > ROWS_MAX)
        return true;
    b->strikes = agree ? 0 : b->strikes + 1;
    return b->strikes < STRIKES_MAX;
}

/* What makes no sense, or NULL. */
static const char *find_nonsense(struct patrol *p, unsigned w, bool mad_cell)
{
    struct fleet_worker *worker = fleet_worker(p->fleet, w);
    const struct region_worker *words = &p->region->header->worker[w];

    (void)ring_taken_to(&worker->tasks);
    if (ring_is_broken(&worker->tasks))
        return "its position in its task ring makes no sense";
    if (!ring_is_intact(&worker->tasks) || !ring_is_intact(&worker->records))
        return "positions in its rings that are not its own were written over";
    if (atomic_load_explicit(&words->asleep, memory_order_relaxed) > 1 ||
        atomic_load_explicit(&words->wants_room, memory_order_relaxed) > 1)
        return "its words make no sense";
    if (mad_cell || !cell_is_sound(p, iptable_fleet_cell(&p->region->table, w)))
        return "its counts of connections make no sense";
    if (!sums_agree(p, w))
        return "its counts of connections contradict each other";
    if (!patrol_page_check(region_page(p->region, w), &p->beats[w].page))
        return "its statistics make no sense";
    return NULL;
}

static void put_right(_Atomic uint32_t *word, uint32_t value, const char *name)
{
    uint32_t found = atomic_load_explicit(word, memory_order_relaxed);

    if (found == value)
        return;
    atomic_store(word, value);
    log_event(LOG_ERROR, "shared-word-put-right", "word=%s found=%u value=%u reason=\"a worker wrote over it\"", name,
              found, value);
}

/* The coordinator acts on none of these, but workers and readers do. */
static void look_at_own_words(struct patrol *p, bool draining)
{
    struct region_header *h = p->region->header;

    put_right(&h->draining, draining ? REGION_DRAINS : REGION_RUNS, "draining");
    if (atomic_load_explicit(&h->slot_wanted, memory_order_relaxed) > REGION_SLOT_FREED)
        put_right(&h->slot_wanted, REGION_SLOT_FREED, "slot_wanted");
    for (unsigned w = 0; w < p->region->layout.workers; w++)
        put_right(&h->worker[w].pid, (uint32_t)fleet_worker(p->fleet, w)->pid, "pid");
}

static void look_at_workers(struct patrol *p)
{
    const struct iptable *t = &p->region->table;
    bool mad[REGION_WORKERS_MAX] = {false};

    for (unsigned w = 0; w < p->region->layout.workers; w++)
        p->beats[w].hosts = p->beats[w].ips = 0;
    look_at_rows(p, t->hosts_used, &p->host_hand, iptable_host_cell, true, mad);
    look_at_rows(p, t->ips_used, &p->ip_hand, iptable_ip_cell, false, mad);
    for (unsigned w = 0; w < p->region->layout.workers; w++) {
        const struct fleet_worker *worker = fleet_worker(p->fleet, w);
        if (worker->pid == 0 || worker->condemned)
            continue;
        const char *nonsense = find_nonsense(p, w, mad[w]);
        if (nonsense)
            fleet_kill(p->fleet, w, nonsense);
        else if (worker->given_count)
            fleet_nudge(p->fleet, w);
    }
}

uint64_t patrol_turn(struct patrol *p, uint64_t now_us, bool draining)
{
    if (now_us < p->round_at_us)
        return p->round_at_us;
    p->round_at_us = now_us + ROUND_US;
    look_at_own_words(p, draining);
    look_at_workers(p);
    return p->round_at_us;
}

void patrol_on_death(struct patrol *p, unsigned worker, bool draining)
{
    struct beat *b = &p->beats[worker];

    look_at_own_words(p, draining);
    b->strikes = 0;
    if (patrol_page_check(region_page(p->region, worker), &b->page))
        return;
    patrol_page_restore(region_page(p->region, worker), &b->page);
    stats_page_reset_gauges(region_page(p->region, worker));
    log_event(LOG_WARN, "statistics-put-right",
              "worker=%u reason=\"what it counted in its last second does not make sense\"", worker);
}
