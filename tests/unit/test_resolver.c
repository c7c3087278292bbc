/* The resolver against a scripted name server on loopback, on the same loop: what each kind of answer, silence and
 * nonsense becomes, what is asked how often, and what is kept. The first label of a name tells the server how to
 * behave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/resolver.h"
#include "tests/unit/resolver_house.h"

static void both_families_are_answered_ipv4_first(void **state)
{
    struct house *h = *state;
    struct told t = ask(h, "a.example");

    assert_int_equal(t.outcome, OUTCOME_OK);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.first.family, 4);
    assert_int_equal(t.last.family, 6);
    assert_memory_equal(t.first.bytes, ((uint8_t[16]){10, 0, 0, 1}), 16);
    assert_int_equal(t.last.bytes[15], 1);
    assert_seconds(t.lives_us, 60);
    assert_int_not_equal(t.took_us, 0);
    assert_int_equal(h->server->udp_queries, 2);
    assert_int_equal(STATS_GET(&h->page, dns_queries), 1);
    assert_int_equal(STATS_GET(&h->page, dns_failures), 0);
}

static void one_family_is_asked_for_with_4_or_6(void **state)
{
    struct house *h = *state;

    h->options.ipv4 = true;
    restart(h);
    struct told t = ask(h, "a.example");
    assert_int_equal(t.count, 1);
    assert_int_equal(t.first.family, 4);
    assert_int_equal(h->server->aaaa_queries, 0);
    h->options.ipv4 = false;
    h->options.ipv6 = true;
    restart(h);
    assert_int_equal(ask(h, "v4only.example").outcome, OUTCOME_DNS_NXDOMAIN);
    t = ask(h, "a.example");
    assert_int_equal(t.count, 1);
    assert_int_equal(t.first.family, 6);
    assert_int_equal(h->server->a_queries, 1);
    h->options.ipv6 = false;
    restart(h);
    assert_int_equal(ask(h, "a.example").count, 2); /* not the half that is in the map */
    assert_int_equal(ask(h, "v4only.example").count, 1);
}

static void failures_have_outcomes_of_their_own(void **state)
{
    struct house *h = *state;
    static const struct {
        const char *name;
        enum outcome outcome;
    } cases[] = {
        {"nx.example", OUTCOME_DNS_NXDOMAIN},         {"nodata.example", OUTCOME_DNS_NXDOMAIN},
        {"loop.example", OUTCOME_DNS_NXDOMAIN},       {"fail.example", OUTCOME_DNS_SERVFAIL},
        {"refused.example", OUTCOME_DNS_SERVFAIL},    {"notimp.example", OUTCOME_DNS_SERVFAIL},
        {"garbage.example", OUTCOME_DNS_SERVFAIL},    {"silent.example", OUTCOME_DNS_TIMEOUT},
        {"wrongid.example", OUTCOME_DNS_TIMEOUT},     {"otherquestion.example", OUTCOME_DNS_TIMEOUT},
        {"nodatafail.example", OUTCOME_DNS_SERVFAIL}, {"nodataslow.example", OUTCOME_DNS_TIMEOUT},
        {"failslow.example", OUTCOME_DNS_SERVFAIL},
    };
    enum { COUNT = sizeof cases / sizeof cases[0] };
    struct told told[COUNT];

    h->options.dns_timeout = 400;
    restart(h);
    for (size_t i = 0; i < COUNT; i++) {
        told[i] = ask(h, cases[i].name);
        if (told[i].outcome != cases[i].outcome)
            fail_msg("%s is %s, not %s", cases[i].name, outcome_name(told[i].outcome), outcome_name(cases[i].outcome));
        assert_seconds(told[i].lives_us, 30);
    }
    assert_int_equal(STATS_GET(&h->page, dns_failures), COUNT);
}

static void silence_ends_at_dns_timeout(void **state)
{
    struct house *h = *state;

    h->options.dns_timeout = 1500; /* c-ares of today waits 250 ms at least before it asks again */
    restart(h);
    uint64_t before = clock_us();
    assert_int_equal(ask(h, "silent.example").outcome, OUTCOME_DNS_TIMEOUT);
    assert_in_range(clock_us() - before, 1050000, 3500000);
    assert_true(h->server->a_queries >= 3); /* asked again meanwhile: a datagram may be lost */
}

static void what_one_family_has_is_enough(void **state)
{
    struct house *h = *state;

    h->options.dns_timeout = 400;
    restart(h);
    assert_int_equal(ask(h, "v4only.example").count, 1);
    struct told half = ask(h, "half.example");
    assert_int_equal(half.outcome, OUTCOME_OK);
    assert_int_equal(half.count, 1);
    assert_seconds(half.lives_us, 30); /* the other half is asked for again soon */
    assert_int_equal(ask(h, "halfslow.example").outcome, OUTCOME_OK);
}

