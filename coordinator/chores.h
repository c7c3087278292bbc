#pragma once
/* Chores: what the coordinator asks workers for on its own account: checks of blocked addresses, connections made
 * ahead, probes, flushes, lists. A chore goes out over a task ring like a task, and its order is answered exactly once;
 * one whose worker dies ends with OUTCOME_CONNECTION_BROKEN. */

#include <stdbool.h>
#include <stdint.h>

#include "common/url.h"
#include "coordinator/fleet.h"
#include "coordinator/frontier.h"
#include "shm/task.h"

struct chores;

struct chore_answer {
    enum outcome outcome;
    unsigned status; /* HTTP status, 0 none */
    uint32_t ip;     /* address that was dialed, IP_NONE: none */
    uint32_t count;  /* connections closed by a flush, probed by a probe */
    unsigned worker;
};

struct chore_order {
    enum task_kind kind;
    struct host *host;     /* held until the answer; NULL: the chore is the worker's as a whole */
    uint32_t ip;           /* of the shared table, or IP_NONE */
    uint32_t flags;        /* enum task_flag */
    const struct url *url; /* of a TASK_CHECK or TASK_LIST; borrowed for the call */
    /* Bytes of the answer, in order; NULL: none are wanted. */
    void (*on_part)(void *user, const char *bytes, size_t len);
    void (*on_done)(void *user, const struct chore_answer *answer);
    void *user;
};

/* Everything is borrowed. */
struct chores *chores_new(struct fleet *fleet, struct frontier *frontier);
/* Nobody is called any more. */
void chores_free(struct chores *c);
/* Gives the order to `worker`. False: not now (its ring is full, or it does not run), and nobody is called. The answer
 * never comes before this returns. */
bool chores_give(struct chores *c, unsigned worker, const struct chore_order *order);
/* A running worker, each in its turn; fleet_workers() when none runs. */
unsigned chores_pick(struct chores *c);
/* Orders under way. */
uint32_t chores_open(const struct chores *c);

/* From results: a message of kind RESULT_CHORE or RESULT_PART; false when it makes no sense. A dead worker's chores
 * end. */
bool chores_on_message(struct chores *c, unsigned worker, const struct result_message *m, const char *bytes);
void chores_on_death(struct chores *c, unsigned worker);
