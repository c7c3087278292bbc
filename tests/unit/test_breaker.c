/* The circuit of a host: what opens it, what goes out as a trial, what closes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/breaker.h"

#define DELAY_US 10000000u

static const struct breaker_rules rules = {.failures_max = 3, .delay_us = DELAY_US};

static enum breaker_move fails(struct breaker *b, uint64_t seq, uint64_t now_us)
{
    return breaker_take(b, &rules, BREAKER_FAILURE, seq, now_us);
}

/* Half open at the returned moment, `times` failed trials after it was opened. */
static uint64_t half_open(struct breaker *b, unsigned times)
{
    uint64_t now_us = 1;

    *b = (struct breaker){0};
    for (uint64_t seq = 1; seq <= 3; seq++)
        fails(b, seq, now_us);
    for (;; times--) {
        now_us = b->trial_at_us;
        assert_true(breaker_try(b, now_us));
        if (times == 0)
            return now_us;
        breaker_on_given(b, 100);
        assert_int_equal(fails(b, 100, now_us), BREAKER_REOPENS);
    }
}

static void failures_in_a_row_open_it(void **state)
{
    struct breaker b = {0};

    (void)state;
    assert_int_equal(fails(&b, 1, 5), BREAKER_STAYS);
    assert_int_equal(fails(&b, 2, 5), BREAKER_STAYS);
    assert_true(breaker_lets_pass(&b));
    assert_int_equal(fails(&b, 3, 5), BREAKER_OPENS);
    assert_false(breaker_lets_pass(&b));
    assert_int_equal(b.trial_at_us, 5 + DELAY_US);
    assert_int_equal(fails(&b, 4, 6), BREAKER_STAYS);
}

static void answer_in_between_starts_the_count_anew(void **state)
{
    struct breaker b = {0};

    (void)state;
    for (int i = 0; i < 10; i++) {
        fails(&b, 1, 5);
        fails(&b, 2, 5);
        assert_int_equal(breaker_take(&b, &rules, BREAKER_ANSWER, 3, 5), BREAKER_STAYS);
    }
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_int_equal(b.failures, 0);
}

static void what_says_nothing_changes_nothing(void **state)
{
    struct breaker b = {0};

    (void)state;
    fails(&b, 1, 5);
    fails(&b, 2, 5);
    assert_int_equal(breaker_take(&b, &rules, BREAKER_NOTHING, 3, 5), BREAKER_STAYS);
    assert_int_equal(fails(&b, 4, 5), BREAKER_OPENS);
}

static void no_number_of_failures_opens_one_that_is_switched_off(void **state)
{
    const struct breaker_rules off = {.failures_max = 0, .delay_us = 1};
    struct breaker b = {0};

    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(breaker_take(&b, &off, BREAKER_FAILURE, i, i), BREAKER_STAYS);
    assert_true(breaker_lets_pass(&b));
}

static void exactly_one_task_is_the_trial(void **state)
{
    struct breaker b = {0};

    (void)state;
    for (uint64_t seq = 1; seq <= 3; seq++)
        fails(&b, seq, 5);
    assert_false(breaker_try(&b, 5 + DELAY_US - 1));
    assert_true(breaker_try(&b, 5 + DELAY_US));
    assert_false(breaker_try(&b, 5 + DELAY_US));
    assert_true(breaker_lets_pass(&b));
    breaker_on_given(&b, 9);
    assert_false(breaker_lets_pass(&b));
    /* Handed back, or lost with its worker: the next one goes. */
    breaker_on_back(&b, 8);
    assert_false(breaker_lets_pass(&b));
    breaker_on_back(&b, 9);
    assert_true(breaker_lets_pass(&b));
}

static void answered_trial_closes_it(void **state)
{
    struct breaker b;

    (void)state;
    half_open(&b, 2);
    breaker_on_given(&b, 9);
    assert_int_equal(breaker_take(&b, &rules, BREAKER_ANSWER, 9, 50), BREAKER_CLOSES);
    assert_true(breaker_lets_pass(&b));
    assert_int_equal(b.failures, 0);
    fails(&b, 1, 60);
    fails(&b, 2, 60);
    assert_int_equal(fails(&b, 3, 60), BREAKER_OPENS);
    assert_int_equal(b.trial_at_us, 60 + DELAY_US);
}

