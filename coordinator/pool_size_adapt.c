/* The steps of load and the two brakes on change. */
#include "coordinator/pool_size_adapt.h"

static uint64_t step(uint32_t base, uint32_t busy)
{
    uint64_t tenths = (uint64_t)busy * 10;

    if (tenths > (uint64_t)base * 8)
        return (uint64_t)base * 3;
    if (tenths > (uint64_t)base * 5)
        return (uint64_t)base * 2;
    return tenths > (uint64_t)base * 2 ? base : base / 2;
}

uint32_t pool_size_for(uint32_t base, uint32_t max, uint32_t busy)
{
    uint64_t size = step(base, busy);

    if (size > max)
        size = max;
    return size > 0 ? (uint32_t)size : 1;
}

void pool_size_adapt_init(struct pool_size_adapt *a, uint32_t limit)
{
    *a = (struct pool_size_adapt){.limit = limit, .wanted = limit};
}

bool pool_size_adapt_look(struct pool_size_adapt *a, uint32_t base, uint32_t max, uint32_t busy)
{
    uint32_t wanted = pool_size_for(base, max, busy);
    uint32_t apart = wanted > a->limit ? wanted - a->limit : a->limit - wanted;
    bool twice = wanted == a->wanted;

    a->wanted = wanted;
    if (!twice || apart < POOL_SIZE_HYSTERESIS)
        return false;
    a->limit = wanted;
    return true;
}
