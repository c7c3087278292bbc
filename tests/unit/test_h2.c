/* HTTP/2 against a server session of nghttp2: streams and their ends, limits, floods, and what comes with the
 * handshake. */
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

static unsigned turned_away;

static void refuse_first(struct peer *p, int32_t stream)
{
    if (turned_away) {
        turned_away--;
        reset_stream(p, stream, NGHTTP2_REFUSED_STREAM);
    } else {
        script_answer_h2(p, stream);
    }
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

static void many_requests_share_one_connection(void **state)
{
    (void)state;
    start(NULL);
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 50);
    fixture_until_told(&x, 50, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 50);
    assert_int_equal(o->peer_count, 1);
    assert_tells(&x, 0, "\"http_version\":\"2\"");
    assert_tells(&x, 0, "\"reused\":false");
    assert_tells(&x, 49, "\"reused\":true");
    fixture_close(&x);
}

static void refused_post_is_sent_again(void **state)
{
    (void)state;
    start(NULL);
    warm_up();
    turned_away = 1;
    o->on_request = refuse_first;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "POST", .body = "x"});
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"attempts\":1,");
    fixture_close(&x);
}

static void server_that_always_refuses_is_left_in_the_end(void **state)
{
    (void)state;
    start(NULL);
    warm_up();
    turned_away = 1000;
    o->on_request = refuse_first;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RETRY, OUTCOME_CONNECTION_CLOSED);
    assert_in_range(o->requests, 2, 10);
    fixture_close(&x);
}

static void reset_stream_of_a_post_is_not_sent_again(void **state)
{
    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "POST", .body = "x"});
    fixture_until(&x, p->requests == 2);
    reset_stream(p, p->streams[1], NGHTTP2_INTERNAL_ERROR);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN);
    assert_int_equal(o->requests, 2);
    fixture_close(&x);
}

static void reset_after_the_head_is_a_broken_answer(void **state)
{
    (void)state;
    start(options("max_retries=0"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    peer_answer(p, p->streams[1], "200", NULL, 1u << 30);
    fixture_turns(&x, 3);
    reset_stream(p, p->streams[1], NGHTTP2_NO_ERROR);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN);
    fixture_close(&x);
}

static void goaway_lets_the_rest_finish_and_new_ones_go_elsewhere(void **state)
{
    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 3);
    fixture_until(&x, p->requests == 4);
    /* The first two will be answered; of the third nothing was done. */
    nghttp2_submit_goaway(p->session, NGHTTP2_FLAG_NONE, p->streams[2], NGHTTP2_NO_ERROR, NULL, 0);
    o->on_request = script_answer_h2;
    fixture_until(&x, o->peer_count == 2);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 3, RESULT_RECORD, OUTCOME_OK);
    script_answer_h2(p, p->streams[1]);
    script_answer_h2(p, p->streams[2]);
    fixture_until_told(&x, 4, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 4);
    fixture_until(&x, p->ended);
    fixture_close(&x);
}