static void aliases_are_followed_in_any_order_with_the_least_ttl(void **state)
{
    struct house *h = *state;
    struct told t = ask(h, "chain.example");

    assert_int_equal(t.count, 2);
    assert_seconds(t.lives_us, 20);
    t = ask(h, "reversed.example");
    assert_int_equal(t.count, 2);
    assert_int_equal(t.first.bytes[3], 1);
    assert_seconds(t.lives_us, 40);
}

static void ttl_stays_within_its_bounds(void **state)
{
    struct house *h = *state;

    assert_seconds(ask(h, "zero.example").lives_us, 5);
    assert_seconds(ask(h, "topbit.example").lives_us, 5);
    assert_seconds(ask(h, "giant.example").lives_us, 1800);
}

static void ttl_zero_is_asked_for_each_time_when_allowed(void **state)
{
    struct house *h = *state;

    h->options.dns_ttl_min = 0;
    assert_int_equal(ask(h, "zero.example").lives_us, 0);
    assert_int_equal(ask(h, "zero.example").lives_us, 0);
    assert_int_equal(h->server->a_queries, 2);
}

static void answer_is_kept_by_us_alone(void **state)
{
    struct house *h = *state;

    h->options.dns_ttl_min = 0;
    h->options.dns_update_interval = 0; /* before its own time is over */
    assert_int_equal(ask(h, "a.example").count, 2);
    assert_int_equal(ask(h, "a.example").count, 2);
    assert_int_equal(h->server->a_queries, 2);
}

static void truncated_answer_is_fetched_by_tcp(void **state)
{
    struct house *h = *state;

    assert_int_equal(ask(h, "tc.example").count, 2);
    assert_int_equal(h->server->tcp_queries, 2);
}

static void thousands_of_addresses_are_taken_without_duplicates(void **state)
{
    struct house *h = *state;
    struct told t = ask(h, "many.example");

    assert_int_equal(t.count, MANY / 2 + MANY / 6);
    assert_int_equal(t.first.family, 4);
    assert_int_equal(t.last.family, 6);
    t = ask(h, "many.example");
    assert_int_equal(t.count, MANY / 2 + MANY / 6);
    assert_int_equal(STATS_GET(&h->page, dns_cached), 1);
    t = ask(h, "dup.example");
    assert_int_equal(t.count, 4);
    assert_int_equal(t.first.bytes[3], 2); /* the server's order */
}

static bool is_newer_than_1_18(void)
{
    int version;

    ares_version(&version);
    return version > 0x0112ff;
}

static void empty_and_short_datagrams_are_passed_over(void **state)
{
    struct house *h = *state;

    struct told t = ask(h, "nothing.example");

    /* c-ares after 1.18 takes nonsense out of a server's own mouth as a failure of it. */
    if (t.outcome == OUTCOME_DNS_SERVFAIL && is_newer_than_1_18())
        return;
    assert_int_equal(t.count, 2);
}

