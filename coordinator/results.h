#pragma once
/* Results: takes what workers send back, one message for each task given out, and makes of it a record, a redirect, a
 * retry or another try elsewhere. Also ends tasks that never got to a worker. Nothing in a message is trusted. */

#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"
#include "coordinator/access.h"
#include "coordinator/answers.h"
#include "coordinator/chores.h"
#include "coordinator/dispatch.h"
#include "coordinator/fleet.h"
#include "coordinator/frontier.h"
#include "coordinator/health.h"
#include "coordinator/job.h"
#include "coordinator/records.h"
#include "coordinator/sessions.h"
#include "coordinator/task.h"

struct results {
    struct task_table *tasks;
    struct fleet *fleet;
    struct frontier *frontier;
    struct dispatch *dispatch;
    struct records *records;
    struct job *job; /* NULL: the run is none */
    struct chores *chores;
    struct sessions *sessions; /* NULL: what workers tell of them is not kept */
    struct access *access;     /* NULL: what answers say of addresses is not kept */
    struct health *health;     /* NULL: nobody judges */
    struct region *region;
    const struct options *options;
    struct stats_page *page;
    struct span default_method;
    struct answers *answers; /* NULL: none are kept */
    uint64_t done, failed;   /* records made */
    uint64_t answered;       /* results that ended work in a worker: all but tasks handed back */
    uint64_t outcomes[OUTCOME_COUNT];
    struct buffer scratch; /* a redirect's next URL */
    struct buffer log;     /* of a record whose answer is a kept one */
    struct buffer message; /* a copy of what a worker's message says, if it is no record */
};

/* Reads all rings as far as the record buffer allows; returns the number of messages taken. */
unsigned results_turn(struct results *r);
/* Drains what a dead worker committed, then gives its other tasks out again. */
void results_on_death(struct results *r, unsigned worker);
/* Makes the record of a task that ends here, and frees it. */
void results_fail(struct results *r, struct task *task, enum outcome outcome, const char *detail);
/* Makes the record of a line that never became a task. `url`: NULL when it did not parse. */
void results_refuse(struct results *r, uint64_t seq, struct span input, bool input_truncated, struct span tag,
                    const struct url *url, enum outcome outcome, const char *detail);
/* Makes the record of a task that a dry run would have fetched, and frees it. */
void results_dry(struct results *r, struct task *task);
/* The line is done without a record. */
void results_pass_over(struct results *r, uint64_t seq);
/* A message waits in some ring. */
bool results_waiting(const struct results *r);
