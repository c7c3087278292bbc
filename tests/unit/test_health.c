/* Health of connections: errors that add up and decay, quarantine, the limit that follows a host's answers, sweeps. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"
#include "worker/health.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *answer_head;   /* of what script_say() answers */
static const char *answer_status; /* of what script_say_h2() answers */
static unsigned answers_left;     /* with that; then it is 200 */
static unsigned resets_left;

static void script_say(struct peer *p)
{
    while (peer_heard(p, "\r\n\r\n")) {
        buffer_clear(&p->in);
        peer_say(p, answers_left ? answer_head : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        answers_left -= answers_left > 0;
    }
}

static void script_say_h2(struct peer *p, int32_t stream)
{
    if (resets_left) {
        resets_left--;
        nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    peer_answer(p, stream, answers_left ? answer_status : "200", NULL, 0);
    answers_left -= answers_left > 0;
}

static void say_nothing(struct peer *p, int32_t stream)
{
    (void)p;
    (void)stream;
}

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    o->on_bytes = script_say;
    if (kind == ORIGIN_H2)
        o->on_bytes = NULL;
    o->on_request = script_say_h2;
    host = fixture_host_at(&x, "a.test", o);
    answer_head = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    answer_status = "500";
    answers_left = resets_left = 0;
}

/* One after the other, so that each finds the connection idle. */
static void get_in_turn(unsigned count)
{
    while (count-- > 0) {
        fixture_get(&x, host, 1);
        fixture_until_told(&x, x.told_count + 1, 0);
    }
}

static void eleventh_error_evicts(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    answers_left = 11;
    get_in_turn(10);
    assert_int_equal(STATS_GET(x.w->page, closes), 0);
    get_in_turn(1);
    assert_int_equal(STATS_GET(x.w->page, conns_evicted), 1);
    assert_int_equal(STATS_GET(x.w->page, closes), 1);
    get_in_turn(1);
    assert_int_equal(o->peer_count, 2);
    assert_int_equal(o->peers[0]->broken, false);
    fixture_close(&x);
}

static void success_takes_an_error_away(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    get_in_turn(3);
    for (int round = 0; round < 4; round++) {
        answers_left = 10;
        get_in_turn(20);
    }
    assert_int_equal(STATS_GET(x.w->page, conns_evicted), 0);
    assert_int_equal(o->peer_count, 1);
    answers_left = 11;
    get_in_turn(11);
    assert_int_equal(STATS_GET(x.w->page, conns_evicted), 1);
    fixture_close(&x);
}

static void reset_streams_evict_and_the_others_are_finished(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_retries=0"));
    get_in_turn(1);
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, o->peers[0]->requests == 2);
    o->on_request = script_say_h2;
    resets_left = 11;
    /* Not to be sent twice, whatever the pool thinks of a kept connection. */
    for (unsigned i = 0; i < 11; i++) {
        fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "POST", .body = "x"});
        fixture_until_told(&x, 2 + i, 0);
    }
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN), 11);
    assert_int_equal(STATS_GET(x.w->page, conns_evicted), 1);
    assert_int_equal(STATS_GET(x.w->page, closes), 0);
    get_in_turn(1);
    assert_int_equal(o->peer_count, 2);
    peer_answer(o->peers[0], o->peers[0]->streams[1], "200", NULL, 0);
    fixture_until_told(&x, 14, 0);
    fixture_until(&x, STATS_GET(x.w->page, closes) == 1);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void requests_without_an_answer_in_time_evict_over_http2(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_retries=0", "request_timeout=50ms"));
    get_in_turn(1);
    o->on_request = say_nothing;
    fixture_get(&x, host, 10);
    fixture_until_told(&x, 11, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT), 10);
    assert_int_equal(STATS_GET(x.w->page, closes), 0);
    get_in_turn(1);
    fixture_until(&x, STATS_GET(x.w->page, closes) == 1);
    assert_int_equal(STATS_GET(x.w->page, conns_evicted), 1);
    fixture_close(&x);
}

