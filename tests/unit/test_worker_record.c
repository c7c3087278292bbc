/* Records of fetches: which keys stand in which case, and what is left out so that a line passes through the ring. */
#include "tests/unit/worker_fixture.h"

#include <jansson.h>
#include <stdio.h>

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *answer;

static void say_it(struct peer *p)
{
    if (!peer_heard(p, "\r\n\r\n"))
        return;
    buffer_clear(&p->in);
    peer_say(p, answer);
}

static void start(const char *text, const char *const *options, uint32_t ring_bytes)
{
    fixture_open(&x, &(struct fixture_plan){.options = options, .record_ring_bytes = ring_bytes});
    o = fixture_origin(&x, ORIGIN_PLAIN);
    answer = text;
    o->on_bytes = say_it;
    host = fixture_host_at(&x, "a.test", o);
}

/* The record of task 0, parsed: one line of valid JSON with its newline at the end. */
static json_t *record(void)
{
    const char *text = fixture_told(&x, 0)->text;
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    if (!json)
        fail_msg("%s: %s", error.text, text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    return json;
}

static const char *text_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static void answered_record_has_the_answer(void **state)
{
    (void)state;
    start("HTTP/1.1 404 Nope\r\nServer: s/1\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc",
          options("timings=true"), 0);
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/p?q", .tag = "{\"k\":[1]}"});
    fixture_until_told(&x, 1, 0);
    json_t *json = record();
    assert_int_equal(json_integer_value(json_object_get(json, "status_code")), 404);
    assert_true(json_is_false(json_object_get(json, "failed")));
    assert_string_equal(text_of(json, "webserver"), "s/1");
    assert_string_equal(text_of(json, "content_type"), "text/plain");
    assert_string_equal(text_of(json, "path"), "/p");
    assert_string_equal(text_of(json, "url"), "http://a.test/p?q");
    assert_string_equal(text_of(json, "input"), "http://a.test/p?q");
    assert_null(json_object_get(json, "final_url"));
    assert_int_equal(json_array_size(json_object_get(json_object_get(json, "tag"), "k")), 1);
    assert_true(json_is_object(json_object_get(json, "timings")));
    json_decref(json);
    fixture_close(&x);
}

static void input_that_differs_from_the_url_is_told_as_it_was(void **state)
{
    (void)state;
    start("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL, 0);
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .input = "HTTP://A.test\t\"\\"});
    fixture_until_told(&x, 1, 0);
    json_t *json = record();
    assert_string_equal(text_of(json, "input"), "HTTP://A.test\t\"\\");
    json_decref(json);
    fixture_close(&x);
}

static void fields_of_hostile_bytes_make_a_valid_line(void **state)
{
    (void)state;
    start("HTTP/1.1 200 OK\r\nServer: \"\\\xff\xfe\x80\xed\xa0\x80\r\nContent-Type: \xc3\x28\r\nContent-Length: "
          "0\r\n\r\n",
          NULL, 0);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    json_decref(record());
    fixture_close(&x);
}

static void fields_of_a_failed_head_are_not_told(void **state)
{
    (void)state;
    start("HTTP/1.1 200 OK\r\nServer: half\r\nContent-Le", options("request_timeout=50ms"), 0);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_REQUEST_TIMEOUT);
    assert_tells_not(&x, 0, "half");
    assert_tells_not(&x, 0, "status_code");
    fixture_close(&x);
}

static void long_parts_are_left_out_when_the_ring_is_small(void **state)
{
    static char text[20000];
    int len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nServer: %08000d\r\nContent-Length: 0\r\n\r\n", 1);

    (void)state;
    assert_true(len > 0 && (size_t)len < sizeof text);
    start(text, NULL, 8192);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    json_t *json = record();
    assert_null(json_object_get(json, "webserver"));
    assert_true(json_is_true(json_object_get(json, "input_truncated")));
    assert_int_equal(json_integer_value(json_object_get(json, "status_code")), 200);
    json_decref(json);
    fixture_close(&x);
}

/* The longest line and the longest answer that the default options let through, quotes and backslashes everywhere. */
static void largest_line_and_answer_pass_through_the_ring(void **state)
{
    static char tag[65000], url[65000], text[65000];
    char input[65000];

    (void)state;
    memset(tag, 't', sizeof tag - 1);
    tag[0] = tag[sizeof tag - 2] = '"';
    memset(url, '\\', sizeof url - 1);
    fixture_put(url, "http://a.test/?");
    memset(input, 1, sizeof input - 1);
    input[sizeof input - 1] = '\0';
    memset(text, '"', sizeof text - 1);
    fixture_put(text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: ");
    memcpy(text + sizeof text - 5, "\r\n\r\n", 5);
    start(text, options("request_timeout=5s"), 0);
    fixture_ask(&x, host, &(struct ask){.url = url, .first_url = url, .input = input, .tag = tag});
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    json_decref(record());
    fixture_close(&x);
}

/* A Location may be as long as max_header allows. What is told of it must pass through the ring, else it stands at the
 * head of the unsent results for ever. */
static void location_larger_than_the_ring_does_not_stop_the_worker(void **state)
{
    static char text[700000] = "HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: /";
    size_t len = strlen(text);

    (void)state;
    for (; len < 600000; len++)
        text[len] = '\t';
    memcpy(text + len, "x\r\n\r\n", 6);
    start(text, options("max_header=1M"), 0);
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_INVALID_URL);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_INVALID_URL);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(answered_record_has_the_answer),
        test(input_that_differs_from_the_url_is_told_as_it_was),
        test(fields_of_hostile_bytes_make_a_valid_line),
        test(fields_of_a_failed_head_are_not_told),
        test(long_parts_are_left_out_when_the_ring_is_small),
        test(largest_line_and_answer_pass_through_the_ring),
        test(location_larger_than_the_ring_does_not_stop_the_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
