/* Buckets and quantiles of the histogram, sums of pages, and what a death resets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "shm/stats.h"

static void every_value_lies_in_its_bucket(void **state)
{
    (void)state;
    for (uint64_t v = 0; v < 100000; v++) {
        unsigned b = histogram_bucket(v);
        assert_true(histogram_lower(b) <= v && v < histogram_lower(b + 1));
    }
    for (uint64_t v = 100000; v <= UINT32_MAX; v += v / 997) {
        unsigned b = histogram_bucket(v);
        assert_true(b < HISTOGRAM_BUCKETS);
        assert_true(histogram_lower(b) <= v && v < histogram_lower(b + 1));
    }
}

static void bucket_of_a_lower_bound_is_that_bucket(void **state)
{
    (void)state;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
        assert_int_equal(histogram_bucket(histogram_lower(b)), b);
}

static void buckets_are_narrower_than_a_sixteenth(void **state)
{
    (void)state;
    for (unsigned b = 16; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t lower = histogram_lower(b);
        uint64_t upper = histogram_lower(b + 1) - 1;
        assert_true((upper - lower) * 16 < lower);
    }
}

static void octaves_have_sixteen_steps(void **state)
{
    (void)state;
    for (unsigned b = 16; b + 16 < HISTOGRAM_BUCKETS; b++)
        assert_int_equal(histogram_lower(b + 16), 2 * histogram_lower(b));
}

static void largest_values_share_the_last_bucket(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(UINT32_MAX), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket((uint64_t)UINT32_MAX + 1), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    /* 69 minutes still have a bucket of their own. */
    assert_true(histogram_bucket(69ull * 60 * 1000000) < HISTOGRAM_BUCKETS - 1);
}

/* A histogram of the values 1 .. n. */
static void fill(struct histogram *h, uint64_t n)
{
    memset(h, 0, sizeof *h);
    for (uint64_t v = 1; v <= n; v++)
        histogram_add(h, v);
}

static uint64_t quantile(const struct histogram *h, double q)
{
    uint64_t plain[HISTOGRAM_BUCKETS];

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        plain[i] = atomic_load(&h->buckets[i]);
    return stats_quantile(plain, q);
}

static void quantile_of_nothing_is_zero(void **state)
{
    struct histogram h;

    (void)state;
    fill(&h, 0);
    assert_int_equal(quantile(&h, 0.5), 0);
    assert_int_equal(quantile(&h, 1.0), 0);
}

static void quantiles_of_small_values_are_exact(void **state)
{
    struct histogram h;

    (void)state;
    fill(&h, 10);
    assert_int_equal(quantile(&h, 0.0), 1);
    assert_int_equal(quantile(&h, 0.1), 1);
    assert_int_equal(quantile(&h, 0.11), 2);
    assert_int_equal(quantile(&h, 0.5), 5);
    assert_int_equal(quantile(&h, 0.9), 9);
    assert_int_equal(quantile(&h, 1.0), 10);
}

static void quantiles_are_within_a_sixteenth(void **state)
{
    struct histogram h;

    (void)state;
    fill(&h, 100000);
    for (unsigned percent = 1; percent <= 100; percent++) {
        uint64_t true_value = percent * UINT64_C(1000);
        uint64_t got = quantile(&h, percent / 100.0);
        assert_true(got >= true_value - true_value / 16 && got <= true_value + true_value / 16 + 1);
    }
}

static void share_out_of_range_is_clamped(void **state)
{
    struct histogram h;

    (void)state;
    fill(&h, 10);
    assert_int_equal(quantile(&h, -1.0), 1);
    assert_int_equal(quantile(&h, 7.0), 10);
    assert_int_equal(quantile(&h, __builtin_nan("")), 1);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(quantile(&h, 1.0), UINT32_MAX);
}

