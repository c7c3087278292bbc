/* Fetches that name profiles: which connections they get, whose place those take, and who waits for them. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    host = fixture_host_at(&x, "a.test", o);
    o->on_bytes = script_answer;
    o->on_request = script_answer_h2;
}

static void ask(const char *profile, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fixture_ask(
            &x, host,
            &(struct ask){.url = o->kind == ORIGIN_H2 ? "https://a.test/" : "http://a.test/", .profile = profile});
}

static void assert_profile(uint64_t seq, const char *profile)
{
    char member[80];

    snprintf(member, sizeof member, "\"profile\":\"%s\"", profile);
    assert_outcome(&x, seq, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, seq, member);
}

/* One slot passes from profile to profile, and nobody is left waiting. */
static void at_its_limit_a_host_changes_profiles(void **state)
{
    static const char *const names[] = {"chrome-133-windows", "firefox-120-macos", "ios-14-iphone"};
    static const enum origin_kind kinds[] = {ORIGIN_PLAIN, ORIGIN_H2};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        start(kinds[k], options("max_conns_per_host=1"));
        for (unsigned i = 0; i < 30; i++)
            ask(names[i % 3], 1);
        fixture_until_told(&x, 30, 0);
        for (unsigned i = 0; i < 30; i++)
            assert_profile(i, names[i % 3]);
        assert_int_equal(iptable_host_open(&x.w->region.table, host->index), 1);
        fixture_close(&x);
    }
}

static void one_connection_of_http2_serves_all_of_its_profile(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_conns_per_host=10"));
    ask("chrome-133-windows", 20);
    ask("firefox-120-macos", 20);
    fixture_until_told(&x, 40, 0);
    for (unsigned i = 0; i < 40; i++)
        assert_profile(i, i < 20 ? "chrome-133-windows" : "firefox-120-macos");
    assert_int_equal(o->peer_count, 2);
    fixture_close(&x);
}

static void who_asks_for_no_profile_takes_any(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=10"));
    ask("safari-17-macos", 1);
    fixture_until_told(&x, 1, 0);
    ask(NULL, 1);
    fixture_until_told(&x, 2, 0);
    assert_profile(1, "safari-17-macos");
    assert_int_equal(o->peer_count, 1);
    ask("none", 1);
    fixture_until_told(&x, 3, 0);
    assert_tells_not(&x, 2, "\"profile\"");
    assert_int_equal(o->peer_count, 2);
    fixture_close(&x);
}

/* The one slot is taken by an answer that does not come: it is waited for, and no other request gets in between. */
static void who_waits_for_a_profile_gets_the_slot_that_is_freed(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    o->on_bytes = NULL;
    ask(NULL, 1);
    fixture_until(&x, o->peer_count == 1 && o->peers[0]->in.len > 0);
    ask("edge-auto", 1);
    ask(NULL, 2);
    fixture_turns(&x, 10);
    assert_int_equal(o->peer_count, 1);
    assert_int_equal(pool_waiting(x.w->pool), 3);
    o->on_bytes = script_answer;
    script_answer(o->peers[0]);
    fixture_until_told(&x, 4, 0);
    assert_tells_not(&x, 0, "\"profile\"");
    for (uint64_t seq = 1; seq < 4; seq++)
        assert_profile(seq, "edge-auto");
    fixture_close(&x);
}

static void say_nothing(struct peer *p, int32_t stream)
{
    (void)p;
    (void)stream;
}

/* A connection with room for ever more requests of others would never be free by itself. */
static void busy_connection_of_another_profile_takes_nothing_new(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_conns_per_host=1"));
    o->on_request = say_nothing;
    ask(NULL, 1);
    fixture_until(&x, o->peer_count == 1 && o->peers[0]->requests == 1);
    ask("edge-auto", 1);
    ask(NULL, 3);
    fixture_turns(&x, 10);
    assert_int_equal(o->peers[0]->requests, 1);
    o->on_request = script_answer_h2;
    peer_answer(o->peers[0], o->peers[0]->streams[0], "200", NULL, 1);
    fixture_until_told(&x, 5, 0);
    assert_tells_not(&x, 0, "\"profile\"");
    for (uint64_t seq = 1; seq < 5; seq++)
        assert_profile(seq, "edge-auto");
    fixture_close(&x);
}

static void dead_host_fails_who_asks_for_a_profile(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=2", "max_retries=0"));
    struct fixture_host *dead = fixture_host(&x, URL_HTTP, "dead.test", 1, (const char *const[]){"127.0.0.1"}, 1);
    for (unsigned i = 0; i < 5; i++)
        fixture_ask(&x, dead, &(struct ask){.url = "http://dead.test:1/", .profile = i % 2 ? "safe" : "recommended"});
    fixture_until_told(&x, 5, 0);
    assert_int_equal(pool_waiting(x.w->pool), 0);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(at_its_limit_a_host_changes_profiles),
        test(one_connection_of_http2_serves_all_of_its_profile),
        test(who_asks_for_no_profile_takes_any),
        test(who_waits_for_a_profile_gets_the_slot_that_is_freed),
        test(busy_connection_of_another_profile_takes_nothing_new),
        test(dead_host_fails_who_asks_for_a_profile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
