/* What follows from a test of a connection. */
#include "worker/validate.h"

#include <stdio.h>

#include "worker/conn.h"
#include "worker/pool.h"

#define VALIDATIONS_MAX 3 /* connections tested for one lease */

bool validate_is_due(const struct fetch *f)
{
    return (f->m.flags & TASK_VALIDATE) && !f->validated;
}

bool validate_is_lost(const struct fetch *f)
{
    return validate_is_due(f) && f->validations >= VALIDATIONS_MAX;
}

void validate_begin(struct fetch *f)
{
    f->validating = true;
    f->conn->tests++;
    f->validations++;
    STATS_ADD(f->worker->page, validations, 1);
}

void validate_undo(struct fetch *f)
{
    f->validations--;
}

static void wait_again(struct fetch *f)
{
    f->validating = false;
    f->state = FETCH_WAITING;
    timer_set(&f->worker->timers, &f->timer, f->deadline_us);
}

static void reject(struct fetch *f, struct conn *conn, const char *detail)
{
    STATS_ADD(f->worker->page, validation_failures, 1);
    /* Within a callback of a protocol library it can't be closed: its release comes next, and ends it. */
    conn->unfit = true;
    if (f->validations < VALIDATIONS_MAX) {
        wait_again(f);
        pool_resubmit(f->worker->pool, f);
        return;
    }
    f->validating = false;
    fetch_send_record(f, conn, OUTCOME_VALIDATION_FAILED, detail);
}

void validate_on_answer(struct fetch *f, struct conn *conn)
{
    char detail[64];

    if (status_set_has(&f->worker->healthy, f->status)) {
        wait_again(f);
        f->validated = true;
        pool_resubmit_on(conn, f);
        return;
    }
    snprintf(detail, sizeof detail, "HEAD was answered with %u", f->status);
    reject(f, conn, detail);
}

void validate_on_failure(struct fetch *f, struct conn *conn, enum outcome outcome, const char *detail)
{
    char text[256];
    const char *reason =
        outcome == OUTCOME_REQUEST_TIMEOUT ? "HEAD was not answered within test_timeout" : outcome_row(outcome)->text;

    snprintf(text, sizeof text, "%s%s%s", reason, detail ? ": " : "", detail ? detail : "");
    reject(f, conn, text);
}
