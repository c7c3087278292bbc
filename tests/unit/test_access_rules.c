/* Which of several rules about an address holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "coordinator/access_rules.h"
#include "shm/iptable.h"

static struct access_rules rules;

static void add(const char *host, const char *text, enum access_state state, bool manual)
{
    struct ip_prefix p;

    assert_null(ip_prefix_parse(text, strlen(text), &p));
    access_rules_add(&rules, host, strlen(host), &p, (uint8_t)state, manual);
    access_rules_sort(&rules);
}

/* ACCESS_UNKNOWN: no rule holds. */
static enum access_state held(const char *host, const char *text)
{
    struct address a;

    assert_true(address_parse(text, strlen(text), &a));
    const struct access_rule *rule = access_rules_find(&rules, host, strlen(host), &a);
    return rule ? (enum access_state)rule->state : ACCESS_UNKNOWN;
}

static int clear(void **state)
{
    (void)state;
    access_rules_clear(&rules);
    return 0;
}

static void the_longer_prefix_wins(void **state)
{
    (void)state;
    assert_int_equal(held("a.test", "10.1.1.1"), ACCESS_UNKNOWN);
    add("", "10.0.0.0/8", ACCESS_BLACK, false);
    add("", "10.1.0.0/16", ACCESS_WHITE, false);
    add("", "10.1.1.1", ACCESS_BLACK, false);
    assert_int_equal(held("a.test", "10.2.1.1"), ACCESS_BLACK);
    assert_int_equal(held("a.test", "10.1.2.1"), ACCESS_WHITE);
    assert_int_equal(held("a.test", "10.1.1.1"), ACCESS_BLACK);
    assert_int_equal(held("a.test", "11.1.1.1"), ACCESS_UNKNOWN);
    assert_int_equal(held("a.test", "::1"), ACCESS_UNKNOWN);
}

static void black_wins_at_a_tie_and_a_hand_over_a_list(void **state)
{
    (void)state;
    add("", "10.0.0.0/8", ACCESS_WHITE, false);
    add("", "10.0.0.0/8", ACCESS_BLACK, false);
    assert_int_equal(held("", "10.0.0.1"), ACCESS_BLACK);
    add("", "10.0.0.0/8", ACCESS_WHITE, true);
    assert_int_equal(held("", "10.0.0.1"), ACCESS_WHITE);
}

static void a_rule_for_the_host_goes_first(void **state)
{
    (void)state;
    add("", "10.0.0.1", ACCESS_BLACK, true);
    add("a.test", "10.0.0.0/8", ACCESS_WHITE, true);
    assert_int_equal(held("a.test", "10.0.0.1"), ACCESS_WHITE);
    assert_int_equal(held("b.test", "10.0.0.1"), ACCESS_BLACK);
    assert_int_equal(held("a.tes", "10.0.0.1"), ACCESS_BLACK);
    assert_int_equal(held("b.test", "10.0.0.2"), ACCESS_UNKNOWN);
}

static void both_families_have_a_rule_for_everything(void **state)
{
    (void)state;
    add("", "0.0.0.0/0", ACCESS_BLACK, false);
    add("", "::/0", ACCESS_WHITE, false);
    add("", "2001:db8::/32", ACCESS_BLACK, false);
    assert_int_equal(held("", "203.0.113.9"), ACCESS_BLACK);
    assert_int_equal(held("", "2001:db9::1"), ACCESS_WHITE);
    assert_int_equal(held("", "2001:db8::1"), ACCESS_BLACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_longer_prefix_wins, clear),
        cmocka_unit_test_teardown(black_wins_at_a_tie_and_a_hand_over_a_list, clear),
        cmocka_unit_test_teardown(a_rule_for_the_host_goes_first, clear),
        cmocka_unit_test_teardown(both_families_have_a_rule_for_everything, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
