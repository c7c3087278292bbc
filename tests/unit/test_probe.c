/* Probes of idle connections: which are probed, what is sent, what its end does, and what it must not touch. */
#include "tests/unit/worker_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "worker/pool_parts.h"
#include "worker/probe.h"

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Good for HEAD too. */
static void say_ok(struct peer *p)
{
    while (peer_heard(p, "\r\n\r\n")) {
        buffer_clear(&p->in);
        peer_say(p, OK_ANSWER);
    }
}

/* A connection that has answered one request and been idle for longer than the interval. */
static struct conn *start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    o->on_bytes = kind == ORIGIN_H2 ? NULL : say_ok;
    o->on_request = script_answer_h2;
    host = fixture_host_at(&x, "a.test", o);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_pass_ms(&x, 25);
    o->on_bytes = NULL;
    return TAILQ_FIRST(&x.w->pool->idle);
}

static unsigned probe(void)
{
    x.w->now_us = clock_us();
    return probe_begin_all(fixture_pool_host(&x, host));
}

static uint64_t failures(void)
{
    return STATS_GET(x.w->page, probe_failures);
}

static void head_of_the_root_is_sent(void **state)
{
    char authority[64];

    (void)state;
    start(ORIGIN_PLAIN, options("health_check_interval=10ms", "header=X-Mine: 1", "header=Authorization: secret"));
    struct peer *p = o->peers[0];
    assert_int_equal(probe(), 1);
    fixture_until(&x, peer_heard(p, "\r\n\r\n") == 1);
    assert_int_equal(peer_heard(p, "HEAD / HTTP/1.1\r\n"), 1);
    snprintf(authority, sizeof authority, "\r\nHost: a.test:%u\r\n", o->port);
    assert_int_equal(peer_heard(p, authority), 1);
    assert_int_equal(peer_heard(p, "X-Mine: 1"), 1);
    assert_int_equal(peer_heard(p, "secret"), 0);
    assert_int_equal(STATS_GET(x.w->page, probes), 1);
    /* The fleet's own requests are in no count of requests. */
    peer_say(p, OK_ANSWER);
    fixture_until(&x, !TAILQ_FIRST(&x.w->pool->idle)->probe);
    assert_int_equal(STATS_GET(x.w->page, requests), 1);
    assert_int_equal(STATS_GET(x.w->page, responses), 1);
    assert_int_equal(failures(), 0);
    assert_int_equal(x.told_count, 1);
    fixture_close(&x);
}

static void raw_request_is_for_input_lines(void **state)
{
    char path[] = "/tmp/test-probe-XXXXXX";
    char option[64];

    (void)state;
    int fd = mkstemp(path);
    static const char post[] = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_true(fd >= 0 && write(fd, post, sizeof post - 1) > 0);
    close(fd);
    snprintf(option, sizeof option, "raw_request=%s", path);
    start(ORIGIN_PLAIN, options("health_check_interval=10ms", option));
    unlink(path);
    assert_int_equal(probe(), 1);
    fixture_until(&x, peer_heard(o->peers[0], "\r\n\r\n") == 1);
    assert_int_equal(peer_heard(o->peers[0], "HEAD / HTTP/1.1\r\n"), 1);
    assert_int_equal(peer_heard(o->peers[0], "POST"), 0);
    fixture_close(&x);
}

static void only_what_was_idle_for_long_is_probed(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("health_check_interval=10s"));
    assert_int_equal(probe(), 0);
    x.w->options.health_check_interval = 10;
    fixture_get(&x, host, 1);
    fixture_until(&x, peer_heard(o->peers[0], "GET /") == 1);
    fixture_pass_ms(&x, 20);
    assert_int_equal(probe(), 0);
    fixture_close(&x);
}

