/* Fetches: what a message must be to become one, the three clocks, redirects, retries, and which message each end
 * gives. */
#include "tests/unit/worker_fixture.h"

#include <stdio.h>

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *answer;

static void say_it(struct peer *p)
{
    char *end;

    while ((end = p->in.data ? memmem(p->in.data, p->in.len, "\r\n\r\n", 4) : NULL)) {
        buffer_consume(&p->in, (size_t)(end + 4 - p->in.data));
        o->requests++;
        peer_say(p, answer);
    }
}

static void start(const char *text, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, ORIGIN_PLAIN);
    answer = text;
    o->on_bytes = text ? say_it : NULL;
    host = fixture_host_at(&x, "a.test", o);
}

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void message_that_makes_no_sense_is_no_fetch(void **state)
{
    struct task_message m = {.url_len = 17, .host_offset = 7, .host_len = 6, .path_offset = 13, .path_len = 1};
    char bytes[sizeof m + 64] = {0};
    struct {
        uint32_t offset, value;
    } wrong[] = {
        {offsetof(struct task_message, url_len), 0},           {offsetof(struct task_message, url_len), 65},
        {offsetof(struct task_message, url_len), UINT32_MAX},  {offsetof(struct task_message, body_len), UINT32_MAX},
        {offsetof(struct task_message, headers_len), 60},      {offsetof(struct task_message, path_len), 5},
        {offsetof(struct task_message, path_len), UINT32_MAX},
    };

    (void)state;
    start(NULL, NULL);
    m.flags = TASK_URL_IS_FIRST | TASK_INPUT_IS_URL;
    fixture_put(bytes + sizeof m, "http://a.test/abc");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct task_message bad = m;
        memcpy((char *)&bad + wrong[i].offset, &wrong[i].value, sizeof wrong[i].value);
        memcpy(bytes, &bad, sizeof bad);
        assert_null(fetch_new(x.w, bytes, sizeof bytes));
    }
    assert_null(fetch_new(x.w, bytes, sizeof m - 1));
    m.path_offset = 17;
    memcpy(bytes, &m, sizeof m);
    assert_null(fetch_new(x.w, bytes, sizeof bytes));
    m.path_offset = 12;
    memcpy(bytes, &m, sizeof m);
    assert_null(fetch_new(x.w, bytes, sizeof bytes));
    fixture_close(&x);
}

static void fetches_are_used_again(void **state)
{
    (void)state;
    start(OK_ANSWER, options("max_conns_per_host=1"));
    for (size_t i = 1; i <= 20; i++) {
        fixture_get(&x, host, 1);
        fixture_until_told(&x, i, 0);
    }
    struct fetch *spare = TAILQ_FIRST(&x.w->spare);
    assert_non_null(spare);
    assert_null(TAILQ_NEXT(spare, link));
    fixture_close(&x);
}

static void few_of_a_burst_of_fetches_are_kept(void **state)
{
    struct fetch *spare;
    size_t kept = 0;

    (void)state;
    start(OK_ANSWER, options("max_conns_per_host=4"));
    fixture_get(&x, host, 200);
    fixture_until_told(&x, 200, 0);
    fetch_trim_spare(x.w);
    TAILQ_FOREACH(spare, &x.w->spare, link)
    kept++;
    assert_in_range(kept, 1, 100);
    fixture_get(&x, host, 200);
    fixture_until_told(&x, 400, 0);
    fixture_close(&x);
}

static void request_timeout_total_deadline_and_wait_have_their_own_outcome(void **state)
{
    (void)state;
    start(NULL, options("request_timeout=60ms", "acquire_timeout=120ms", "max_conns_per_host=1"));
    fixture_get(&x, host, 4);
    fixture_until_told(&x, 4, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT);
    assert_outcome(&x, 3, RESULT_RECORD, OUTCOME_ACQUIRE_TIMEOUT);
    assert_tells(&x, 0, "\"attempts\":1,");
    assert_tells_not(&x, 3, "\"attempts\"");
    fixture_close(&x);

    start(NULL, options("request_timeout=5s", "total_timeout=60ms", "max_conns_per_host=1"));
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_DEADLINE);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_DEADLINE);
    fixture_close(&x);
}