/* Two connections; the first one's last answer was not a healthy one. */
static void make_one_suspect(const char *status)
{
    o->on_bytes = NULL;
    fixture_get(&x, host, 2);
    fixture_until(&x, o->peer_count == 2 && o->peers[0]->in.len && o->peers[1]->in.len);
    buffer_clear(&o->peers[0]->in);
    buffer_clear(&o->peers[1]->in);
    peer_say(o->peers[0], status);
    fixture_until_told(&x, 1, 0);
    peer_say(o->peers[1], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    fixture_until_told(&x, 2, 0);
    o->on_bytes = NULL;
}

/* How many requests each of the two connections got of the next ones, while none is answered. */
static void ask_and_look(unsigned count, size_t first_has, size_t second_has)
{
    fixture_get(&x, host, count);
    fixture_until(&x, peer_heard(o->peers[0], "GET /") + peer_heard(o->peers[1], "GET /") == count);
    assert_int_equal(peer_heard(o->peers[0], "GET /"), first_has);
    assert_int_equal(peer_heard(o->peers[1], "GET /"), second_has);
}

static void suspect_connection_is_used_last(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=2"));
    make_one_suspect("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    /* The longest idle one would be the first. */
    ask_and_look(1, 0, 1);
    fixture_close(&x);
}

static void suspect_connection_is_used_before_a_new_one_is_made(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=10"));
    make_one_suspect("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    ask_and_look(2, 1, 1);
    assert_int_equal(o->peer_count, 2);
    fixture_close(&x);
}

static void healthy_statuses_are_an_option(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=2", "healthy_status=200-404"));
    make_one_suspect("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    ask_and_look(1, 1, 0);
    fixture_close(&x);
}

static void good_answer_ends_the_quarantine(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=2"));
    make_one_suspect("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    ask_and_look(2, 1, 1);
    for (int i = 0; i < 2; i++) {
        buffer_clear(&o->peers[i]->in);
        peer_say(o->peers[i], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        fixture_until_told(&x, 3 + (size_t)i, 0);
    }
    ask_and_look(1, 1, 0);
    fixture_close(&x);
}

static struct pool_host judged(uint64_t first_us)
{
    struct pool_host h = *fixture_pool_host(&x, host);

    h.response_us = (double)first_us;
    h.responses = 5;
    return h;
}

static void limit_follows_the_answers_within_its_bounds(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("adaptive_timeout=true", "adaptive_timeout_min=300ms", "request_timeout=9s"));
    struct pool_host h = judged(1000000);
    assert_int_equal(health_request_us(&h), 3000000);
    h = judged(1000);
    assert_int_equal(health_request_us(&h), 300000);
    h = judged(5000000);
    assert_int_equal(health_request_us(&h), 9000000);
    h.responses = 4;
    assert_int_equal(health_request_us(&h), 9000000);
    x.w->options.adaptive_timeout = false;
    h = judged(1000);
    assert_int_equal(health_request_us(&h), 9000000);
    fixture_close(&x);
}

static void average_moves_by_a_tenth(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("adaptive_timeout=true"));
    get_in_turn(1);
    struct pool_host *h = fixture_pool_host(&x, host);
    struct conn *conn = TAILQ_FIRST(&h->ready);
    h->response_us = 1000000;
    health_on_answer(conn, 200, 2000000);
    assert_in_range(h->response_us, 1099999, 1100001);
    health_on_failure(conn, OUTCOME_REQUEST_TIMEOUT, UINT64_C(3) * 1100000);
    assert_in_range(h->response_us, 1319999, 1320001);
    health_on_failure(conn, OUTCOME_CONNECTION_CLOSED, 1);
    assert_in_range(h->response_us, 1319999, 1320001);
    fixture_close(&x);
}

/* Each request that is cut off gives the next ones more time, so that a host that became slower is not lost. */
static void host_that_becomes_slower_is_given_more_time(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("adaptive_timeout=true", "adaptive_timeout_min=20ms", "max_retries=0"));
    get_in_turn(20);
    uint64_t before = health_request_us(fixture_pool_host(&x, host));
    o->on_bytes = NULL;
    get_in_turn(10);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT), 10);
    uint64_t after = health_request_us(fixture_pool_host(&x, host));
    assert_true(after > before && after > 20000);
    fixture_close(&x);
}

static void sweep_closes_what_is_too_old(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_lifetime=50ms", "cleanup_interval=100ms"));
    get_in_turn(1);
    fixture_until(&x, STATS_GET(x.w->page, swept) == 1);
    assert_true(STATS_GET(x.w->page, sweeps) >= 1);
    assert_int_equal(STATS_GET(x.w->page, closes), 1);
    fixture_close(&x);
}

static void sweeps_leave_the_young_and_the_busy_alone(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("cleanup_interval=10ms", "max_conns_per_host=2", "max_lifetime=100s"));
    get_in_turn(1);
    fixture_until(&x, STATS_GET(x.w->page, sweeps) >= 3);
    x.w->options.max_lifetime = 1;
    o->on_bytes = NULL;
    fixture_get(&x, host, 1);
    fixture_until(&x, o->peer_count == 2);
    uint64_t swept = STATS_GET(x.w->page, swept);
    uint64_t sweeps = STATS_GET(x.w->page, sweeps);
    fixture_until(&x, STATS_GET(x.w->page, sweeps) >= sweeps + 3);
    assert_int_equal(STATS_GET(x.w->page, swept), swept);
    script_say(o->peers[1]);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eleventh_error_evicts),
        cmocka_unit_test(success_takes_an_error_away),
        cmocka_unit_test(reset_streams_evict_and_the_others_are_finished),
        cmocka_unit_test(requests_without_an_answer_in_time_evict_over_http2),
        cmocka_unit_test(suspect_connection_is_used_last),
        cmocka_unit_test(suspect_connection_is_used_before_a_new_one_is_made),
        cmocka_unit_test(healthy_statuses_are_an_option),
        cmocka_unit_test(good_answer_ends_the_quarantine),
        cmocka_unit_test(limit_follows_the_answers_within_its_bounds),
        cmocka_unit_test(average_moves_by_a_tenth),
        cmocka_unit_test(host_that_becomes_slower_is_given_more_time),
        cmocka_unit_test(sweep_closes_what_is_too_old),
        cmocka_unit_test(sweeps_leave_the_young_and_the_busy_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
