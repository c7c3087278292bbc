/* Reading the task ring. */
#include "worker/inbox.h"

#include "common/log.h"
#include "worker/fetch.h"

void inbox_drain(struct worker *w)
{
    const void *message;
    uint32_t len;
    enum outcome outcome = OUTCOME_AGAIN;

    while (TAILQ_EMPTY(&w->unsent) && (outcome = ring_peek(&w->tasks, &message, &len)) == OUTCOME_OK) {
        struct fetch *f = fetch_new(w, message, len);
        if (!f)
            die("internal: a task does not make sense");
        /* Given back before anything is sent: if this process dies, the coordinator knows which tasks it never touched.
         */
        ring_advance(&w->tasks);
        ring_release(&w->tasks);
        fetch_submit(f);
    }
    if (outcome == OUTCOME_CORRUPT)
        die("internal: the task ring does not make sense");
}

bool inbox_waiting(struct worker *w)
{
    return TAILQ_EMPTY(&w->unsent) && ring_has_message(&w->tasks);
}