/* The trap: a probe between a request and its answer, or the other way round. */
static void probed_connection_is_not_lent(void **state)
{
    (void)state;
    struct conn *conn = start(ORIGIN_PLAIN, options("health_check_interval=10ms"));
    assert_int_equal(probe(), 1);
    assert_int_equal(probe(), 0);
    fixture_get(&x, host, 1);
    fixture_until(&x, o->peer_count == 2);
    fixture_until(&x, peer_heard(o->peers[1], "GET /") == 1);
    assert_int_equal(peer_heard(o->peers[0], "GET /"), 0);
    peer_say(o->peers[0], OK_ANSWER);
    fixture_until(&x, conn->probe == NULL);
    /* And it is lent again after it. */
    buffer_clear(&o->peers[0]->in);
    fixture_get(&x, host, 1);
    fixture_until(&x, peer_heard(o->peers[0], "GET /") == 1);
    fixture_close(&x);
}

static void waiter_at_the_limit_gets_it_after_the_probe(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("health_check_interval=10ms", "max_conns_per_host=1"));
    probe();
    fixture_get(&x, host, 1);
    fixture_turns(&x, 10);
    assert_int_equal(peer_heard(o->peers[0], "GET /"), 0);
    o->on_bytes = say_ok;
    say_ok(o->peers[0]);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

static void probe_is_no_use_of_the_connection(void **state)
{
    (void)state;
    struct conn *conn = start(ORIGIN_PLAIN, options("health_check_interval=10ms", "idle_timeout=400ms"));
    uint64_t since_us = conn->idle_since_us;
    uint64_t ends_us = conn->timer.expires_us;
    struct fixture_host *other = fixture_host_at(&x, "b.test", o);
    o->on_bytes = say_ok;
    fixture_get(&x, other, 1);
    fixture_until_told(&x, 2, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(probe(), 1);
        fixture_until(&x, conn->probe == NULL);
    }
    assert_int_equal(conn->idle_since_us, since_us);
    assert_int_equal(conn->timer.expires_us, ends_us);
    assert_true(conn->last_checked_us > since_us);
    assert_ptr_equal(TAILQ_FIRST(&x.w->pool->idle), conn);
    assert_int_equal(fixture_gauge(&x, conns_idle), 2);
    while (clock_us() < ends_us) {
        probe();
        fixture_turns(&x, 5);
    }
    fixture_until(&x, o->peers[0]->ended);
    assert_int_equal(failures(), 0);
    fixture_close(&x);
}

static void idle_time_that_is_over_in_a_probe_ends_both(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("health_check_interval=10ms", "idle_timeout=60ms"));
    probe();
    fixture_until(&x, STATS_GET(x.w->page, closes) == 1);
    assert_int_equal(failures(), 0);
    assert_true(TAILQ_EMPTY(&fixture_pool_host(&x, host)->busy));
    fixture_close(&x);
}

static void slow_probe_closes_at_test_timeout(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("health_check_interval=10ms", "test_timeout=50ms"));
    uint64_t began_us = clock_us();
    probe();
    fixture_until(&x, STATS_GET(x.w->page, closes) == 1);
    assert_true(clock_us() - began_us >= 49000);
    assert_int_equal(failures(), 1);
    fixture_close(&x);
}

static void connection_that_breaks_in_a_probe_is_gone(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        start(ORIGIN_PLAIN, options("health_check_interval=10ms"));
        struct peer *p = o->peers[0];
        probe();
        fixture_until(&x, peer_heard(p, "HEAD") == 1);
        if (how == 0)
            peer_close(p);
        else if (how == 1)
            peer_reset(p);
        else
            peer_say(p, "no HTTP at all\r\n\r\n");
        fixture_until(&x, STATS_GET(x.w->page, closes) == 1);
        assert_int_equal(failures(), 1);
        assert_int_equal(x.told_count, 1);
        fixture_close(&x);
    }
}

