/* Reading the task ring. */
#include "worker/inbox.h"

#include "common/log.h"
#include "worker/fetch.h"

void inbox_drain(struct worker *w)
{
    const void *message;
    uint32_t len;
    bool taken = false;
    enum outcome outcome = OUTCOME_AGAIN;

    while (TAILQ_EMPTY(&w->unsent) && (outcome = ring_peek(&w->tasks, &message, &len)) == OUTCOME_OK) {
        if (!fetch_accept(w, message, len))
            die("internal: a task does not make sense");
        ring_advance(&w->tasks);
        taken = true;
    }
    if (outcome == OUTCOME_CORRUPT)
        die("internal: the task ring does not make sense");
    if (taken)
        ring_release(&w->tasks);
}

bool inbox_waiting(struct worker *w)
{
    return TAILQ_EMPTY(&w->unsent) && ring_has_message(&w->tasks);
}
