/* Emptying the queues without a fleet. */
#include "coordinator/dry_run.h"

#define QUANTUM 32   /* tasks of one host in its turn, as in dispatch */
#define A_TURN  8192 /* tasks at a time */

bool dry_run_turn(struct results *r)
{
    struct host *host;
    unsigned taken = 0;

    while (taken < A_TURN && !records_full(r->records) && (host = frontier_first(r->frontier))) {
        struct task *task;
        for (unsigned n = 0; n < QUANTUM && (task = frontier_take(r->frontier, host)); n++, taken++)
            results_dry(r, task);
        frontier_rotate(r->frontier, host);
    }
    return taken > 0 || (!records_full(r->records) && frontier_first(r->frontier));
}
