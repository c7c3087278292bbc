/* Writing results into the record ring. */
#include "worker/outbox.h"

#include <string.h>
#include <unistd.h>

static bool send_message(struct worker *w, struct result_message *m, const void *payload, size_t len)
{
    m->len = (uint32_t)len;
    uint8_t *at = ring_reserve(&w->records, (uint32_t)(sizeof *m + len));
    if (!at)
        return false;
    memcpy(at, m, sizeof *m);
    if (len)
        memcpy(at + sizeof *m, payload, len);
    ring_commit(&w->records, (uint32_t)(sizeof *m + len));
    w->committed = true;
    return true;
}

static bool try_send(struct fetch *f, const void *payload, size_t len)
{
    return send_message(f->worker, &f->result, payload, len);
}

static void spare(struct fetch *f)
{
    struct worker *w = f->worker;

    f->state = FETCH_SPARE;
    TAILQ_INSERT_HEAD(&w->spare, f, link);
}

void outbox_put(struct fetch *f, const void *payload, size_t len)
{
    struct worker *w = f->worker;

    if (TAILQ_EMPTY(&w->unsent) && try_send(f, payload, len)) {
        spare(f);
        return;
    }
    buffer_clear(&f->payload);
    buffer_append(&f->payload, payload, len);
    f->state = FETCH_UNSENT;
    TAILQ_INSERT_TAIL(&w->unsent, f, link);
}

bool outbox_offer(struct worker *w, struct result_message *m, const void *payload, size_t len)
{
    return TAILQ_EMPTY(&w->unsent) && 2 * ring_room(&w->records) >= w->region.layout.record_ring_capacity &&
           send_message(w, m, payload, len);
}

bool outbox_retry(struct worker *w)
{
    struct fetch *f;

    while ((f = TAILQ_FIRST(&w->unsent))) {
        if (!try_send(f, f->payload.data, f->payload.len)) {
            /* Said before looking once more: room made in between is then not missed. */
            atomic_store(&w->shared->wants_room, 1);
            if (!try_send(f, f->payload.data, f->payload.len))
                return false;
        }
        TAILQ_REMOVE(&w->unsent, f, link);
        spare(f);
    }
    atomic_store_explicit(&w->shared->wants_room, 0, memory_order_relaxed);
    return true;
}

void outbox_wake_coordinator(struct worker *w, enum region_sleep at_least)
{
    _Atomic uint32_t *asleep = &w->region.header->coordinator_asleep;

    if (atomic_load(asleep) >= (uint32_t)at_least && atomic_exchange(asleep, REGION_AWAKE) != REGION_AWAKE) {
        uint64_t one = 1;
        ssize_t n = write(w->coordinator_fd, &one, sizeof one);
        (void)n;
    }
}

void outbox_publish(struct worker *w, bool starving)
{
    if (!w->committed)
        return;
    w->committed = false;
    ring_publish(&w->records);
    atomic_thread_fence(memory_order_seq_cst);
    outbox_wake_coordinator(w, starving || !TAILQ_EMPTY(&w->unsent) ? REGION_DOZING : REGION_ASLEEP);
}