static void status_is_judged(void **state)
{
    static const struct {
        const char *answer;
        unsigned before, after, failures;
    } cases[] = {
        {"HTTP/1.1 204 OK\r\n\r\n", 3, 2, 0},
        {"HTTP/1.1 301 OK\r\nLocation: /x\r\nContent-Length: 7\r\n\r\n", 3, 2, 0},
        {"HTTP/1.1 405 No\r\nContent-Length: 70\r\n\r\n", 0, 0, 0},
        {"HTTP/1.1 500 No\r\nContent-Length: 70\r\n\r\n", 3, 4, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct conn *conn = start(ORIGIN_PLAIN, options("health_check_interval=10ms"));
        conn->errors = cases[i].before;
        probe();
        peer_say(o->peers[0], cases[i].answer);
        fixture_until(&x, conn->probe == NULL);
        assert_int_equal(conn->errors, cases[i].after);
        assert_int_equal(failures(), cases[i].failures);
        assert_false(conn->suspect);
        fixture_close(&x);
    }
}

static void eleventh_error_may_be_a_probe(void **state)
{
    (void)state;
    struct conn *conn = start(ORIGIN_PLAIN, options("health_check_interval=10ms"));
    conn->errors = 10;
    probe();
    peer_say(o->peers[0], "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    fixture_until(&x, STATS_GET(x.w->page, conns_evicted) == 1);
    assert_int_equal(STATS_GET(x.w->page, closes), 1);
    fixture_close(&x);
}

static void ping_over_http2_leaves_the_connection_to_be_lent(void **state)
{
    (void)state;
    struct conn *conn = start(ORIGIN_H2, options("health_check_interval=10ms"));
    uint64_t since_us = conn->idle_since_us;
    assert_int_equal(probe(), 1);
    assert_non_null(conn->probe);
    assert_ptr_equal(conn->list, &fixture_pool_host(&x, host)->ready);
    fixture_until(&x, conn->probe == NULL);
    assert_int_equal(conn->idle_since_us, since_us);
    assert_int_equal(failures(), 0);
    assert_int_equal(o->requests, 1);
    probe();
    fixture_get(&x, host, 5);
    fixture_until_told(&x, 6, 0);
    assert_int_equal(o->peer_count, 1);
    assert_int_equal(STATS_GET(x.w->page, probes), 2);
    fixture_close(&x);
}

static void unanswered_ping_gives_the_connection_up_after_its_requests(void **state)
{
    (void)state;
    struct conn *conn = start(ORIGIN_H2, options("health_check_interval=10ms", "test_timeout=60ms"));
    struct peer *p = o->peers[0];
    p->stopped = true;
    probe();
    fixture_get(&x, host, 1);
    fixture_until(&x, failures() == 1);
    assert_int_equal(conn->state, CONN_RETIRING);
    p->stopped = false;
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    fixture_until(&x, STATS_GET(x.w->page, closes) == 1);
    fixture_close(&x);
}

static void worker_may_end_while_probes_run(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("health_check_interval=10ms"));
    probe();
    fixture_close(&x);
    start(ORIGIN_H2, options("health_check_interval=10ms"));
    o->peers[0]->stopped = true;
    probe();
    fixture_close(&x);
}

static void probes_over_tls(void **state)
{
    (void)state;
    struct conn *conn = start(ORIGIN_TLS, options("health_check_interval=10ms", "http_version=1.1"));
    conn->tls_slim = true;
    o->on_bytes = say_ok;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(probe(), 1);
        fixture_until(&x, conn->probe == NULL);
    }
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_of_the_root_is_sent),
        cmocka_unit_test(raw_request_is_for_input_lines),
        cmocka_unit_test(only_what_was_idle_for_long_is_probed),
        cmocka_unit_test(probed_connection_is_not_lent),
        cmocka_unit_test(waiter_at_the_limit_gets_it_after_the_probe),
        cmocka_unit_test(probe_is_no_use_of_the_connection),
        cmocka_unit_test(idle_time_that_is_over_in_a_probe_ends_both),
        cmocka_unit_test(slow_probe_closes_at_test_timeout),
        cmocka_unit_test(connection_that_breaks_in_a_probe_is_gone),
        cmocka_unit_test(status_is_judged),
        cmocka_unit_test(eleventh_error_may_be_a_probe),
        cmocka_unit_test(ping_over_http2_leaves_the_connection_to_be_lent),
        cmocka_unit_test(unanswered_ping_gives_the_connection_up_after_its_requests),
        cmocka_unit_test(worker_may_end_while_probes_run),
        cmocka_unit_test(probes_over_tls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
