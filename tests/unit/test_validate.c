/* Tests of connections: what goes over which, what becomes of a fetch whose connection fails or ends between its test
 * and its request, and that nobody comes in between. */
#include "tests/unit/worker_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;
static char heard[4096]; /* methods in the order of the connections' requests: "1HEAD 1GET " */

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    host = fixture_host_at(&x, "a.test", o);
    heard[0] = '\0';
}

static unsigned number_of(const struct peer *p)
{
    for (unsigned i = 0; i < o->peer_count; i++) {
        if (o->peers[i] == p)
            return i + 1;
    }
    return 0;
}

/* Notes each request; false: no whole one is there. */
static bool take_request(struct peer *p, bool *head_out)
{
    char *end = p->in.data ? memmem(p->in.data, p->in.len, "\r\n\r\n", 4) : NULL;

    if (!end)
        return false;
    *head_out = p->in.data[0] == 'H';
    size_t len = strlen(heard);
    snprintf(heard + len, sizeof heard - len, "%u%s ", number_of(p), *head_out ? "HEAD" : "GET");
    buffer_consume(&p->in, (size_t)(end + 4 - p->in.data));
    return true;
}

static void answer_all(struct peer *p)
{
    bool head;

    while (take_request(p, &head))
        peer_say(p, head ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
                         : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
}

static void answer_and_close(struct peer *p)
{
    bool head;

    while (p->fd >= 0 && take_request(p, &head)) {
        peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        peer_close(p);
    }
}

static void refuse_first(struct peer *p)
{
    bool head;

    while (take_request(p, &head))
        peer_say(p, number_of(p) == 1 ? "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" : "HTTP/1.1 204 OK\r\n\r\n");
}

static void ask(void)
{
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/x", .flags = TASK_VALIDATE});
}

static void a_test_and_its_request_have_the_connection_to_themselves(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    o->on_bytes = answer_all;
    ask();
    fixture_get(&x, host, 1);
    ask();
    fixture_until_told(&x, 3, 0);
    assert_string_equal(heard, "1HEAD 1GET 1GET 1HEAD 1GET ");
    assert_tells(&x, 0, "\"reused\":false");
    assert_tells(&x, 2, "\"reused\":true");
    assert_tells(&x, 2, "\"attempts\":1,");
    assert_int_equal(STATS_GET(x.w->page, validations), 2);
    assert_int_equal(STATS_GET(x.w->page, requests), 3);
    fixture_close(&x);
}

static void a_connection_that_fails_gets_no_request(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    o->on_bytes = refuse_first;
    ask();
    fixture_until_told(&x, 1, 0);
    assert_string_equal(heard, "1HEAD 2HEAD 2GET ");
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    assert_int_equal(STATS_GET(x.w->page, validation_failures), 1);
    fixture_close(&x);
}

static void answer_late(struct peer *p)
{
    usleep(60000);
    answer_all(p);
}

/* Expected: what passes its test serves, also when it is older than max_lifetime by then. */
static void a_connection_that_ages_during_its_test_serves_all_the_same(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_lifetime=30ms"));
    o->on_bytes = answer_late;
    ask();
    fixture_until_told(&x, 1, 0);
    assert_string_equal(heard, "1HEAD 1GET ");
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    fixture_turns(&x, 3);
    assert_int_equal(fixture_gauge(&x, conns_idle), 0);
    fixture_close(&x);
}

static void connections_that_end_after_each_test_are_given_up(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    o->on_bytes = answer_and_close;
    ask();
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_VALIDATION_FAILED);
    assert_non_null(strstr(heard, "3HEAD "));
    assert_null(strstr(heard, "4HEAD "));
    fixture_close(&x);
}

static void a_test_that_gets_no_answer_fails_in_its_time(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("test_timeout=50ms"));
    ask();
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_VALIDATION_FAILED);
    assert_tells_not(&x, 0, "status_code");
    assert_int_equal(o->peer_count, 3);
    fixture_close(&x);
}

