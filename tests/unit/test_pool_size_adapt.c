/* The pool's size by its load: steps, hysteresis, and what it takes to change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/pool_size_adapt.h"

#define NO_MAX 1000000u

static void size_goes_by_steps_of_load(void **state)
{
    static const struct {
        uint32_t busy, size;
    } cases[] = {{0, 50}, {20, 50}, {21, 100}, {50, 100}, {51, 200}, {80, 200}, {81, 300}, {100, 300}, {150, 300}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(pool_size_for(100, NO_MAX, cases[i].busy), cases[i].size);
}

static void size_stays_within_its_bounds(void **state)
{
    (void)state;
    assert_int_equal(pool_size_for(100, 250, 100), 250);
    assert_int_equal(pool_size_for(1, NO_MAX, 0), 1);
    assert_int_equal(pool_size_for(UINT32_MAX, UINT32_MAX, UINT32_MAX), UINT32_MAX);
}

static void one_look_changes_nothing(void **state)
{
    struct pool_size_adapt a;

    (void)state;
    pool_size_adapt_init(&a, 100);
    assert_false(pool_size_adapt_look(&a, 100, NO_MAX, 90));
    assert_false(pool_size_adapt_look(&a, 100, NO_MAX, 40));
    assert_false(pool_size_adapt_look(&a, 100, NO_MAX, 90));
    assert_int_equal(a.limit, 100);
    assert_true(pool_size_adapt_look(&a, 100, NO_MAX, 90));
    assert_int_equal(a.limit, 300);
}

static void load_that_steps_up_and_down_is_followed(void **state)
{
    struct pool_size_adapt a;

    (void)state;
    pool_size_adapt_init(&a, 100);
    for (int i = 0; i < 5; i++)
        pool_size_adapt_look(&a, 100, NO_MAX, 95);
    assert_int_equal(a.limit, 300);
    for (int i = 0; i < 5; i++)
        pool_size_adapt_look(&a, 100, NO_MAX, 60);
    assert_int_equal(a.limit, 200);
    for (int i = 0; i < 5; i++)
        pool_size_adapt_look(&a, 100, NO_MAX, 0);
    assert_int_equal(a.limit, 50);
    for (int i = 0; i < 5; i++)
        pool_size_adapt_look(&a, 100, NO_MAX, 50);
    assert_int_equal(a.limit, 100);
}

/* A full pool of any size comes back to the largest; one with a steady load stays as it is. */
static void steady_load_does_not_swing_the_size(void **state)
{
    struct pool_size_adapt a;

    (void)state;
    for (uint32_t busy = 0; busy <= 300; busy += 5) {
        unsigned changes = 0;
        pool_size_adapt_init(&a, 100);
        for (int i = 0; i < 50; i++)
            changes += pool_size_adapt_look(&a, 100, NO_MAX, busy);
        assert_in_range(changes, 0, 1);
    }
    pool_size_adapt_init(&a, 50);
    for (int i = 0; i < 10; i++)
        pool_size_adapt_look(&a, 100, NO_MAX, a.limit);
    assert_int_equal(a.limit, 300);
}

static void small_changes_are_none(void **state)
{
    struct pool_size_adapt a;

    (void)state;
    pool_size_adapt_init(&a, 6);
    for (int i = 0; i < 5; i++)
        assert_false(pool_size_adapt_look(&a, 5, NO_MAX, 6));
    assert_int_equal(a.limit, 6);
    pool_size_adapt_init(&a, 5);
    assert_false(pool_size_adapt_look(&a, 5, NO_MAX, 5));
    assert_true(pool_size_adapt_look(&a, 5, NO_MAX, 5));
    assert_int_equal(a.limit, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_goes_by_steps_of_load),
        cmocka_unit_test(size_stays_within_its_bounds),
        cmocka_unit_test(one_look_changes_nothing),
        cmocka_unit_test(load_that_steps_up_and_down_is_followed),
        cmocka_unit_test(steady_load_does_not_swing_the_size),
        cmocka_unit_test(small_changes_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