static void goaway_on_an_idle_connection_closes_it(void **state)
{
    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    nghttp2_submit_goaway(p->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
    fixture_until(&x, p->ended);
    assert_int_equal(fixture_gauge(&x, conns_idle), 0);
    fixture_close(&x);
}

/* Requests that nghttp2 still holds back when GOAWAY comes are refused by it while it is asked for output: the waiters
 * are served in the middle of that. */
static void goaway_with_requests_held_back_loses_none(void **state)
{
    (void)state;
    start(options("max_streams_per_conn=300", "max_conns_per_host=4"));
    x.unchecked = true;
    o->on_request = say_nothing;
    fixture_get(&x, host, 250);
    fixture_until(&x, o->peer_count && o->peers[0]->requests >= 50);
    struct peer *p = o->peers[0];
    nghttp2_submit_goaway(p->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
    o->on_request = script_answer_h2;
    fixture_until_told(&x, 250, 0);
    for (uint64_t seq = 0; seq < 250; seq++)
        fixture_told(&x, seq);
    fixture_close(&x);
}

/* The same with no slot left: to serve the waiters an idle HTTP/2 connection of another host is closed, whose last
 * words are gathered while the first connection's frames are being gathered. Expected: each server hears its own frames
 * and none of the other's. Today both use w->out (h2.c, h2_flush() within h2_flush(); h1_start() would do the same). */
static void words_of_one_connection_are_not_sent_on_another(void **state)
{
    (void)state;
    start(options("max_streams_per_conn=300", "max_connections=2"));
    x.unchecked = true;
    struct origin *second = fixture_origin(&x, ORIGIN_H2);
    second->on_request = script_answer_h2;
    fixture_get(&x, fixture_host_at(&x, "b.test", second), 1);
    fixture_until_told(&x, 1, 0);
    fixture_get(&x, host, 250);
    fixture_until(&x, o->peer_count && o->peers[0]->requests >= 100);
    struct peer *p = o->peers[0];
    nghttp2_submit_ping(p->session, NGHTTP2_FLAG_NONE, NULL);
    nghttp2_submit_goaway(p->session, NGHTTP2_FLAG_NONE, p->streams[99], NGHTTP2_NO_ERROR, NULL, 0);
    fixture_until(&x, second->peers[0]->ended);
    fixture_turns(&x, 5);
    assert_int_equal(second->peers[0]->goaways, 1);
    assert_int_equal(p->goaways, 0);
    assert_int_equal(p->pongs, 1);
    fixture_close(&x);
}

static void closed_connection_fails_what_ran_on_it(void **state)
{
    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 2);
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "POST", .body = "x"});
    fixture_until(&x, p->requests == 4);
    o->on_request = script_answer_h2;
    peer_reset(p);
    fixture_until_told(&x, 4, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    assert_outcome(&x, 3, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN);
    fixture_close(&x);
}

static void body_of_20_mib_passes_the_windows(void **state)
{
    (void)state;
    start(options("max_body=100M", "hash=true"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 3);
    fixture_until(&x, p->requests == 4);
    for (int i = 1; i < 4; i++)
        peer_answer(p, p->streams[i], "200", NULL, 20u << 20);
    fixture_until_told(&x, 4, 60000);
    for (uint64_t seq = 1; seq < 4; seq++) {
        assert_outcome(&x, seq, RESULT_RECORD, OUTCOME_OK);
        assert_tells(&x, seq, "\"bytes_body\":20971520");
    }
    fixture_close(&x);
}

static void body_is_cut_at_the_cap_and_late_data_is_nobodys(void **state)
{
    (void)state;
    start(options("max_body=100000"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    peer_answer(p, p->streams[1], "200", NULL, 900000);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"bytes_body\":100000,\"truncated\":true");
    fixture_until(&x, p->resets == 1);
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 3, 0);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

/* The stream of a cut body ends while output is gathered, not while input is read. Expected: its place is free at once,
 * also when the server says nothing more; today it is free with the next input only, and until then the connection
 * counts as active and no idle time runs. */
static void place_of_a_cut_stream_is_free_at_once(void **state)
{
    (void)state;
    start(options("max_body=10", "max_streams_per_conn=1", "max_conns_per_host=1"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 2);
    fixture_until(&x, p->requests == 2);
    peer_answer(p, p->streams[1], "200", NULL, 20);
    fixture_until_told(&x, 2, 0);
    assert_tells(&x, 1, "\"truncated\":true");
    fixture_until(&x, p->requests == 3);
    script_answer_h2(p, p->streams[2]);
    fixture_until_told(&x, 3, 0);
    fixture_close(&x);
}

static void late_answer_of_a_timed_out_stream_is_nobodys(void **state)
{
    (void)state;
    start(options("request_timeout=50ms"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 3, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    script_answer_h2(p, p->streams[1]);
    script_answer_h2(p, p->streams[2]);
    peer_flush(p);
    o->on_request = script_answer_h2;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 4, 0);
    assert_outcome(&x, 3, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

static void head_answer_has_a_length_and_no_body(void **state)
{
    static const char *const fields[] = {"content-length", "12345", NULL};

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "HEAD"});
    fixture_until(&x, p->requests == 2);
    peer_answer(p, p->streams[1], "200", fields, 0);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"content_length\":12345");
    assert_tells(&x, 1, "\"bytes_body\":0");
    fixture_close(&x);
}

static void statuses_without_body_are_whole(void **state)
{
    static const char *const statuses[] = {"204", "304"};

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    for (unsigned i = 0; i < 2; i++) {
        fixture_get(&x, host, 1);
        fixture_until(&x, p->requests == 2 + i);
        peer_answer(p, p->streams[1 + i], statuses[i], NULL, 0);
        fixture_until_told(&x, 2 + i, 0);
        assert_outcome(&x, 1 + i, RESULT_RECORD, OUTCOME_OK);
    }
    fixture_close(&x);
}

static void interim_answers_come_before_the_final_one(void **state)
{
    static const nghttp2_nv early = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "103", 7, 3, 0};

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    for (int i = 0; i < 5; i++)
        nghttp2_submit_headers(p->session, NGHTTP2_FLAG_NONE, p->streams[1], NULL, &early, 1, NULL);
    script_answer_h2(p, p->streams[1]);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"status_code\":200");
    fixture_close(&x);
}

/* Expected: an interim status is no answer; it must not make a stale connection look like one that had answered. */
static void connection_lost_after_an_interim_answer_is_stale_all_the_same(void **state)
{
    static const nghttp2_nv early = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "103", 7, 3, 0};

    (void)state;
    start(options("max_retries=0"));
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    fixture_get(&x, host, 1);
    fixture_until(&x, p->requests == 2);
    nghttp2_submit_headers(p->session, NGHTTP2_FLAG_NONE, p->streams[1], NULL, &early, 1, NULL);
    fixture_turns(&x, 3);
    o->on_request = script_answer_h2;
    peer_close(p);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(fixture_told(&x, 1)->m.status, 200);
    fixture_close(&x);
}

