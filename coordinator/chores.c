/* The table of chores under way, and their messages. */
#include "coordinator/chores.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/results_check.h"

#define CHORES_MAX 4096 /* under way at a time; all together are far smaller than a task ring */

struct chore {
    struct chore_order order; /* without its url */
    uint64_t seq;             /* 0: the place is free */
    unsigned worker;
};

struct chores {
    struct fleet *fleet;
    struct frontier *frontier;
    struct chore table[CHORES_MAX];
    uint32_t free_places[CHORES_MAX]; /* stack */
    uint32_t free_count;
    uint64_t given; /* ever */
    unsigned turn;  /* of chores_pick() */
};

struct chores *chores_new(struct fleet *fleet, struct frontier *frontier)
{
    struct chores *c = calloc(1, sizeof *c);

    if (!c)
        die("out of memory: no room for the table of chores");
    c->fleet = fleet;
    c->frontier = frontier;
    c->free_count = CHORES_MAX;
    for (uint32_t i = 0; i < CHORES_MAX; i++)
        c->free_places[i] = CHORES_MAX - 1 - i;
    return c;
}

void chores_free(struct chores *c)
{
    free(c);
}

uint32_t chores_open(const struct chores *c)
{
    return CHORES_MAX - c->free_count;
}

unsigned chores_pick(struct chores *c)
{
    unsigned workers = fleet_workers(c->fleet);

    for (unsigned i = 0; i < workers; i++) {
        unsigned w = c->turn++ % workers;
        if (fleet_worker(c->fleet, w)->pid != 0)
            return w;
    }
    return workers;
}

static void fill_message(struct task_message *m, const struct chore_order *order)
{
    const struct url *url = order->url;

    *m = (struct task_message){
        .host = order->host ? order->host->index : UINT32_MAX,
        .host_generation = order->host ? order->host->generation : 0,
        .flags = order->flags | TASK_URL_IS_FIRST | TASK_INPUT_IS_URL | TASK_NO_BODY,
        .ip = order->ip,
        .kind = (uint8_t)order->kind,
    };
    if (!url)
        return;
    m->url_len = url->len;
    m->host_offset = url->host_offset;
    m->host_len = url->host_len;
    m->path_offset = url->path_offset;
    m->path_len = url->path_len;
    m->port = url->port;
    m->scheme = (uint8_t)url->scheme;
}

static bool write_message(struct fleet_worker *worker, const struct task_message *m, const struct url *url)
{
    uint32_t len = (uint32_t)sizeof *m + m->url_len;
    uint8_t *at = ring_reserve(&worker->tasks, len);

    if (!at)
        return false;
    memcpy(at, m, sizeof *m);
    if (m->url_len)
        memcpy(at + sizeof *m, url->text, m->url_len);
    ring_commit(&worker->tasks, len);
    /* At once: dispatch does not run while the fleet drains. */
    ring_publish(&worker->tasks);
    worker->to_wake = true;
    return true;
}

bool chores_give(struct chores *c, unsigned worker, const struct chore_order *order)
{
    struct task_message m;

    if (c->free_count == 0 || worker >= fleet_workers(c->fleet) || fleet_worker(c->fleet, worker)->pid == 0)
        return false;
    uint32_t slot = c->free_places[c->free_count - 1];
    fill_message(&m, order);
    m.slot = slot;
    m.seq = CHORE_SEQ | (c->given + 1);
    if (!write_message(fleet_worker(c->fleet, worker), &m, order->url))
        return false;
    c->given++;
    c->free_count--;
    c->table[slot] = (struct chore){.order = *order, .seq = m.seq, .worker = worker};
    c->table[slot].order.url = NULL;
    if (order->host)
        frontier_hold(c->frontier, order->host);
    return true;
}

/* The place is free before the order's owner is told: it may give the next order at once. */
static void end(struct chores *c, uint32_t slot, const struct chore_answer *answer)
{
    struct chore_order order = c->table[slot].order;

    c->table[slot].seq = 0;
    c->free_places[c->free_count++] = slot;
    if (order.on_done)
        order.on_done(order.user, answer);
    if (order.host)
        frontier_let_go(c->frontier, order.host);
}

bool chores_on_message(struct chores *c, unsigned worker, const struct result_message *m, const char *bytes)
{
    struct chore *chore = m->slot < CHORES_MAX ? &c->table[m->slot] : NULL;

    if (!chore || !chore->seq || chore->seq != m->seq || chore->worker != worker)
        return false;
    if (m->kind == RESULT_PART) {
        if (!result_is_lines(bytes, m->len))
            return false;
        if (chore->order.on_part)
            chore->order.on_part(chore->order.user, bytes, m->len);
        return true;
    }
    struct chore_answer answer = {
        .outcome = (enum outcome)m->outcome,
        .status = m->status,
        .ip = m->ip,
        .count = m->delay_ms,
        .worker = worker,
    };
    end(c, m->slot, &answer);
    return true;
}

void chores_on_death(struct chores *c, unsigned worker)
{
    struct chore_answer answer = {.outcome = OUTCOME_CONNECTION_BROKEN, .ip = IP_NONE, .worker = worker};

    for (uint32_t slot = 0; slot < CHORES_MAX; slot++) {
        if (c->table[slot].seq && c->table[slot].worker == worker)
            end(c, slot, &answer);
    }
}