static void deadline_counts_from_the_first_attempt(void **state)
{
    (void)state;
    start(NULL, options("total_timeout=1s"));
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .attempts = 1, .started_us = clock_us() - 940000});
    uint64_t before_us = clock_us();
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_DEADLINE);
    assert_in_range(clock_us() - before_us, 30000, 400000);
    fixture_close(&x);
}

static void task_that_comes_after_its_deadline_ends_at_once(void **state)
{
    (void)state;
    start(NULL, options("total_timeout=1s"));
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .started_us = clock_us() - 5000000});
    fixture_until_told(&x, 1, 500);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_DEADLINE);
    fixture_close(&x);
}

static void answer_that_trickles_is_cut_off_by_the_request_timeout(void **state)
{
    (void)state;
    start("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", options("request_timeout=100ms"));
    fixture_get(&x, host, 1);
    uint64_t until_us = clock_us() + 2000000;
    while (x.told_count == 0 && clock_us() < until_us) {
        fixture_turn(&x);
        if (o->requests && o->peers[0]->fd >= 0)
            peer_say(o->peers[0], "x");
    }
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT);
    fixture_close(&x);
}

static void redirect_goes_back_with_its_place(void **state)
{
    static const char *const statuses[] = {"301", "302", "303", "307", "308"};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        char text[128];
        snprintf(text, sizeof text, "HTTP/1.1 %s X\r\nLocation: /next?x\r\nContent-Length: 2\r\n\r\nhi", statuses[i]);
        start(text, NULL);
        fixture_get(&x, host, 1);
        fixture_until_told(&x, 1, 0);
        assert_outcome(&x, 0, RESULT_REDIRECT, OUTCOME_OK);
        assert_int_equal(fixture_told(&x, 0)->m.status, strtol(statuses[i], NULL, 10));
        assert_non_null(strstr(fixture_told(&x, 0)->text, "/next?x"));
        assert_int_equal(STATS_GET(x.w->page, redirects), 1);
        fixture_close(&x);
    }
}

static void redirect_that_is_none_is_recorded(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 X\r\nLocation:\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 X\r\nLocation: /next\r\n\r\n",
        "HTTP/1.1 300 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 201 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        start(texts[i], NULL);
        fixture_get(&x, host, 1);
        fixture_until_told(&x, 1, 0);
        assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
        fixture_close(&x);
    }
}

static void redirect_to_no_url_fails(void **state)
{
    (void)state;
    start("HTTP/1.1 302 X\r\nLocation: ftp://a.test/\r\nContent-Length: 0\r\n\r\n", NULL);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_INVALID_URL);
    assert_tells(&x, 0, "\"status_code\":302");
    fixture_close(&x);
}

static void redirects_are_not_followed_beyond_the_limit(void **state)
{
    static const uint16_t chain[] = {301, 302, 303};

    (void)state;
    start("HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n", options("max_redirects=3"));
    for (unsigned hops = 2; hops <= 3; hops++)
        fixture_ask(
            &x, host,
            &(struct ask){
                .url = "http://a.test/", .first_url = "http://a.test/first", .chain = chain, .chain_count = hops});
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_REDIRECT, OUTCOME_OK);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_TOO_MANY_REDIRECTS);
    assert_tells(&x, 1, "\"chain_status_codes\":[301,302,303,302]");
    fixture_close(&x);
}

static void no_redirect_is_followed_when_none_is_wanted(void **state)
{
    (void)state;
    start("HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n", options("max_redirects=0"));
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 0, "\"location\":\"/next\"");
    fixture_close(&x);
}

