/* Sets of statuses: what they take, what they refuse, and that any number may be asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>

#include "common/status_set.h"

static struct status_set set;
static const char *wrong, *reason;

static bool parse(const char *first, const char *second)
{
    char *items[] = {(char *)(uintptr_t)first, (char *)(uintptr_t)second};
    struct option_list list = {items, first ? second ? 2 : 1 : 0};

    return status_set_parse(&set, &list, &wrong, &reason);
}

static unsigned count(void)
{
    unsigned n = 0;

    for (unsigned status = 0; status <= 2000; status++)
        n += status_set_has(&set, status);
    return n;
}

static void a_range_holds_both_of_its_ends_and_nothing_else(void **state)
{
    (void)state;
    assert_true(parse("200-399", NULL));
    assert_int_equal(count(), 200);
    assert_false(status_set_has(&set, 199));
    assert_true(status_set_has(&set, 200));
    assert_true(status_set_has(&set, 399));
    assert_false(status_set_has(&set, 400));
}

static void entries_and_commas_add_up(void **state)
{
    (void)state;
    assert_true(parse("204,301-302,304", "999"));
    assert_int_equal(count(), 5);
    assert_true(status_set_has(&set, 204));
    assert_true(status_set_has(&set, 302));
    assert_true(status_set_has(&set, 999));
    assert_true(parse("100-999", "404"));
    assert_int_equal(count(), 900);
}

static void what_is_no_status_is_refused_and_the_set_left_empty(void **state)
{
    static const char *const bad[] = {
        "",     "20",   "2000", "099",         "200-",     "-399",     "200-39",  "200-3999", "300-200", "200,", ",200",
        "200 ", " 200", "2xx",  "200-399-404", "200--399", "200,,404", "200;404", "\xff\xff", "000",     "0x1"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(parse("200", bad[i]));
        assert_ptr_equal(wrong, bad[i]);
        assert_non_null(reason);
        assert_int_equal(count(), 0);
    }
    assert_false(parse(NULL, NULL));
    assert_string_equal(wrong, "");
}

static void any_number_may_be_asked(void **state)
{
    (void)state;
    assert_true(parse("100-999", NULL));
    assert_false(status_set_has(&set, 0));
    assert_false(status_set_has(&set, 99));
    assert_false(status_set_has(&set, 1000));
    assert_false(status_set_has(&set, UINT_MAX));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_holds_both_of_its_ends_and_nothing_else),
        cmocka_unit_test(entries_and_commas_add_up),
        cmocka_unit_test(what_is_no_status_is_refused_and_the_set_left_empty),
        cmocka_unit_test(any_number_may_be_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
