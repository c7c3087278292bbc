/* Input lines: what plain and JSON lines ask for, and the reason that each bad one is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/input.h"
#include "common/profile_set.h"

static struct input_line line;

static const char *refusal(const char *text, size_t len)
{
    const char *reason = NULL;
    enum outcome outcome = input_line_parse(text, len, &line, &reason);

    if (outcome == OUTCOME_OK)
        return "accepted";
    assert_int_equal(outcome, OUTCOME_INVALID_URL);
    assert_null(line.url);
    return reason;
}

static void accept(const char *text)
{
    const char *reason = NULL;

    if (input_line_parse(text, strlen(text), &line, &reason) != OUTCOME_OK)
        fail_msg("%s: %s", text, reason);
    assert_null(reason);
}

static void assert_span(const char *text, size_t len, const char *expected)
{
    if (!expected) {
        assert_null(text);
        assert_int_equal(len, 0);
        return;
    }
    assert_non_null(text);
    if (len != strlen(expected) || memcmp(text, expected, len) != 0)
        fail_msg("\"%.*s\" instead of \"%s\"", (int)len, text, expected);
}

static void plain_line_is_lent_without_a_copy(void **state)
{
    (void)state;
    struct input_line fresh = {0};
    static const char text[] = " http://example.com/{a}\r";
    const char *reason;

    assert_int_equal(input_line_parse(text, strlen(text), &fresh, &reason), OUTCOME_OK);
    assert_ptr_equal(fresh.url, text);
    assert_int_equal(fresh.url_len, strlen(text) - 1);
    assert_null(fresh.hold.data);
    assert_span(fresh.method, fresh.method_len, NULL);
    assert_span(fresh.headers, fresh.headers_len, NULL);
    assert_span(fresh.body, fresh.body_len, NULL);
    assert_span(fresh.ip, fresh.ip_len, NULL);
    assert_span(fresh.tag, fresh.tag_len, NULL);
}

static void only_one_carriage_return_is_dropped(void **state)
{
    (void)state;
    accept("http://a/\r\r");
    assert_int_equal(line.url_len, 10);
}

static void empty_line_is_refused(void **state)
{
    (void)state;
    assert_string_equal(refusal("", 0), "the line is empty");
    assert_string_equal(refusal("\r", 1), "the line is empty");
    assert_string_equal(refusal(" \t \r", 4), "the line is empty");
}

static void json_line_is_read_in_full(void **state)
{
    (void)state;
    accept("  {\"tag\": {\"id\": [1, 2.5, \"\\u00e4\"]}, \"url\": \"http://a/\\u00e4\", \"method\": \"PUT\",\t"
           "\"headers\": {\"X-One\": \"1\", \"X-Two\": [\"a\", \" b\\t\"], \"X-Empty\": \"\"}, "
           "\"body\": \"x\\ny\", \"ip\": [\"192.0.2.1\", \"[2001:DB8::1]\"]} \r");
    assert_span(line.url, line.url_len, "http://a/\u00e4");
    assert_span(line.method, line.method_len, "PUT");
    assert_span(line.headers, line.headers_len, "X-One: 1\r\nX-Two: a\r\nX-Two: b\r\nX-Empty: \r\n");
    assert_span(line.body, line.body_len, "x\ny");
    assert_span(line.ip, line.ip_len, "192.0.2.1,2001:db8::1");
    assert_span(line.tag, line.tag_len, "{\"id\":[1,2.5,\"\u00e4\"]}");
}

static void nothing_is_kept_from_the_line_before(void **state)
{
    (void)state;
    accept(
        "{\"url\":\"http://a/\",\"method\":\"GET\",\"headers\":{\"a\":\"b\"},\"body\":\"c\",\"ip\":\"::1\",\"tag\":1}");
    assert_span(line.ip, line.ip_len, "::1");
    accept("{\"url\":\"http://b/\"}");
    assert_span(line.url, line.url_len, "http://b/");
    assert_span(line.method, line.method_len, NULL);
    assert_span(line.headers, line.headers_len, NULL);
    assert_span(line.body, line.body_len, NULL);
    assert_span(line.ip, line.ip_len, NULL);
    assert_span(line.tag, line.tag_len, NULL);
}

static void body_without_method_leaves_the_method_to_the_caller(void **state)
{
    (void)state;
    accept("{\"url\":\"http://a/\",\"body\":\"\"}");
    assert_span(line.body, line.body_len, "");
    assert_span(line.method, line.method_len, NULL);
}

static void body_may_hold_a_nul_byte(void **state)
{
    (void)state;
    accept("{\"url\":\"http://a/\",\"body\":\"a\\u0000b\"}");
    assert_int_equal(line.body_len, 3);
    assert_memory_equal(line.body, "a\0b", 3);
}

static void validate_is_a_switch_that_is_off(void **state)
{
    (void)state;
    accept("{\"url\":\"http://a/\",\"validate\":true}");
    assert_true(line.validate);
    accept("{\"url\":\"http://a/\",\"validate\":false}");
    assert_false(line.validate);
    accept("{\"validate\":true,\"url\":\"http://a/\"}");
    assert_true(line.validate);
    accept("http://a/");
    assert_false(line.validate);
    static const char bad[] = "{\"url\":\"http://a/\",\"validate\":1}";
    assert_string_equal(refusal(bad, sizeof bad - 1), "\"validate\": true or false is expected");
}

static void profile_is_a_selection_that_there_is(void **state)
{
    static const char bad[] = "{\"url\":\"http://a/\",\"profile\":\"recomended\"}";
    static const char number[] = "{\"url\":\"http://a/\",\"profile\":1}";

    (void)state;
    accept("{\"profile\":\"browser=firefox\",\"url\":\"http://a/\"}");
    assert_int_equal(line.profile, profile_set_find("browser=firefox", 15));
    assert_int_not_equal(line.profile, 0);
    accept("{\"url\":\"http://a/\"}");
    assert_int_equal(line.profile, 0);
    accept("http://a/");
    assert_int_equal(line.profile, 0);
    assert_string_equal(refusal(bad, sizeof bad - 1),
                        "\"profile\": \"recomended\" is no profile; did you mean recommended");
    assert_string_equal(refusal(number, sizeof number - 1), "\"profile\": a string is expected");
}

static void tag_is_echoed_as_compact_json(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"null", "null"},
        {"true", "true"},
        {" \"a\\/\\u00e4\\u0000\" ", "\"a/\u00e4\\u0000\""},
        {"9223372036854775807", "9223372036854775807"},
        {"0.1", "0.1"},
        {"1.5e3", "1500.0"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"[ ]", "[]"},
        {"{ \"z\" : 1 , \"a\" : { } }", "{\"z\":1,\"a\":{}}"},
    };
    char text[128];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "{\"url\":\"http://a/\",\"tag\":%s}", rows[i][0]);
        accept(text);
        assert_span(line.tag, line.tag_len, rows[i][1]);
    }
}

static void tag_of_4096_bytes_is_the_longest(void **state)
{
    (void)state;
    static char text[5000] = "{\"url\":\"http://a/\",\"tag\":\"";
    size_t start = strlen(text);

    memset(text + start, 'x', 4095);
    memcpy(text + start + 4094, "\"}", 3);
    accept(text);
    assert_int_equal(line.tag_len, 4096);
    memcpy(text + start + 4094, "x\"}", 4);
    assert_string_equal(refusal(text, strlen(text)), "\"tag\": longer than 4096 bytes");
}

static void method_of_64_bytes_is_the_longest(void **state)
{
    (void)state;
    char text[128];

    snprintf(text, sizeof text, "{\"url\":\"http://a/\",\"method\":\"%064d\"}", 1);
    accept(text);
    assert_int_equal(line.method_len, 64);
    snprintf(text, sizeof text, "{\"url\":\"http://a/\",\"method\":\"%065d\"}", 1);
    assert_string_equal(refusal(text, strlen(text)), "\"method\": longer than 64 bytes");
}

static void headers_cannot_outgrow_their_limit_by_repetition(void **state)
{
    (void)state;
    static char text[20000];
    size_t len = (size_t)snprintf(text, sizeof text, "{\"url\":\"http://a/\",\"headers\":{\"%04000d\":[\"\"", 1);

    for (int i = 0; i < 20; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, ",\"\"");
    snprintf(text + len, sizeof text - len, "]}}");
    assert_string_equal(refusal(text, strlen(text)), "\"headers\": longer than 65536 bytes");
}

#define LINE(rest) "{\"url\":\"http://a/\"," rest "}"

static void bad_json_line_is_refused_with_its_reason(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{", "invalid JSON at column 1: string or '}' expected near end of file"},
        {"{\"url\":\"a\"", "invalid JSON at column 10: '}' expected near end of file"},
        {"{\"url\":\"a\"}x", "invalid JSON at column 12: end of file expected near 'x'"},
        {"{\"url\":\"a\",\"url\":\"b\"}", "invalid JSON at column 16: duplicate object key near '\"url\"'"},
        {"{\"url\":\"\xff\"}", "invalid JSON at column 8: unable to decode byte 0xff near '\"'"},
        {"{\"url\":1e999}", "invalid JSON at column 12: real number overflow near '1e999'"},
        {"{}", "the key \"url\" is missing"},
        {"{\"method\":\"GET\"}", "the key \"url\" is missing"},
        {"{\"url\":1}", "\"url\": a string is expected"},
        {"{\"url\":null}", "\"url\": a string is expected"},
        {LINE("\"metod\":\"GET\""), "unknown key \"metod\""},
        {LINE("\"URL\":\"x\""), "unknown key \"URL\""},
        {LINE("\"a123456789b123456789c123456789d12345678\u00e4\":1"),
         "unknown key \"a123456789b123456789c123456789d12345678\""},
        {LINE("\"method\":1"), "\"method\": a string is expected"},
        {LINE("\"method\":\"\""), "\"method\": not a token"},
        {LINE("\"method\":\"GET /\""), "\"method\": not a token"},
        {LINE("\"method\":\"G\\u0000\""), "\"method\": not a token"},
        {LINE("\"method\":\"CONNECT\""), "\"method\": CONNECT asks for a tunnel and is not supported"},
        {LINE("\"body\":{}"), "\"body\": a string is expected"},
        {LINE("\"headers\":[]"), "\"headers\": an object is expected"},
        {LINE("\"headers\":{\"\":\"x\"}"), "\"headers\": \"\" is not a header name"},
        {LINE("\"headers\":{\"a b\":\"x\"}"), "\"headers\": \"a b\" is not a header name"},
        {LINE("\"headers\":{\":path\":\"x\"}"), "\"headers\": \":path\" is not a header name"},
        {LINE("\"headers\":{\"a\":1}"), "\"headers\": \"a\": a string or an array of strings is expected"},
        {LINE("\"headers\":{\"a\":[\"b\",[]]}"), "\"headers\": \"a\": a string or an array of strings is expected"},
        {LINE("\"headers\":{\"a\":\"b\\r\\nc: d\"}"), "\"headers\": \"a\": a value has a newline"},
        {LINE("\"headers\":{\"a\":[\"b\",\"c\\n\"]}"), "\"headers\": \"a\": a value has a newline"},
        {LINE("\"headers\":{\"a\":\"b\\u0000\"}"), "\"headers\": \"a\": a value has a control character"},
        {LINE("\"headers\":{\"a\":\"b\\u007f\"}"), "\"headers\": \"a\": a value has a control character"},
        {LINE("\"headers\":{\"Host\":\"b\"}"), "\"headers\": \"Host\" follows from the URL and cannot be given"},
        {LINE("\"ip\":1"), "\"ip\": a string or an array of strings is expected"},
        {LINE("\"ip\":[\"1.2.3.4\",1]"), "\"ip\": a string or an array of strings is expected"},
        {LINE("\"ip\":[]"), "\"ip\": the array is empty"},
        {LINE("\"ip\":\"1.2.3.256\""), "\"ip\": \"1.2.3.256\" is not an IP address"},
        {LINE("\"ip\":\"1.2.3.4,1.2.3.5\""), "\"ip\": \"1.2.3.4,1.2.3.5\" is not an IP address"},
        {LINE("\"ip\":\"1.2.3.4\\u0000\""), "\"ip\": \"1.2.3.4\" is not an IP address"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(refusal(rows[i][0], strlen(rows[i][0])), rows[i][1]);
}

static void headers_of_the_connection_cannot_be_given(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "Connection", "Content-Length",    "Expect",  "HTTP2-Settings", "Keep-Alive", "Proxy-Connection", "TE",
        "trailer",    "TRANSFER-ENCODING", "Upgrade",
    };
    char text[128];
    char want[128];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, LINE("\"headers\":{\"%s\":\"x\"}"), rows[i]);
        snprintf(want, sizeof want, "\"headers\": \"%s\" is set by hotfleet itself and cannot be given", rows[i]);
        assert_string_equal(refusal(text, strlen(text)), want);
    }
}

static void nul_byte_in_a_json_line_is_refused(void **state)
{
    (void)state;
    assert_non_null(strstr(refusal("{\"url\":\"a\"}\0", 12), "invalid JSON"));
    assert_non_null(strstr(refusal("{\"u\\u0000\":\"a\"}", 15), "invalid JSON"));
}

static void deep_nesting_is_refused_not_followed(void **state)
{
    (void)state;
    static char text[200000] = LINE("\"tag\":");
    size_t start = strlen(text) - 1;

    memset(text + start, '[', sizeof text - start);
    assert_non_null(strstr(refusal(text, sizeof text), "maximum parsing depth reached"));
    for (size_t depth = 2000; depth <= 2040; depth += 40) {
        memset(text + start, '[', depth);
        memset(text + start + depth, ']', depth);
        memcpy(text + start + 2 * depth, "}", 2);
        assert_string_equal(refusal(text, strlen(text)), "accepted");
        assert_int_equal(line.tag_len, 2 * depth);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_line_is_lent_without_a_copy),
        cmocka_unit_test(only_one_carriage_return_is_dropped),
        cmocka_unit_test(empty_line_is_refused),
        cmocka_unit_test(json_line_is_read_in_full),
        cmocka_unit_test(nothing_is_kept_from_the_line_before),
        cmocka_unit_test(body_without_method_leaves_the_method_to_the_caller),
        cmocka_unit_test(body_may_hold_a_nul_byte),
        cmocka_unit_test(validate_is_a_switch_that_is_off),
        cmocka_unit_test(profile_is_a_selection_that_there_is),
        cmocka_unit_test(tag_is_echoed_as_compact_json),
        cmocka_unit_test(tag_of_4096_bytes_is_the_longest),
        cmocka_unit_test(method_of_64_bytes_is_the_longest),
        cmocka_unit_test(headers_cannot_outgrow_their_limit_by_repetition),
        cmocka_unit_test(bad_json_line_is_refused_with_its_reason),
        cmocka_unit_test(headers_of_the_connection_cannot_be_given),
        cmocka_unit_test(nul_byte_in_a_json_line_is_refused),
        cmocka_unit_test(deep_nesting_is_refused_not_followed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    input_line_fini(&line);
    return failed;
}
