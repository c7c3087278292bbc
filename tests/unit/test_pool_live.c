/* Options that change under a running worker: idle connections, limits, streams, and bodies that are being read. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"
#include "shm/live.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;
static struct options values;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    host = fixture_host_at(&x, "a.test", o);
    options_copy(&values, &x.w->options);
}

static void finish(void)
{
    options_fini(&values);
    fixture_close(&x);
}

/* As the coordinator does. */
static void change(const char *name, const char *value)
{
    struct options_error error;

    if (!options_set(&values, name, value, "ctl set", &error))
        fail_msg("%s", error.message);
    live_write(&x.w->region.header->live, &values);
}

static void serve(void)
{
    o->on_bytes = script_answer;
    o->on_request = script_answer_h2;
    for (unsigned i = 0; i < o->peer_count; i++)
        script_answer(o->peers[i]);
}

static void an_idle_connection_goes_by_the_new_timeout(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("idle_timeout=3600"));
    serve();
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_pass_ms(&x, 50);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    change("idle_timeout", "100ms");
    fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
    finish();
}

static void a_longer_timeout_keeps_an_idle_connection(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("idle_timeout=300ms"));
    serve();
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    change("idle_timeout", "3600");
    fixture_pass_ms(&x, 600);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    finish();
}

static void who_waits_gets_what_a_raised_limit_allows(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    fixture_get(&x, host, 4);
    fixture_until(&x, o->peer_count == 1);
    fixture_turns(&x, 10);
    assert_int_equal(pool_waiting(x.w->pool), 3);
    change("max_conns_per_host", "3");
    fixture_until(&x, o->peer_count == 3);
    fixture_turns(&x, 10);
    assert_int_equal(o->peer_count, 3);
    serve();
    fixture_until_told(&x, 4, 0);
    finish();
}

static void a_lowered_limit_leaves_leased_connections_alone(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=4"));
    fixture_get(&x, host, 4);
    fixture_until(&x, o->peer_count == 4 && pool_waiting(x.w->pool) == 0);
    change("max_conns_per_host", "1");
    fixture_get(&x, host, 4);
    fixture_turns(&x, 20);
    assert_int_equal(fixture_gauge(&x, conns_active), 4);
    assert_int_equal(o->peer_count, 4);
    serve();
    fixture_until_told(&x, 8, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 8);
    finish();
}

static void streams_follow_on_connections_that_are_open(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_streams_per_conn=2", "max_conns_per_host=1"));
    fixture_get(&x, host, 6);
    fixture_until(&x, o->peer_count == 1 && pool_waiting(x.w->pool) == 4);
    fixture_turns(&x, 20);
    assert_int_equal(pool_waiting(x.w->pool), 4);
    change("max_streams_per_conn", "5");
    fixture_until(&x, pool_waiting(x.w->pool) == 1);
    fixture_turns(&x, 20);
    assert_int_equal(pool_waiting(x.w->pool), 1);
    serve();
    finish();
}

static void nonsense_in_the_region_changes_nothing(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_retries=2"));
    change("max_retries", "4");
    fixture_turn(&x);
    assert_int_equal(x.w->options.max_retries, 4);
    live_write(&x.w->region.header->live, &values);
    for (unsigned i = 0; i < LIVE_ROWS_MAX; i++)
        x.w->region.header->live.value[i] = UINT64_MAX;
    fixture_turns(&x, 3);
    assert_int_equal(x.w->options.max_retries, 4);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_connection_goes_by_the_new_timeout),
        cmocka_unit_test(a_longer_timeout_keeps_an_idle_connection),
        cmocka_unit_test(who_waits_gets_what_a_raised_limit_allows),
        cmocka_unit_test(a_lowered_limit_leaves_leased_connections_alone),
        cmocka_unit_test(streams_follow_on_connections_that_are_open),
        cmocka_unit_test(nonsense_in_the_region_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
