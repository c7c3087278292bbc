/* The heap of deadlines. */
#include "common/timers.h"

#include <stdlib.h>

#include "common/log.h"

void timers_fini(struct timers *t)
{
    free(t->heap);
    *t = (struct timers){0};
}

void timer_init(struct timer *timer, void (*on_expire)(struct timer *timer, void *user))
{
    *timer = (struct timer){.expires_us = TIMER_NEVER, .on_expire = on_expire};
}

static void put(struct timers *t, size_t i, struct timer *timer)
{
    t->heap[i] = timer;
    timer->place = i + 1;
}

static void sift_up(struct timers *t, size_t i)
{
    struct timer *timer = t->heap[i];

    while (i > 0 && t->heap[(i - 1) / 2]->key_us > timer->key_us) {
        put(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(t, i, timer);
}

static void sift_down(struct timers *t, size_t i)
{
    struct timer *timer = t->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1]->key_us < t->heap[child]->key_us)
            child++;
        if (t->heap[child]->key_us >= timer->key_us)
            break;
        put(t, i, t->heap[child]);
        i = child;
    }
    put(t, i, timer);
}

void timer_set(struct timers *t, struct timer *timer, uint64_t expires_us)
{
    timer->expires_us = expires_us;
    if (timer->place) {
        /* Later than the heap believes: left where it is until the old moment comes. */
        if (expires_us < timer->key_us) {
            timer->key_us = expires_us;
            sift_up(t, timer->place - 1);
        }
        return;
    }
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        struct timer **heap = realloc(t->heap, cap * sizeof(struct timer *));
        if (!heap)
            die("out of memory: no room for %zu timers", cap);
        t->heap = heap;
        t->cap = cap;
    }
    timer->key_us = expires_us;
    t->heap[t->count] = timer;
    sift_up(t, t->count++);
}

void timer_remove(struct timers *t, struct timer *timer)
{
    size_t i = timer->place;

    timer->expires_us = TIMER_NEVER;
    if (!i)
        return;
    timer->place = 0;
    struct timer *last = t->heap[--t->count];
    if (last == timer)
        return;
    put(t, i - 1, last);
    sift_up(t, i - 1);
    sift_down(t, last->place - 1);
}

void timers_run(struct timers *t, uint64_t now_us, void *user)
{
    while (t->count && t->heap[0]->key_us <= now_us) {
        struct timer *timer = t->heap[0];
        if (timer->expires_us == TIMER_NEVER) {
            timer_remove(t, timer);
        } else if (timer->expires_us > now_us) {
            timer->key_us = timer->expires_us;
            sift_down(t, 0);
        } else {
            timer_remove(t, timer);
            timer->on_expire(timer, user);
        }
    }
}