/* Whatever the strings' lengths are: the sanitizer sees a load from an odd address. */
static void chain_is_told_with_the_last_status(void **state)
{
    static const uint16_t chain[] = {301, 308};

    (void)state;
    start(OK_ANSWER, NULL);
    fixture_ask(
        &x, host,
        &(struct ask){.url = "http://a.test/xy", .first_url = "http://a.test/", .chain = chain, .chain_count = 2});
    fixture_ask(
        &x, host,
        &(struct ask){.url = "http://a.test/x", .first_url = "http://a.test/", .chain = chain, .chain_count = 2});
    fixture_until_told(&x, 2, 0);
    assert_tells(&x, 0, "\"chain_status_codes\":[301,308,200]");
    assert_tells(&x, 1, "\"chain_status_codes\":[301,308,200]");
    assert_tells(&x, 1, "\"url\":\"http://a.test/\"");
    assert_tells(&x, 1, "\"final_url\":\"http://a.test/x\"");
    fixture_close(&x);
}

static void rate_limited_answer_is_retried_as_the_server_asks(void **state)
{
    (void)state;
    start("HTTP/1.1 429 X\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n", NULL);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_RATE_LIMITED);
    assert_int_equal(fixture_told(&x, 0)->m.delay_ms, 2000);
    assert_int_equal(fixture_told(&x, 0)->m.host_wait_ms, 2000);
    fixture_close(&x);
}

static void rate_limited_post_is_recorded(void **state)
{
    (void)state;
    start("HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", NULL);
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .method = "POST", .body = ""});
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_RATE_LIMITED);
    assert_tells(&x, 0, "\"status_code\":429");
    fixture_close(&x);
}

/* Expected: a server that asks for more time than a retry may wait is left alone for it all the same, else the other
 * tasks of the host go on; the record carries no wait today (fetch.c, send_record: host_wait_ms = 0). */
static void long_retry_after_holds_the_host_though_the_task_ends(void **state)
{
    (void)state;
    start("HTTP/1.1 503 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n", NULL);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_RATE_LIMITED);
    assert_int_equal(fixture_told(&x, 0)->m.host_wait_ms, 60000);
    fixture_close(&x);
}

static void attempts_of_before_are_counted_on(void **state)
{
    (void)state;
    start(OK_ANSWER, NULL);
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .attempts = 2, .started_us = clock_us() - 1000});
    fixture_until_told(&x, 1, 0);
    assert_tells(&x, 0, "\"attempts\":3,");
    assert_int_equal(STATS_GET(x.w->page, retries), 1);
    fixture_close(&x);
}

static void failure_after_the_last_attempt_is_recorded(void **state)
{
    (void)state;
    start("", NULL);
    o->on_bytes = peer_reset;
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .attempts = 2, .started_us = clock_us()});
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .attempts = 3, .started_us = clock_us()});
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_BROKEN);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN);
    assert_tells(&x, 1, "\"attempts\":4,");
    fixture_close(&x);
}

static void hash_is_of_the_whole_body(void **state)
{
    (void)state;
    start("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", options("hash=true"));
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 2, 0);
    for (uint64_t i = 0; i < 2; i++)
        assert_tells(&x, i, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fixture_close(&x);
}

/* Expected: a digest of a part is no digest of the body; none is told when the body did not come whole. */
static void broken_body_has_no_hash(void **state)
{
    (void)state;
    start("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", options("hash=true", "request_timeout=50ms"));
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT);
    assert_tells_not(&x, 0, "body_sha256");
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(message_that_makes_no_sense_is_no_fetch),
        test(fetches_are_used_again),
        test(few_of_a_burst_of_fetches_are_kept),
        test(request_timeout_total_deadline_and_wait_have_their_own_outcome),
        test(deadline_counts_from_the_first_attempt),
        test(task_that_comes_after_its_deadline_ends_at_once),
        test(answer_that_trickles_is_cut_off_by_the_request_timeout),
        test(redirect_goes_back_with_its_place),
        test(redirect_that_is_none_is_recorded),
        test(redirect_to_no_url_fails),
        test(redirects_are_not_followed_beyond_the_limit),
        test(no_redirect_is_followed_when_none_is_wanted),
        test(chain_is_told_with_the_last_status),
        test(rate_limited_answer_is_retried_as_the_server_asks),
        test(rate_limited_post_is_recorded),
        test(long_retry_after_holds_the_host_though_the_task_ends),
        test(attempts_of_before_are_counted_on),
        test(failure_after_the_last_attempt_is_recorded),
        test(hash_is_of_the_whole_body),
        test(broken_body_has_no_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
