/* Pages as rows of numbers: counters, then gauges, then counters again. */
#include "coordinator/patrol_page.h"

#include <stddef.h>
#include <stdint.h>

#define PLACE(name, help) PLACE_OF_##name,
enum { STATS_COUNTERS(PLACE) COUNTERS };
enum { STATS_GAUGES(PLACE) GAUGES };
#undef PLACE
#define NUMBERS   (sizeof(struct stats_page) / sizeof(uint64_t))
#define LEAP_MAX  (UINT64_C(1) << 50) /* in about a second: a petabyte, or what 10 million requests take together */
#define GAUGE_MAX UINT32_MAX
_Static_assert(sizeof(struct stats_page) % sizeof(uint64_t) == 0, "a page is a row of numbers");
_Static_assert(offsetof(struct stats_page, outcomes) == (COUNTERS + GAUGES) * sizeof(uint64_t),
               "gauges stand behind the first counters");

static bool is_sound(size_t i, uint64_t before, uint64_t now)
{
    bool is_gauge = i >= COUNTERS && i < COUNTERS + GAUGES;

    return is_gauge ? now <= GAUGE_MAX : now - before < LEAP_MAX;
}

bool patrol_page_check(const struct stats_page *page, struct stats_page *seen_io)
{
    const _Atomic uint64_t *numbers = (const void *)page;
    _Atomic uint64_t *seen = (void *)seen_io;
    uint64_t copy[NUMBERS];

    /* Each is read once: it may change until it is used. */
    for (size_t i = 0; i < NUMBERS; i++) {
        copy[i] = atomic_load_explicit(&numbers[i], memory_order_relaxed);
        if (!is_sound(i, atomic_load_explicit(&seen[i], memory_order_relaxed), copy[i]))
            return false;
    }
    for (size_t i = 0; i < NUMBERS; i++)
        atomic_store_explicit(&seen[i], copy[i], memory_order_relaxed);
    return true;
}

void patrol_page_restore(struct stats_page *page, const struct stats_page *seen)
{
    _Atomic uint64_t *numbers = (void *)page;
    const _Atomic uint64_t *from = (const void *)seen;

    for (size_t i = 0; i < NUMBERS; i++)
        atomic_store_explicit(&numbers[i], atomic_load_explicit(&from[i], memory_order_relaxed), memory_order_relaxed);
}
