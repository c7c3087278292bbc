#pragma once
/* Deadlines of one process: a binary heap whose members are embedded in their owners. Made for deadlines that are moved
 * far more often than they are reached: moving one later, or stopping it, is a single store; the heap is put right only
 * when the old moment comes. No allocation but the heap's array. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMER_NEVER UINT64_MAX

struct timer {
    uint64_t expires_us; /* monotonic; TIMER_NEVER: stopped */
    uint64_t key_us;     /* what the heap is ordered by; never later than expires_us while in the heap */
    size_t place;        /* 1-based index in the heap, 0: not in it */
    void (*on_expire)(struct timer *timer, void *user);
};

struct timers {
    struct timer **heap;
    size_t count, cap;
};

void timers_fini(struct timers *t);
/* Prepares a timer, stopped. */
void timer_init(struct timer *timer, void (*on_expire)(struct timer *timer, void *user));
/* (Re)arms at `expires_us`. */
void timer_set(struct timers *t, struct timer *timer, uint64_t expires_us);
/* Stops it; it may stay in the heap: call timer_remove() before its memory goes. */
static inline void timer_stop(struct timer *timer)
{
    timer->expires_us = TIMER_NEVER;
}
void timer_remove(struct timers *t, struct timer *timer);
/* Calls on_expire of all that are due at `now_us`, each stopped first; it may be armed again in the callback, later
 * than `now_us`. */
void timers_run(struct timers *t, uint64_t now_us, void *user);
/* When timers_run() is worth calling next, or TIMER_NEVER; may be earlier than the first deadline. */
static inline uint64_t timers_next(const struct timers *t)
{
    return t->count ? t->heap[0]->key_us : TIMER_NEVER;
}