static void length_that_does_not_match_the_body_is_an_error(void **state)
{
    static const char *const lengths[] = {"5", "500"};

    (void)state;
    start(NULL);
    struct peer *p = warm_up();
    o->on_request = say_nothing;
    for (unsigned i = 0; i < 2; i++) {
        const char *const fields[] = {"content-length", lengths[i], NULL};
        fixture_get(&x, host, 1);
        fixture_until(&x, p->requests == 2 + i);
        peer_answer(p, p->streams[1 + i], "200", fields, 50);
        fixture_until_told(&x, 2 + i, 0);
        assert_outcome(&x, 1 + i, RESULT_RECORD, OUTCOME_PROTOCOL_ERROR);
    }
    fixture_close(&x);
}

static void upload_is_sent_within_the_servers_window(void **state)
{
    static char body[300001];

    (void)state;
    memset(body, 'b', sizeof body - 1);
    start(NULL);
    o->on_request = say_nothing;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "PUT", .body = body});
    fixture_until(&x, o->peer_count && o->peers[0]->requests == 1);
    fixture_turns(&x, 100);
    script_answer_h2(o->peers[0], o->peers[0]->streams[0]);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void upload_ended_early_by_a_whole_answer_is_answered(void **state)
{
    static char body[3000001];

    (void)state;
    memset(body, 'b', sizeof body - 1);
    start(NULL);
    o->on_request = say_nothing;
    fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "PUT", .body = body});
    fixture_until(&x, o->peer_count && o->peers[0]->requests == 1);
    struct peer *p = o->peers[0];
    peer_answer(p, p->streams[0], "413", NULL, 0);
    peer_flush(p);
    reset_stream(p, p->streams[0], NGHTTP2_NO_ERROR);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 0, "\"status_code\":413");
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(many_requests_share_one_connection),
        test(refused_post_is_sent_again),
        test(server_that_always_refuses_is_left_in_the_end),
        test(reset_stream_of_a_post_is_not_sent_again),
        test(reset_after_the_head_is_a_broken_answer),
        test(goaway_lets_the_rest_finish_and_new_ones_go_elsewhere),
        test(goaway_on_an_idle_connection_closes_it),
        test(goaway_with_requests_held_back_loses_none),
        test(words_of_one_connection_are_not_sent_on_another),
        test(closed_connection_fails_what_ran_on_it),
        test(body_of_20_mib_passes_the_windows),
        test(body_is_cut_at_the_cap_and_late_data_is_nobodys),
        test(place_of_a_cut_stream_is_free_at_once),
        test(late_answer_of_a_timed_out_stream_is_nobodys),
        test(head_answer_has_a_length_and_no_body),
        test(statuses_without_body_are_whole),
        test(interim_answers_come_before_the_final_one),
        test(connection_lost_after_an_interim_answer_is_stale_all_the_same),
        test(length_that_does_not_match_the_body_is_an_error),
        test(upload_is_sent_within_the_servers_window),
        test(upload_ended_early_by_a_whole_answer_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
