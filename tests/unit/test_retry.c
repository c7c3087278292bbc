/* The retry decision: which outcomes, how often, how late, and after what wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "worker/retry.h"

static struct options o;
static uint32_t delay_ms;

static int setup(void **state)
{
    (void)state;
    options_init(&o);
    o.max_retries = 20;
    o.retry_delay = 100;
    o.retry_delay_max = 10000;
    o.total_timeout = 60000;
    delay_ms = UINT32_MAX;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    options_fini(&o);
    return 0;
}

static bool wanted(struct retry_question q)
{
    return retry_wanted(&o, &q, &delay_ms);
}

static void safe_methods_are_idempotent_and_post_is_not(void **state)
{
    static const char *const yes[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"};
    static const char *const no[] = {"POST", "PATCH", "get", "GETS", "GE", "", "M-SEARCH"};

    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(outcome_method_idempotent(yes[i], strlen(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(outcome_method_idempotent(no[i], strlen(no[i])));
}

static void outcome_that_never_changes_is_not_retried(void **state)
{
    (void)state;
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        if (outcome_row((enum outcome)i)->retry == RETRY_NEVER)
            assert_false(
                wanted((struct retry_question){.outcome = (enum outcome)i, .attempts = 1, .idempotent = true}));
    }
}

static void attempts_end_at_the_smaller_of_option_and_row(void **state)
{
    struct retry_question q = {.outcome = OUTCOME_CONNECTION_REFUSED, .attempts = 3, .idempotent = true};

    (void)state;
    assert_true(wanted(q));
    q.attempts = 4;
    assert_false(wanted(q));
    o.max_retries = 2;
    q.attempts = 2;
    assert_true(wanted(q));
    q.attempts = 3;
    assert_false(wanted(q));
    o.max_retries = 0;
    q.attempts = 1;
    assert_false(wanted(q));
}

static void post_is_retried_only_if_it_was_never_sent(void **state)
{
    struct retry_question q = {.outcome = OUTCOME_CONNECTION_CLOSED, .attempts = 1};

    (void)state;
    assert_false(wanted(q));
    q.never_sent = true;
    assert_true(wanted(q));
}

static void wait_doubles_up_to_its_cap(void **state)
{
    (void)state;
    for (uint32_t attempts = 1; attempts <= 3; attempts++) {
        uint32_t most = 0;
        for (int i = 0; i < 300; i++) {
            assert_true(wanted((struct retry_question){
                .outcome = OUTCOME_CONNECTION_CLOSED, .attempts = attempts, .idempotent = true}));
            most = delay_ms > most ? delay_ms : most;
        }
        /* Full jitter: anything up to the step, and now and then near it. */
        assert_in_range(most, 80u << (attempts - 1), 100u << (attempts - 1));
    }
    o.retry_delay = 3000;
    o.retry_delay_max = 4000;
    for (int i = 0; i < 100; i++) {
        assert_true(
            wanted((struct retry_question){.outcome = OUTCOME_RATE_LIMITED, .attempts = 4, .idempotent = true}));
        assert_in_range(delay_ms, 0, 4000);
    }
}

static void zero_delay_is_no_wait(void **state)
{
    (void)state;
    o.retry_delay = 0;
    assert_true(
        wanted((struct retry_question){.outcome = OUTCOME_CONNECTION_CLOSED, .attempts = 3, .idempotent = true}));
    assert_int_equal(delay_ms, 0);
}

static void server_that_asks_for_time_gets_it(void **state)
{
    struct retry_question q = {
        .outcome = OUTCOME_RATE_LIMITED, .attempts = 1, .idempotent = true, .retry_after_ms = 7000};

    (void)state;
    assert_true(wanted(q));
    assert_int_equal(delay_ms, 7000);
    q.retry_after_ms = 10001;
    assert_false(wanted(q));
}

static void retry_that_would_pass_the_total_time_is_not_made(void **state)
{
    struct retry_question q = {.outcome = OUTCOME_RATE_LIMITED,
                               .attempts = 1,
                               .elapsed_us = 3000000,
                               .idempotent = true,
                               .retry_after_ms = 7000};

    (void)state;
    o.total_timeout = 10000;
    assert_true(wanted(q));
    o.total_timeout = 9999;
    assert_false(wanted(q));
}

static void no_failure_after_the_window_is_retried(void **state)
{
    struct retry_question q = {
        .outcome = OUTCOME_CONNECTION_CLOSED, .attempts = 1, .idempotent = true, .elapsed_us = 9000000};

    (void)state;
    assert_true(wanted(q));
    q.elapsed_us = 10000001;
    assert_false(wanted(q));
}

/* common/outcome.h: "no further attempt starts later than this after the first one". The wait counts: 29 s gone and 7 s
 * to wait make 36 s, above the 30 s of RATE_LIMITED. */
static void no_attempt_starts_after_the_window(void **state)
{
    (void)state;
    assert_false(wanted((struct retry_question){.outcome = OUTCOME_RATE_LIMITED,
                                                .attempts = 1,
                                                .elapsed_us = 29000000,
                                                .idempotent = true,
                                                .retry_after_ms = 7000}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(safe_methods_are_idempotent_and_post_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(outcome_that_never_changes_is_not_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(attempts_end_at_the_smaller_of_option_and_row, setup, teardown),
        cmocka_unit_test_setup_teardown(post_is_retried_only_if_it_was_never_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(wait_doubles_up_to_its_cap, setup, teardown),
        cmocka_unit_test_setup_teardown(zero_delay_is_no_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(server_that_asks_for_time_gets_it, setup, teardown),
        cmocka_unit_test_setup_teardown(retry_that_would_pass_the_total_time_is_not_made, setup, teardown),
        cmocka_unit_test_setup_teardown(no_failure_after_the_window_is_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(no_attempt_starts_after_the_window, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
