#pragma once
/* How large the pool is to be for its load: a decision over plain numbers, made about once a second. */

#include <stdbool.h>
#include <stdint.h>

#define POOL_SIZE_HYSTERESIS 10 /* a change smaller than this is none */

struct pool_size_adapt {
    uint32_t limit;  /* in force */
    uint32_t wanted; /* the last look's answer */
};

/* The size for this load, which is the share of the base that is busy: above 0.8 three times the base, above 0.5 twice,
 * above 0.2 the base, else half of it; within 1 and `max`. Against the limit in force, as one might think, a load that
 * does not change would swing it: what fills 0.9 of it fills 0.3 of the larger one. */
uint32_t pool_size_for(uint32_t base, uint32_t max, uint32_t busy);
/* Begins with a limit that is in force. */
void pool_size_adapt_init(struct pool_size_adapt *a, uint32_t limit);
/* One look: `busy` connections are active or being made. True: a->limit is a new one, by at least POOL_SIZE_HYSTERESIS,
 * which two looks in a row have wanted. */
bool pool_size_adapt_look(struct pool_size_adapt *a, uint32_t base, uint32_t max, uint32_t busy);
