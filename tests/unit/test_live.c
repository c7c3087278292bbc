/* Live values in shared memory: what is written is read whole, by whoever looks, and nonsense is not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "shm/live.h"

static struct region_live area;
static struct options from, to;
static uint64_t seen;

static int setup(void **state)
{
    (void)state;
    memset(&area, 0, sizeof area);
    options_init(&from);
    options_init(&to);
    seen = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    options_fini(&from);
    options_fini(&to);
    return 0;
}

static void what_was_never_written_is_not_read(void **state)
{
    (void)state;
    assert_false(live_has_moved(&area, seen));
    assert_false(live_read(&area, &seen, &to));
    assert_int_equal(to.max_connections, 100);
}

static void all_live_values_come_over_and_no_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_rows_count; i++) {
        if (option_rows[i].live)
            assert_true(options_set_number(&from, &option_rows[i], (uint64_t)option_rows[i].max));
    }
    from.workers = 60;
    live_write(&area, &from);
    assert_true(live_has_moved(&area, seen));
    assert_true(live_read(&area, &seen, &to));
    for (size_t i = 0; i < option_rows_count; i++) {
        if (option_rows[i].live)
            assert_int_equal(options_number(&to, &option_rows[i]), option_rows[i].max);
    }
    assert_int_equal(to.workers, 4);
    assert_false(live_has_moved(&area, seen));
    live_write(&area, &from);
    assert_true(live_has_moved(&area, seen));
}

static void a_set_that_is_being_written_is_not_read(void **state)
{
    (void)state;
    from.max_retries = 9;
    live_write(&area, &from);
    area.sequence++;
    assert_true(live_has_moved(&area, seen));
    assert_false(live_read(&area, &seen, &to));
    assert_int_equal(to.max_retries, 3);
    assert_int_equal(seen, 0);
    area.sequence++;
    assert_true(live_read(&area, &seen, &to));
    assert_int_equal(to.max_retries, 9);
}

static void one_value_out_of_range_spoils_the_set(void **state)
{
    (void)state;
    from.max_retries = 9;
    live_write(&area, &from);
    for (size_t i = 0; i < option_rows_count; i++) {
        if (strcmp(option_rows[i].name, "idle_timeout") == 0)
            area.value[i] = UINT64_MAX;
    }
    assert_false(live_read(&area, &seen, &to));
    assert_int_equal(to.max_retries, 3);
    /* It is not looked at again until something is written. */
    assert_false(live_has_moved(&area, seen));
    live_write(&area, &from);
    assert_true(live_read(&area, &seen, &to));
    assert_int_equal(to.max_retries, 9);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_never_written_is_not_read),
        CASE(all_live_values_come_over_and_no_others),
        CASE(a_set_that_is_being_written_is_not_read),
        CASE(one_value_out_of_range_spoils_the_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
