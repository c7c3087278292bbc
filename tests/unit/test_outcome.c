/* The rows of the outcome table keep the promises that records, counters and retries build on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "common/outcome.h"

/* The names that users script against. */
static const char *const record_names[] = {
    "ok",
    "invalid-url",
    "invalid-host",
    "dns-nxdomain",
    "dns-servfail",
    "dns-timeout",
    "connection-refused",
    "connection-timeout",
    "connection-closed",
    "connection-broken",
    "tls-error",
    "tls-timeout",
    "cert-invalid",
    "request-timeout",
    "deadline",
    "acquire-timeout",
    "protocol-error",
    "too-large",
    "ip-blocked",
    "ip-exhausted",
    "validation-failed",
    "rate-limited",
    "robots-denied",
    "address-denied",
    "too-many-redirects",
    "retries-exhausted",
    "resource-exhausted",
};

static void the_names_in_records_are_those_that_were_promised(void **state)
{
    (void)state;
    assert_int_equal(sizeof record_names / sizeof record_names[0], OUTCOME_RECORD_LAST + 1);
    for (unsigned o = 0; o <= OUTCOME_RECORD_LAST; o++)
        assert_string_equal(outcome_name((enum outcome)o), record_names[o]);
}

static void every_row_is_filled(void **state)
{
    (void)state;
    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        const struct outcome_row *row = outcome_row((enum outcome)o);
        assert_non_null(row->name);
        assert_non_null(row->text);
        assert_true(strlen(row->name) > 0 && strlen(row->text) > 0);
        assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(row->name));
        assert_int_not_equal(row->text[strlen(row->text) - 1], '.');
        assert_false(isupper((unsigned char)row->text[0]) && !isupper((unsigned char)row->text[1]));
    }
}

static void no_two_rows_share_a_name(void **state)
{
    (void)state;
    for (unsigned a = 0; a < OUTCOME_COUNT; a++) {
        for (unsigned b = a + 1; b < OUTCOME_COUNT; b++)
            assert_string_not_equal(outcome_name((enum outcome)a), outcome_name((enum outcome)b));
    }
}

static void what_is_never_retried_has_one_try_and_no_window(void **state)
{
    (void)state;
    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        const struct outcome_row *row = outcome_row((enum outcome)o);
        if (row->retry == RETRY_NEVER) {
            assert_int_equal(row->tries_max, 1);
            assert_int_equal(row->window_ms, 0);
        } else {
            assert_true(row->tries_max > 1 && row->window_ms > 0);
        }
    }
}

static void a_number_out_of_range_is_the_row_of_system(void **state)
{
    static const unsigned wrong[] = {OUTCOME_COUNT, OUTCOME_COUNT + 1, 0x7fffffffu, 0x80000000u, 0xffffffffu};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        enum outcome o;
        /* As a number from shared memory would come; no cast that the compiler may reason about. */
        memcpy(&o, &wrong[i], sizeof o);
        assert_ptr_equal(outcome_row(o), outcome_row(OUTCOME_SYSTEM));
        assert_string_equal(outcome_name(o), "system");
    }
}

static void success_blames_nobody(void **state)
{
    (void)state;
    assert_int_equal(OUTCOME_OK, 0);
    assert_int_equal(outcome_row(OUTCOME_OK)->blame, BLAME_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_names_in_records_are_those_that_were_promised),
        cmocka_unit_test(every_row_is_filled),
        cmocka_unit_test(no_two_rows_share_a_name),
        cmocka_unit_test(what_is_never_retried_has_one_try_and_no_window),
        cmocka_unit_test(a_number_out_of_range_is_the_row_of_system),
        cmocka_unit_test(success_blames_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