static void name_that_cannot_be_is_not_asked_for(void **state)
{
    struct house *h = *state;
    char name[300];
    struct told t = {.house = h, .wait_for = 1};

    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(ask(h, name).outcome, OUTCOME_DNS_NXDOMAIN);
    name[100] = '\0'; /* a label of 100 */
    assert_int_equal(ask(h, name).outcome, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(ask(h, "").outcome, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(ask(h, "a..example").outcome, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(ask(h, "a\\046example.example").outcome, OUTCOME_DNS_NXDOMAIN);
    resolver_query(h->resolver, "a.example\0.evil.example", 23, on_told, &t);
    run(h);
    assert_int_equal(t.outcome, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(h->server->udp_queries, 0);
}

static void trailing_dot_and_long_names_are_fine(void **state)
{
    struct house *h = *state;
    char name[260];

    assert_int_equal(ask(h, "a.example.").count, 2);
    assert_int_equal(ask(h, "a.example").count, 2);
    assert_int_equal(h->server->udp_queries, 2);
    for (size_t i = 0; i < 253; i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    name[253] = '\0';
    assert_int_equal(ask(h, name).count, 2);
    assert_int_equal(ask(h, name).count, 2);
    assert_int_equal(STATS_GET(&h->page, dns_cached), 2);
}

static void localhost_is_this_machine_and_never_asked_for(void **state)
{
    struct house *h = *state;
    struct told t = ask(h, "localhost");

    assert_int_equal(t.first.bytes[0], 127);
    t = ask(h, "some.localhost");
    assert_int_equal(t.count, 2);
    assert_int_equal(t.first.bytes[0], 127);
    assert_int_equal(t.last.bytes[15], 1);
    assert_int_equal(h->server->udp_queries, 0);
}

static void answers_and_failures_are_kept_in_the_map(void **state)
{
    struct house *h = *state;

    ask(h, "a.example");
    ask(h, "nx.example");
    unsigned queries = h->server->udp_queries;
    restart(h);
    struct told t = ask(h, "a.example");
    assert_int_equal(t.count, 2);
    assert_int_equal(t.took_us, 0);
    assert_seconds(t.lives_us, 60);
    assert_int_equal(ask(h, "nx.example").outcome, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(h->server->udp_queries, queries);
    assert_int_equal(STATS_GET(&h->page, dns_cached), 2);
    assert_int_equal(STATS_GET(&h->page, dns_queries), 2);
}

static void name_is_asked_once_for_all_who_wait(void **state)
{
    struct house *h = *state;
    struct told t = {.house = h, .wait_for = 1000};

    for (int i = 0; i < 500; i++) {
        resolver_query(h->resolver, "hold.example", 12, on_told, &t);
        resolver_query(h->resolver, "hold.example.", 13, on_told, &t);
    }
    assert_int_equal(t.times, 0);
    run(h);
    assert_int_equal(t.times, 1000);
    assert_int_equal(t.count, 2);
    assert_int_equal(h->server->udp_queries, 2);
}

static void ask_names(struct house *h, struct told *t, const char *label, unsigned count)
{
    char name[64];

    *t = (struct told){.house = h, .wait_for = count};
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(name, sizeof name, "%s-%u.example", label, i);
        resolver_query(h->resolver, name, (size_t)len, on_told, t);
    }
    assert_int_equal(t->times, 0);
    run(h);
    assert_int_equal(t->times, count);
}

static void thousands_of_names_do_not_flood_the_server(void **state)
{
    struct house *h = *state;
    struct told t;

    ask_names(h, &t, "hold", 5000);
    assert_int_equal(t.outcome, OUTCOME_OK);
    assert_int_equal(STATS_GET(&h->page, dns_failures), 0);
    assert_in_range(h->server->held_most, 256, 512); /* 256 names, two questions each */
}

static void many_truncated_answers_survive_a_server_that_closes_tcp(void **state)
{
    struct house *h = *state;
    struct told t;

    h->server->close_tcp_after_answer = true;
    ask_names(h, &t, "tc", 300);
    assert_int_equal(STATS_GET(&h->page, dns_failures), 0);
}

static void silence_by_tcp_holds_nobody_up_for_longer_than_dns_timeout(void **state)
{
    struct house *h = *state;
    struct told t;

    h->options.dns_timeout = 400;
    restart(h);
    uint64_t before = clock_us();
    ask_names(h, &t, "tcsilent", 60);
    assert_int_equal(t.outcome, OUTCOME_DNS_TIMEOUT);
    assert_in_range(clock_us() - before, 350000, 2500000);
    before = clock_us();
    ask_names(h, &t, "tc", 60);
    assert_int_equal(STATS_GET(&h->page, dns_failures), 60);
    assert_in_range(clock_us() - before, 0, 2500000);
}

static void on_again(void *user, const struct resolver_answer *a)
{
    struct told *t = user;

    assert_int_equal(a->outcome, OUTCOME_OK);
    if (++t->times < t->wait_for)
        resolver_query(t->house->resolver, "zero.example", 12, on_again, t);
    else
        event_base_loopbreak(t->house->base);
}

static void callback_may_ask_for_the_same_name_again(void **state)
{
    struct house *h = *state;
    struct told t = {.house = h, .wait_for = 5};

    h->options.dns_ttl_min = 0;
    resolver_query(h->resolver, "zero.example", 12, on_again, &t);
    run(h);
    assert_int_equal(t.times, 5);
    assert_int_equal(h->server->a_queries, 5);
}

static void close_calls_nobody_back(void **state)
{
    struct house *h = *state;
    struct told t = {.house = h};
    char name[64];

    for (unsigned i = 0; i < 600; i++) {
        int len = snprintf(name, sizeof name, "%s-%u.example", i % 3 ? "silent" : "a", i);
        resolver_query(h->resolver, name, (size_t)len, on_told, &t);
    }
    resolver_query(h->resolver, "localhost", 9, on_told, &t);
    resolver_close(h->resolver); /* before the first turn */
    start(h);
    for (unsigned i = 0; i < 600; i++) {
        int len = snprintf(name, sizeof name, "silent-%u.example", i);
        resolver_query(h->resolver, name, (size_t)len, on_told, &t);
    }
    run_for(h, 50000);
    assert_int_not_equal(h->server->udp_queries, 0);
    restart(h); /* in the middle */
    run_for(h, 50000);
    assert_int_equal(t.times, 0);
}

static void silent_first_server_is_followed_by_the_second(void **state)
{
    struct house *h = *state;

    h->server->deaf = true;
    use_servers(h, h->server->port, h->second->port);
    assert_int_equal(ask(h, "a.example").count, 2);
    assert_true(h->server->udp_queries > 0);
    assert_int_equal(ask(h, "nx.example").outcome, OUTCOME_DNS_NXDOMAIN);
}

static void unreachable_first_server_is_followed_by_the_second_at_once(void **state)
{
    struct house *h = *state;
    uint16_t port = closed_port(h);

    use_servers(h, port, h->second->port);
    uint64_t before = clock_us();
    assert_int_equal(ask(h, "a.example").count, 2);
    assert_in_range(clock_us() - before, 0, 1000000); /* where no ICMP comes: after the first wait */
}

static void servfail_of_the_first_server_is_followed_by_the_second(void **state)
{
    struct house *h = *state;

    use_servers(h, h->server->port, h->second->port);
    assert_int_equal(ask(h, "fail.example").outcome, OUTCOME_DNS_SERVFAIL);
    /* c-ares after 1.18 goes round again while there are tries left. */
    unsigned most = is_newer_than_1_18() ? 3 : 1;
    assert_in_range(h->server->a_queries, 1, most);
    assert_in_range(h->second->a_queries, 1, most);
    unsigned before = h->server->a_queries + h->second->a_queries;
    ask(h, "a.example");
    assert_int_equal(h->server->a_queries + h->second->a_queries, before + 1); /* asked in turn, not both */
}

static void no_server_at_all_is_told(void **state)
{
    struct house *h = *state;
    uint16_t port = closed_port(h);

    h->options.dns_timeout = 300;
    use_servers(h, port, 0);
    struct told t = ask(h, "a.example");
    assert_true(t.outcome == OUTCOME_DNS_SERVFAIL || t.outcome == OUTCOME_DNS_TIMEOUT);
}

static void lack_of_descriptors_is_not_blamed_on_the_servers(void **state)
{
    struct house *h = *state;
    struct rlimit before, none;
    struct told t = {.house = h, .wait_for = 1};

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0); /* the lowest free number */
    assert_true(next >= 0);
    close(next);
    none = (struct rlimit){(rlim_t)next, before.rlim_max};
    resolver_query(h->resolver, "a.example", 9, on_told, &t);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    run(h);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(t.outcome, OUTCOME_RESOURCE_EXHAUSTED);
    assert_int_equal(ask(h, "a.example").outcome, OUTCOME_OK); /* nothing of it was kept */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_house, remove_house)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(both_families_are_answered_ipv4_first),
        CASE(one_family_is_asked_for_with_4_or_6),
        CASE(failures_have_outcomes_of_their_own),
        CASE(silence_ends_at_dns_timeout),
        CASE(what_one_family_has_is_enough),
        CASE(aliases_are_followed_in_any_order_with_the_least_ttl),
        CASE(ttl_stays_within_its_bounds),
        CASE(ttl_zero_is_asked_for_each_time_when_allowed),
        CASE(answer_is_kept_by_us_alone),
        CASE(truncated_answer_is_fetched_by_tcp),
        CASE(thousands_of_addresses_are_taken_without_duplicates),
        CASE(empty_and_short_datagrams_are_passed_over),
        CASE(name_that_cannot_be_is_not_asked_for),
        CASE(trailing_dot_and_long_names_are_fine),
        CASE(localhost_is_this_machine_and_never_asked_for),
        CASE(answers_and_failures_are_kept_in_the_map),
        CASE(name_is_asked_once_for_all_who_wait),
        CASE(thousands_of_names_do_not_flood_the_server),
        CASE(many_truncated_answers_survive_a_server_that_closes_tcp),
        CASE(silence_by_tcp_holds_nobody_up_for_longer_than_dns_timeout),
        CASE(callback_may_ask_for_the_same_name_again),
        CASE(close_calls_nobody_back),
        CASE(silent_first_server_is_followed_by_the_second),
        CASE(unreachable_first_server_is_followed_by_the_second_at_once),
        CASE(servfail_of_the_first_server_is_followed_by_the_second),
        CASE(no_server_at_all_is_told),
        CASE(lack_of_descriptors_is_not_blamed_on_the_servers),
    };

    log_open("test_resolver", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
