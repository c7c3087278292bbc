/* Histograms, and sums over the pages of all processes. */
#include "shm/stats.h"

#define STEP_BITS 4 /* 16 steps an octave */
#define VALUE_MAX UINT32_MAX

unsigned histogram_bucket(uint64_t us)
{
    uint64_t value = us < VALUE_MAX ? us : VALUE_MAX;

    if (value < 1u << STEP_BITS)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - STEP_BITS;
    return (shift << STEP_BITS) + (unsigned)(value >> shift);
}

uint64_t histogram_lower(unsigned bucket)
{
    if (bucket < 2u << STEP_BITS)
        return bucket;
    unsigned shift = (bucket >> STEP_BITS) - 1;
    return (uint64_t)((1u << STEP_BITS) | (bucket & ((1u << STEP_BITS) - 1))) << shift;
}

void histogram_add(struct histogram *h, uint64_t us)
{
    _Atomic uint64_t *bucket = &h->buckets[histogram_bucket(us)];

    atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1, memory_order_relaxed);
}

uint64_t stats_plus(uint64_t a, uint64_t b)
{
    if (a > STATS_SUM_MAX || b > STATS_SUM_MAX - a)
        return STATS_SUM_MAX;
    return a + b;
}

static void add_all(uint64_t *sums, const _Atomic uint64_t *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        sums[i] = stats_plus(sums[i], atomic_load_explicit(&values[i], memory_order_relaxed));
}

void stats_sum_add(struct stats_sum *sum, const struct stats_page *page)
{
#define SUM_FIELD(name, help) sum->name = stats_plus(sum->name, STATS_GET(page, name));
    STATS_COUNTERS(SUM_FIELD)
    STATS_GAUGES(SUM_FIELD)
#undef SUM_FIELD
    add_all(sum->outcomes, page->outcomes, OUTCOME_COUNT);
    add_all(sum->status_classes, page->status_classes, 6);
    add_all(sum->response_time, page->response_time.buckets, HISTOGRAM_BUCKETS);
    add_all(sum->acquire_time, page->acquire_time.buckets, HISTOGRAM_BUCKETS);
}

/* The smallest rank, from 1, that covers the share `q` of `total`. */
static uint64_t rank_of(double q, uint64_t total)
{
    if (!(q > 0))
        return 1;
    if (q >= 1)
        return total;
    double exact = q * (double)total;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact)
        rank++;
    if (rank < 1)
        return 1;
    return rank < total ? rank : total;
}

uint64_t stats_quantile(const uint64_t buckets[HISTOGRAM_BUCKETS], double q)
{
    uint64_t total = 0;
    uint64_t below = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total = stats_plus(total, buckets[i]);
    if (total == 0)
        return 0;
    uint64_t rank = rank_of(q, total);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below = stats_plus(below, buckets[i]);
        if (below >= rank)
            return histogram_lower(i + 1) - 1;
    }
    return VALUE_MAX;
}

void stats_page_reset_gauges(struct stats_page *page)
{
#define RESET_FIELD(name, help) STATS_SET(page, name, 0);
    STATS_GAUGES(RESET_FIELD)
#undef RESET_FIELD
}