static void the_deadline_ends_a_test_as_a_deadline(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("total_timeout=50ms"));
    ask();
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_DEADLINE);
    assert_tells(&x, 0, "\"method\":\"GET\"");
    fixture_close(&x);
}

static void go_away_on_first(struct peer *p, int32_t stream)
{
    static const char *const none[] = {NULL};

    peer_answer(p, stream, "200", none, 0);
    if (number_of(p) == 1) {
        nghttp2_submit_goaway(p->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR, NULL, 0);
        peer_flush(p);
    }
}

static void a_connection_that_goes_away_with_its_answer_is_replaced(void **state)
{
    (void)state;
    start(ORIGIN_H2, NULL);
    o->on_request = go_away_on_first;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/x", .flags = TASK_VALIDATE});
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 2);
    assert_int_equal(o->requests, 3);
    fixture_close(&x);
}

static void answer_without_body(struct peer *p, int32_t stream)
{
    static const char *const none[] = {NULL};

    peer_answer(p, stream, "200", none, 0);
}

static void many_tests_share_an_http2_connection(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_conns_per_host=1"));
    o->on_request = answer_without_body;
    for (unsigned i = 0; i < 50; i++)
        fixture_ask(&x, host, &(struct ask){.url = "https://a.test/x", .flags = TASK_VALIDATE});
    fixture_until_told(&x, 50, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 50);
    assert_int_equal(o->peer_count, 1);
    assert_int_equal(STATS_GET(x.w->page, validations), 50);
    fixture_close(&x);
}

static struct peer *waiting_peer;
static int32_t waiting_stream;

static void answer_h2_but_the_first(struct peer *p, int32_t stream)
{
    if (waiting_stream) {
        answer_without_body(p, stream);
        return;
    }
    waiting_peer = p;
    waiting_stream = stream;
}

/* Over HTTP/2 somebody else may come meanwhile, and finds it too old. */
static void a_connection_with_a_test_on_it_takes_nobody_else_when_it_is_old(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_lifetime=30ms"));
    o->on_request = answer_h2_but_the_first;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/x", .flags = TASK_VALIDATE});
    fixture_until(&x, waiting_stream != 0);
    fixture_pass_ms(&x, 40);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    o->on_request = answer_without_body;
    answer_without_body(waiting_peer, waiting_stream);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(STATS_GET(x.w->page, validations), 1);
    assert_int_equal(STATS_GET(x.w->page, connects), 2);
    fixture_turns(&x, 3);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    fixture_close(&x);
}

/* Who waits for its slot gets it after the request, not between the two. */
static void a_host_that_starves_does_not_come_in_between(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_connections=1"));
    o->on_bytes = answer_all;
    struct fixture_host *other = fixture_host_at(&x, "b.test", o);
    ask();
    fixture_get(&x, other, 1);
    fixture_until_told(&x, 2, 0);
    assert_string_equal(heard, "1HEAD 1GET 2GET ");
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(STATS_GET(x.w->page, validations), 1);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_test_and_its_request_have_the_connection_to_themselves),
        cmocka_unit_test(a_connection_that_fails_gets_no_request),
        cmocka_unit_test(a_connection_that_ages_during_its_test_serves_all_the_same),
        cmocka_unit_test(a_connection_with_a_test_on_it_takes_nobody_else_when_it_is_old),
        cmocka_unit_test(a_host_that_starves_does_not_come_in_between),
        cmocka_unit_test(connections_that_end_after_each_test_are_given_up),
        cmocka_unit_test(a_test_that_gets_no_answer_fails_in_its_time),
        cmocka_unit_test(the_deadline_ends_a_test_as_a_deadline),
        cmocka_unit_test(a_connection_that_goes_away_with_its_answer_is_replaced),
        cmocka_unit_test(many_tests_share_an_http2_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
