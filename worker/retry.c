/* The retry decision. */
#include "worker/retry.h"

#include <stdlib.h>

static uint64_t backoff_ms(const struct options *o, uint32_t attempts)
{
    uint64_t step = o->retry_delay;

    for (uint32_t i = 1; i < attempts && step < o->retry_delay_max; i++)
        step *= 2;
    if (step > o->retry_delay_max)
        step = o->retry_delay_max;
    return step ? (uint64_t)random() % (step + 1) : 0;
}

bool retry_wanted(const struct options *options, const struct retry_question *q, uint32_t *delay_ms_out)
{
    const struct outcome_row *row = outcome_row(q->outcome);

    if (row->retry == RETRY_NEVER || q->attempts > (uint32_t)options->max_retries || q->attempts >= row->tries_max)
        return false;
    /* What was never sent can be sent again whatever the method. */
    if (!q->never_sent && !q->idempotent)
        return false;
    uint64_t delay = backoff_ms(options, q->attempts);
    if (q->retry_after_ms > options->retry_delay_max)
        return false;
    if (delay < q->retry_after_ms)
        delay = q->retry_after_ms;
    if (q->elapsed_us + delay * 1000 > (uint64_t)row->window_ms * 1000 ||
        q->elapsed_us + delay * 1000 > options->total_timeout * 1000)
        return false;
    *delay_ms_out = (uint32_t)delay;
    return true;
}
