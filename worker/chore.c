/* Beginning and answering of chores: a table by kind. */
#include "worker/chore.h"

#include "worker/conn_list.h"
#include "worker/outbox.h"
#include "worker/pool.h"
#include "worker/probe.h"

#define PUT_BYTES_MAX 32768u

void chore_end(struct fetch *f, enum outcome outcome, uint32_t count)
{
    f->result.delay_ms = count;
    f->result.host_wait_ms = 0;
    fetch_send_result(f, RESULT_CHORE, outcome, NULL, 0);
}

size_t chore_put_max(const struct fetch *f)
{
    size_t max = RING_MESSAGE_MAX(f->worker->region.layout.record_ring_capacity) - sizeof(struct result_message);

    return max < PUT_BYTES_MAX ? max : PUT_BYTES_MAX;
}

void chore_put(struct fetch *f, const void *bytes, size_t len)
{
    struct fetch *carrier = fetch_take_spare(f->worker);

    carrier->result = (struct result_message){
        .seq = f->m.seq, .slot = f->m.slot, .kind = RESULT_PART, .outcome = OUTCOME_OK, .ip = IP_NONE};
    outbox_put(carrier, bytes, len);
}

/* A connection of its own, to the address asked for. */
static void begin_dial(struct fetch *f)
{
    const char *detail = NULL;

    f->host = pool_host_get(f->worker->pool, f->m.host, f->m.host_generation);
    enum outcome outcome = f->host ? pool_dial_for(f, &detail) : OUTCOME_NOT_FOUND;
    if (outcome != OUTCOME_OK)
        chore_end(f, outcome, 0);
}

static void begin_flush(struct fetch *f)
{
    chore_end(f, OUTCOME_OK, pool_flush(f->worker->pool, f->m.flags & TASK_IDLE_ONLY));
}

static void begin_list(struct fetch *f)
{
    chore_end(f, OUTCOME_OK, conn_list_send(f));
}

static void begin_probe(struct fetch *f)
{
    struct pool_host *host = pool_host_get(f->worker->pool, f->m.host, f->m.host_generation);

    chore_end(f, OUTCOME_OK, host ? probe_begin_all(host) : 0);
}

static void begin_nothing(struct fetch *f)
{
    chore_end(f, OUTCOME_NOT_FOUND, 0);
}

void chore_begin(struct fetch *f)
{
    static void (*const begin[])(struct fetch *) = {
        [TASK_FETCH] = begin_nothing, [TASK_CHECK] = begin_dial,  [TASK_PREWARM] = begin_dial,
        [TASK_PROBE] = begin_probe,   [TASK_FLUSH] = begin_flush, [TASK_LIST] = begin_list,
    };

    begin[f->m.kind](f);
}
