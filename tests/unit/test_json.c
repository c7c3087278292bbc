/* JSON as it is written; what other readers make of it is asked of jansson. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

static struct buffer out;

#define assert_out(text)                              \
    do {                                              \
        assert_int_equal(out.len, strlen(text));      \
        assert_memory_equal(out.data, text, out.len); \
    } while (0)

static void put(const char *text, size_t len)
{
    buffer_clear(&out);
    json_put_string(&out, text, len);
}

#define assert_string_put(text, expected) \
    do {                                  \
        put("" text, sizeof(text) - 1);   \
        assert_out(expected);             \
    } while (0)

static void plain_text_is_put_between_quotes(void **state)
{
    (void)state;
    assert_string_put("", "\"\"");
    assert_string_put("a", "\"a\"");
    assert_string_put("https://example.com/a?b=c&d='e'<f>", "\"https://example.com/a?b=c&d='e'<f>\"");
    assert_string_put("\x7f", "\"\x7f\"");
}

static void quotes_backslashes_and_controls_are_escaped(void **state)
{
    (void)state;
    assert_string_put("\"", "\"\\\"\"");
    assert_string_put("a\\b", "\"a\\\\b\"");
    assert_string_put("\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\"");
    assert_string_put("\0\x01\x0b\x1f", "\"\\u0000\\u0001\\u000b\\u001f\"");
}

static void every_byte_is_found_at_every_place_of_a_word(void **state)
{
    (void)state;
    char text[24];

    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < sizeof text; at++) {
            memset(text, 'x', sizeof text);
            text[at] = (char)byte;
            put(text, sizeof text);
            json_t *value = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            assert_non_null(value);
            if (byte < 0x80) {
                assert_int_equal(json_string_length(value), sizeof text);
                assert_memory_equal(json_string_value(value), text, sizeof text);
            } else {
                char escape[5];
                snprintf(escape, sizeof escape, "\\x%02x", byte);
                assert_int_equal(json_string_length(value), sizeof text + 3);
                assert_memory_equal(json_string_value(value) + at, escape, 4);
            }
            json_decref(value);
        }
    }
}

static void valid_utf8_is_left_alone(void **state)
{
    (void)state;
    assert_string_put("\u00e4\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff",
                      "\"\u00e4\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff\"");
    assert_string_put("a\u00e4\"\u4f60\n", "\"a\u00e4\\\"\u4f60\\n\"");
}

static void bytes_that_are_not_utf8_are_written_in_hexadecimal(void **state)
{
    (void)state;
    assert_string_put("\x80", "\"\\\\x80\"");
    assert_string_put("a\xff\xfe"
                      "b",
                      "\"a\\\\xff\\\\xfeb\"");
    assert_string_put("\xc0\x80", "\"\\\\xc0\\\\x80\"");                            /* overlong */
    assert_string_put("\xc1\xbf", "\"\\\\xc1\\\\xbf\"");                            /* overlong */
    assert_string_put("\xe0\x9f\xbf", "\"\\\\xe0\\\\x9f\\\\xbf\"");                 /* overlong */
    assert_string_put("\xf0\x8f\xbf\xbf", "\"\\\\xf0\\\\x8f\\\\xbf\\\\xbf\"");      /* overlong */
    assert_string_put("\xed\xa0\x80", "\"\\\\xed\\\\xa0\\\\x80\"");                 /* surrogate */
    assert_string_put("\xf4\x90\x80\x80", "\"\\\\xf4\\\\x90\\\\x80\\\\x80\"");      /* above U+10FFFF */
    assert_string_put("\xf5\x80\x80\x80", "\"\\\\xf5\\\\x80\\\\x80\\\\x80\"");      /* above U+10FFFF */
    assert_string_put("\xc3", "\"\\\\xc3\"");                                       /* cut off */
    assert_string_put("\xe4\xbd", "\"\\\\xe4\\\\xbd\"");                            /* cut off */
    assert_string_put("\xe4\xbd\x41", "\"\\\\xe4\\\\xbd\x41\"");                    /* broken off */
    assert_string_put("\xf0\x9f\x92\xc3\xa4", "\"\\\\xf0\\\\x9f\\\\x92\xc3\xa4\""); /* broken off, then a good one */
}

static void worst_case_text_of_any_length_fits(void **state)
{
    (void)state;
    static const char bytes[] = {'\x01', '\xff', '"', 'a'};
    static char text[3000];

    for (size_t b = 0; b < sizeof bytes; b++) {
        memset(text, bytes[b], sizeof text);
        for (size_t len = 0; len < sizeof text; len += 97) {
            struct buffer fresh = {0};
            json_put_string(&fresh, text, len);
            json_t *value = json_loadb(fresh.data, fresh.len, JSON_DECODE_ANY, NULL);
            assert_non_null(value);
            json_decref(value);
            buffer_fini(&fresh);
        }
    }
}

static void numbers_are_written_in_full(void **state)
{
    (void)state;
    static const uint64_t edges[] = {0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 12345, 4294967296, UINT64_MAX};
    static const int64_t signed_edges[] = {0, -1, 1, -99, INT64_MAX, INT64_MIN};
    char text[32];

    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)edges[i]);
        buffer_clear(&out);
        json_put_uint(&out, edges[i]);
        assert_out(text);
    }
    for (uint64_t n = 0; n < 2000; n++) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)n);
        buffer_clear(&out);
        json_put_uint(&out, n);
        assert_out(text);
    }
    for (size_t i = 0; i < sizeof signed_edges / sizeof signed_edges[0]; i++) {
        snprintf(text, sizeof text, "%lld", (long long)signed_edges[i]);
        buffer_clear(&out);
        json_put_int(&out, signed_edges[i]);
        assert_out(text);
    }
}

static void milliseconds_have_three_decimals(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } rows[] = {{0, "0.000"},    {1, "0.001"},      {10, "0.010"},         {999, "0.999"},
                {1000, "1.000"}, {12345, "12.345"}, {1000010, "1000.010"}, {UINT64_MAX, "18446744073709551.615"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buffer_clear(&out);
        json_put_ms(&out, rows[i].us);
        assert_out(rows[i].text);
    }
}

static void members_are_separated_by_commas(void **state)
{
    (void)state;
    buffer_clear(&out);
    json_open(&out);
    json_member_string(&out, "a", "x,{", 3);
    json_member_int(&out, "b", -5);
    json_key(&out, "c");
    json_open(&out);
    json_member_bool(&out, "d", true);
    json_member_uint(&out, "e", 7);
    json_close(&out);
    json_key(&out, "f");
    json_open(&out);
    json_close(&out);
    json_member_string(&out, "g", "{", 1);
    json_member_bool(&out, "h", false);
    json_close(&out);
    assert_out("{\"a\":\"x,{\",\"b\":-5,\"c\":{\"d\":true,\"e\":7},\"f\":{},\"g\":\"{\",\"h\":false}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_is_put_between_quotes),
        cmocka_unit_test(quotes_backslashes_and_controls_are_escaped),
        cmocka_unit_test(every_byte_is_found_at_every_place_of_a_word),
        cmocka_unit_test(valid_utf8_is_left_alone),
        cmocka_unit_test(bytes_that_are_not_utf8_are_written_in_hexadecimal),
        cmocka_unit_test(worst_case_text_of_any_length_fits),
        cmocka_unit_test(numbers_are_written_in_full),
        cmocka_unit_test(milliseconds_have_three_decimals),
        cmocka_unit_test(members_are_separated_by_commas),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    buffer_fini(&out);
    return failed;
}