static void failed_trial_doubles_the_delay_up_to_ten_times(void **state)
{
    static const uint32_t times[] = {1, 2, 4, 8, 10, 10, 10};
    struct breaker b;

    (void)state;
    for (unsigned failed = 1; failed < sizeof times / sizeof times[0]; failed++) {
        uint64_t now_us = half_open(&b, failed - 1);
        breaker_on_given(&b, 7);
        assert_int_equal(fails(&b, 7, now_us), BREAKER_REOPENS);
        assert_int_equal(b.trial_at_us - now_us, times[failed] * (uint64_t)DELAY_US);
    }
}

static void what_was_sent_before_is_no_trial(void **state)
{
    struct breaker b;

    (void)state;
    uint64_t now_us = half_open(&b, 0);
    assert_int_equal(fails(&b, 3, now_us), BREAKER_STAYS);
    breaker_on_given(&b, 9);
    assert_int_equal(fails(&b, 3, now_us), BREAKER_STAYS);
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    assert_int_equal(fails(&b, 9, now_us), BREAKER_REOPENS);
}

static void late_answer_closes_an_open_one(void **state)
{
    struct breaker b = {0};

    (void)state;
    for (uint64_t seq = 1; seq <= 3; seq++)
        fails(&b, seq, 5);
    assert_int_equal(breaker_take(&b, &rules, BREAKER_ANSWER, 0, 6), BREAKER_CLOSES);
    assert_true(breaker_lets_pass(&b));
}

static void verdicts(void **state)
{
    static const struct {
        enum outcome outcome;
        unsigned status;
        enum breaker_verdict verdict;
    } cases[] = {
        {OUTCOME_OK, 200, BREAKER_ANSWER},
        {OUTCOME_OK, 500, BREAKER_ANSWER},
        {OUTCOME_RATE_LIMITED, 503, BREAKER_ANSWER},
        {OUTCOME_TOO_LARGE, 200, BREAKER_ANSWER},
        {OUTCOME_IP_BLOCKED, 403, BREAKER_ANSWER},
        {OUTCOME_CONNECTION_REFUSED, 0, BREAKER_FAILURE},
        {OUTCOME_CONNECTION_TIMEOUT, 0, BREAKER_FAILURE},
        {OUTCOME_CONNECTION_CLOSED, 0, BREAKER_FAILURE},
        {OUTCOME_CONNECTION_BROKEN, 200, BREAKER_FAILURE},
        {OUTCOME_REQUEST_TIMEOUT, 0, BREAKER_FAILURE},
        {OUTCOME_TLS_ERROR, 0, BREAKER_FAILURE},
        {OUTCOME_TLS_TIMEOUT, 0, BREAKER_FAILURE},
        {OUTCOME_CERT_INVALID, 0, BREAKER_NOTHING},
        {OUTCOME_ADDRESS_DENIED, 0, BREAKER_NOTHING},
        {OUTCOME_IP_EXHAUSTED, 0, BREAKER_NOTHING},
        {OUTCOME_ACQUIRE_TIMEOUT, 0, BREAKER_NOTHING},
        {OUTCOME_DEADLINE, 0, BREAKER_NOTHING},
        {OUTCOME_RESOURCE_EXHAUSTED, 0, BREAKER_NOTHING},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (breaker_judge(cases[i].outcome, cases[i].status) != cases[i].verdict)
            fail_msg("%s with status %u", outcome_name(cases[i].outcome), cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_it),
        cmocka_unit_test(answer_in_between_starts_the_count_anew),
        cmocka_unit_test(what_says_nothing_changes_nothing),
        cmocka_unit_test(no_number_of_failures_opens_one_that_is_switched_off),
        cmocka_unit_test(exactly_one_task_is_the_trial),
        cmocka_unit_test(answered_trial_closes_it),
        cmocka_unit_test(failed_trial_doubles_the_delay_up_to_ten_times),
        cmocka_unit_test(what_was_sent_before_is_no_trial),
        cmocka_unit_test(late_answer_closes_an_open_one),
        cmocka_unit_test(verdicts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
