/* HTTP/2 where limits are met: streams that a server allows, heads, floods, what breaks the protocol, and age. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

static void start(const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, ORIGIN_H2);
    host = fixture_host_at(&x, "a.test", o);
}

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void reset_stream(struct peer *p, int32_t stream, uint32_t code)
{
    nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, stream, code);
}

static void say_nothing(struct peer *p, int32_t stream)
{
    (void)p;
    (void)stream;
}

/* A connection that has answered one request and is idle. */
static struct peer *warm_up(void)
{
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    return origin_last(o);
}

static void servers_limit_of_streams_is_kept(void **state)
{
    (void)state;
    start(options("max_conns_per_host=1"));
    o->streams_max = 1;
    warm_up();
    fixture_get(&x, host, 30);
    fixture_until_told(&x, 31, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 31);
    assert_int_equal(o->peers[0]->requests, 31);
    fixture_close(&x);
}

/* Sent before the server's SETTINGS were known, the surplus is refused, and each comes again without costing a try. */
static void streams_refused_for_the_limit_come_again(void **state)
{
    (void)state;
    start(options("max_conns_per_host=1"));
    o->streams_max = 1;
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 30);
    fixture_until_told(&x, 30, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 30);
    fixture_close(&x);
}

static void endless_interim_answers_are_refused(void **state)
{
    static const nghttp2_nv early = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "103", 7, 3, 0};

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    for (int i = 0; i < 200; i++)
        nghttp2_submit_headers(p->session, NGHTTP2_FLAG_NONE, p->streams[1], NULL, &early, 1, NULL);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(fixture_told(&x, 1)->m.kind, RESULT_RECORD);
    assert_int_not_equal(fixture_told(&x, 1)->m.outcome, OUTCOME_OK);
    fixture_close(&x);
}

static void head_above_its_limit_is_too_large(void **state)
{
    static char value[4001];
    const char *fields[22] = {0};

    (void)state;
    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < 20; i++)
        fields[i] = i % 2 ? value : "x-big";
    start(options("max_header=16K"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    peer_answer(p, p->streams[1], "200", fields, 5);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_TOO_LARGE);
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 3, 0);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

/* A few bytes that HPACK blows up to 2000 each. */
static void header_bomb_is_too_large(void **state)
{
    static char value[2001];
    nghttp2_nv nv[1001];

    (void)state;
    memset(value, 'v', sizeof value - 1);
    nv[0] = (nghttp2_nv){(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "200", 7, 3, 0};
    for (int i = 1; i <= 1000; i++)
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t) "x", (uint8_t *)value, 1, sizeof value - 1, 0};
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 2);
    fixture_until(&x, p->requests == 3);
    nghttp2_submit_response(p->session, p->streams[1], nv, 1001, NULL);
    script_answer_h2(p, p->streams[2]);
    fixture_until_told(&x, 3, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_TOO_LARGE);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

/* Expected: no stream is opened on a connection whose server allows none; the request waits or goes elsewhere. Today
 * the connection stays among the ready ones, since it has no request that would end. */
static void connection_that_allows_no_streams_is_not_used(void **state)
{
    static const nghttp2_settings_entry none = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0};

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, &none, 1);
    fixture_turns(&x, 3);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 2);
    fixture_close(&x);
}

static void settings_that_allow_more_are_used(void **state)
{
    static const nghttp2_settings_entry more = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10};

    (void)state;
    start(options("max_conns_per_host=1"));
    o->streams_max = 1;
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 10);
    fixture_until(&x, p->requests == 2);
    fixture_turns(&x, 5);
    assert_int_equal(p->requests, 2);
    nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, &more, 1);
    fixture_until(&x, p->requests == 11);
    fixture_close(&x);
}

static void floods_do_not_hurt(void **state)
{
    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 500; i++) {
            nghttp2_submit_ping(p->session, NGHTTP2_FLAG_NONE, NULL);
            nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, NULL, 0);
        }
        fixture_turns(&x, 2);
    }
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

/* A server that asks and does not read the answers: what is kept for it is bounded. */
static void flood_by_a_deaf_server_is_bounded(void **state)
{
    static const char ping[17] = {0, 0, 8, 6};
    size_t most = 0;

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    struct pool_host *h = fixture_pool_host(&x, host);
    p->stopped = true;
    for (int i = 0; i < 400000; i++) {
        buffer_append(&p->out, ping, sizeof ping);
        if (p->out.len < 60000)
            continue;
        fixture_turn(&x);
        struct conn *conn = TAILQ_FIRST(&h->ready);
        if (!conn)
            break;
        most = conn->out.len > most ? conn->out.len : most;
    }
    assert_true(most < 1u << 20);
    fixture_close(&x);
}

static void garbage_ends_the_connection(void **state)
{
    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 2);
    fixture_until(&x, p->requests == 3);
    peer_say(p, "HTTP/1.1 400 Bad Request\r\n\r\n");
    fixture_until_told(&x, 3, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_PROTOCOL_ERROR);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_PROTOCOL_ERROR);
    assert_int_equal(fixture_gauge(&x, conns_idle) + fixture_gauge(&x, conns_active), 0);
    fixture_close(&x);
}

/* What the server did wrong is answered with GOAWAY when output is gathered, and the connection ends there. Expected:
 * who waits for it gets another one in the same turn. Today the worker goes to sleep first (worker/main.c, run():
 * pool_tend() before conn_flush_dirty()), and sleeps until some other event or the waiter's own timer. */
static void waiters_of_a_connection_that_ends_in_the_gathering_are_served(void **state)
{
    static const char zero_window_update[13] = {0, 0, 4, 8};

    (void)state;
    start(options("max_conns_per_host=1", "max_streams_per_conn=1"));
    o->on_request = say_nothing;
    fixture_get(&x, host, 2);
    fixture_until(&x, o->peer_count && o->peers[0]->requests == 1);
    o->on_request = script_answer_h2;
    peer_send(o->peers[0], zero_window_update, sizeof zero_window_update);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_PROTOCOL_ERROR);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void lifetime_ends_with_the_last_stream(void **state)
{
    (void)state;
    start(options("max_lifetime=60ms"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    fixture_pass_ms(&x, 80);
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(o->peer_count, 2);
    script_answer_h2(p, p->streams[1]);
    fixture_until_told(&x, 3, 0);
    fixture_until(&x, p->ended);
    fixture_close(&x);
}

/* The one stream of an old connection is reset: the request starts again, and the connection is seen to be too old,
 * while nghttp2 is still within nghttp2_session_mem_recv(). */
static void old_connection_is_left_from_within_a_reset(void **state)
{
    (void)state;
    start(options("max_lifetime=60ms"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    fixture_pass_ms(&x, 80);
    o->on_request = script_answer_h2;
    reset_stream(p, p->streams[1], NGHTTP2_REFUSED_STREAM);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 2);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(servers_limit_of_streams_is_kept),
        test(streams_refused_for_the_limit_come_again),
        test(endless_interim_answers_are_refused),
        test(head_above_its_limit_is_too_large),
        test(header_bomb_is_too_large),
        test(connection_that_allows_no_streams_is_not_used),
        test(settings_that_allow_more_are_used),
        test(floods_do_not_hurt),
        test(flood_by_a_deaf_server_is_bounded),
        test(garbage_ends_the_connection),
        test(waiters_of_a_connection_that_ends_in_the_gathering_are_served),
        test(lifetime_ends_with_the_last_stream),
        test(old_connection_is_left_from_within_a_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