static void sum_adds_every_number_of_two_pages(void **state)
{
    static struct stats_page a, b;
    static struct stats_sum sum;
    uint64_t next = 1;

    (void)state;
#define SET_FIELD(name, help)  \
    STATS_ADD(&a, name, next); \
    STATS_ADD(&b, name, 1000); \
    next++;
    STATS_COUNTERS(SET_FIELD)
    STATS_GAUGES(SET_FIELD)
#undef SET_FIELD
    for (unsigned i = 0; i < OUTCOME_COUNT; i++)
        STATS_ADD(&a, outcomes[i], i + 1);
    for (unsigned i = 0; i < 6; i++)
        STATS_ADD(&b, status_classes[i], i + 1);
    histogram_add(&a.response_time, 77);
    histogram_add(&b.response_time, 77);
    histogram_add(&b.acquire_time, UINT64_MAX);
    stats_sum_add(&sum, &a);
    stats_sum_add(&sum, &b);
    next = 1;
#define CHECK_FIELD(name, help)              \
    assert_int_equal(sum.name, next + 1000); \
    next++;
    STATS_COUNTERS(CHECK_FIELD)
    STATS_GAUGES(CHECK_FIELD)
#undef CHECK_FIELD
    for (unsigned i = 0; i < OUTCOME_COUNT; i++)
        assert_int_equal(sum.outcomes[i], i + 1);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(sum.status_classes[i], i + 1);
    assert_int_equal(sum.response_time[histogram_bucket(77)], 2);
    assert_int_equal(sum.acquire_time[HISTOGRAM_BUCKETS - 1], 1);
}

static void sums_of_wild_numbers_do_not_wrap(void **state)
{
    struct stats_page page;
    struct stats_sum sum = {0};

    (void)state;
    memset(&page, 0xff, sizeof page);
    stats_sum_add(&sum, &page);
    stats_sum_add(&sum, &page);
    assert_true(sum.requests == STATS_SUM_MAX);
    assert_true(sum.conns_idle == STATS_SUM_MAX);
    assert_true(sum.outcomes[0] == STATS_SUM_MAX);
    assert_in_range(stats_quantile(sum.response_time, 0.5), 0, UINT32_MAX);
    assert_true(stats_plus(STATS_SUM_MAX - 1, 1) == STATS_SUM_MAX);
    assert_true(stats_plus(1, STATS_SUM_MAX) == STATS_SUM_MAX);
    assert_int_equal(stats_plus(1, 2), 3);
}

static void death_resets_gauges_and_keeps_counters(void **state)
{
    static struct stats_page page;

    (void)state;
#define SET_FIELD(name, help) STATS_SET(&page, name, 9);
    STATS_COUNTERS(SET_FIELD)
    STATS_GAUGES(SET_FIELD)
#undef SET_FIELD
    STATS_SET(&page, outcomes[OUTCOME_OK], 9);
    histogram_add(&page.response_time, 3);
    stats_page_reset_gauges(&page);
#define CHECK_COUNTER(name, help) assert_int_equal(STATS_GET(&page, name), 9);
    STATS_COUNTERS(CHECK_COUNTER)
#undef CHECK_COUNTER
#define CHECK_GAUGE(name, help) assert_int_equal(STATS_GET(&page, name), 0);
    STATS_GAUGES(CHECK_GAUGE)
#undef CHECK_GAUGE
    assert_int_equal(STATS_GET(&page, outcomes[OUTCOME_OK]), 9);
    assert_int_equal(atomic_load(&page.response_time.buckets[3]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_lies_in_its_bucket),
        cmocka_unit_test(bucket_of_a_lower_bound_is_that_bucket),
        cmocka_unit_test(buckets_are_narrower_than_a_sixteenth),
        cmocka_unit_test(octaves_have_sixteen_steps),
        cmocka_unit_test(largest_values_share_the_last_bucket),
        cmocka_unit_test(quantile_of_nothing_is_zero),
        cmocka_unit_test(quantiles_of_small_values_are_exact),
        cmocka_unit_test(quantiles_are_within_a_sixteenth),
        cmocka_unit_test(share_out_of_range_is_clamped),
        cmocka_unit_test(sum_adds_every_number_of_two_pages),
        cmocka_unit_test(sums_of_wild_numbers_do_not_wrap),
        cmocka_unit_test(death_resets_gauges_and_keeps_counters),
    };

    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
