/* What is kept of an answer: the few fields, Retry-After in its forms, the body's cap. No connection is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/answer.h"

static struct worker *w;
static struct fetch f;

static int setup(void **state)
{
    (void)state;
    w = calloc(1, sizeof *w);
    options_init(&w->options);
    f = (struct fetch){.worker = w};
    answer_reset(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buffer_fini(&f.meta);
    EVP_MD_CTX_free(f.digest);
    options_fini(&w->options);
    free(w);
    return 0;
}

static void field(const char *name, const char *value)
{
    fetch_on_field(&f, name, strlen(name), value, strlen(value));
}

static void assert_kept(struct meta_span span, const char *expected)
{
    assert_int_equal(span.present, expected != NULL);
    if (!expected)
        return;
    assert_int_equal(span.len, strlen(expected));
    if (span.len)
        assert_memory_equal(f.meta.data + span.offset, expected, span.len);
}

static void known_fields_are_kept_in_any_case(void **state)
{
    (void)state;
    field("SERVER", "nginx");
    field("Content-type", "text/html");
    field("location", "/x");
    field("Set-Cookie", "a=1");
    field("Serves", "no");
    assert_kept(f.webserver, "nginx");
    assert_kept(f.content_type, "text/html");
    assert_kept(f.location, "/x");
    assert_int_equal(f.meta.len, 5 + 9 + 2);
}

static void first_of_several_wins(void **state)
{
    (void)state;
    field("Location", "/first");
    field("Location", "/second");
    assert_kept(f.location, "/first");
    field("Server", "");
    field("Server", "late");
    assert_kept(f.webserver, "");
}

static void absent_fields_are_absent_after_a_reset(void **state)
{
    (void)state;
    field("Location", "/x");
    field("Retry-After", "5");
    fetch_on_status(&f, 302);
    answer_reset(&f);
    assert_kept(f.location, NULL);
    assert_int_equal(f.status, 0);
    assert_int_equal(f.retry_after_ms, 0);
    assert_int_equal(f.content_length, -1);
    assert_false(answer_redirects(&f));
}

static uint32_t retry_after(const char *value)
{
    answer_reset(&f);
    field("Retry-After", value);
    return f.retry_after_ms;
}

static void retry_after_in_seconds_is_read_and_capped(void **state)
{
    (void)state;
    assert_int_equal(retry_after("0"), 0);
    assert_int_equal(retry_after("1"), 1000);
    assert_int_equal(retry_after("86399"), 86399000);
    assert_int_equal(retry_after("86400"), 86400000);
    assert_int_equal(retry_after("86401"), 86400000);
    assert_int_equal(retry_after("4294968"), 86400000);
    assert_int_equal(retry_after("99999999999999999999999999999999999999999"), 86400000);
}

static void retry_after_that_is_no_time_is_none(void **state)
{
    static const char *const none[] = {"",
                                       "-1",
                                       "soon",
                                       "12 s",
                                       "1.5",
                                       "Tomorrow",
                                       "Mon, 32 Feb 2026 00:00:00 GMT",
                                       "0x10",
                                       "5,6",
                                       "000000000000000000000000000000000000000000000000000000000000000000000000001"};

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(retry_after(none[i]), 0);
}

static void retry_after_as_a_date_is_the_time_until_then(void **state)
{
    char text[64];
    time_t then = time(NULL) + 100;
    struct tm tm;

    (void)state;
    gmtime_r(&then, &tm);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    assert_in_range(retry_after(text), 98000, 100000);
    assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
}

static void length_is_kept_if_it_is_a_number(void **state)
{
    (void)state;
    field("Content-Length", "0");
    assert_int_equal(f.content_length, 0);
    field("Content-Length", "999999999999999999");
    assert_int_equal(f.content_length, INT64_C(999999999999999999));
    field("Content-Length", "12a");
    assert_int_equal(f.content_length, -1);
}

static void body_is_counted_up_to_its_cap(void **state)
{
    (void)state;
    w->options.max_body = 10;
    fetch_on_head(&f, 20);
    assert_true(fetch_on_body(&f, "0123", 4));
    assert_true(fetch_on_body(&f, "456789", 6));
    assert_false(f.truncated);
    assert_false(fetch_on_body(&f, "x", 1));
    assert_true(f.truncated);
    assert_int_equal(f.body_bytes, 10);
    assert_int_equal(f.content_length, 20);
}

static void cap_of_nothing_cuts_the_first_byte(void **state)
{
    (void)state;
    w->options.max_body = 0;
    fetch_on_head(&f, -1);
    assert_true(fetch_on_body(&f, "", 0));
    assert_false(fetch_on_body(&f, "x", 1));
    assert_int_equal(f.body_bytes, 0);
}

static void only_redirects_with_a_place_redirect(void **state)
{
    (void)state;
    for (unsigned status = 100; status < 1000; status++) {
        bool is = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
        answer_reset(&f);
        fetch_on_status(&f, status);
        assert_false(answer_redirects(&f));
        field("Location", "/x");
        assert_int_equal(answer_redirects(&f), is);
    }
    assert_int_equal(answer_location(&f).len, 2);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(known_fields_are_kept_in_any_case),      test(first_of_several_wins),
        test(absent_fields_are_absent_after_a_reset), test(retry_after_in_seconds_is_read_and_capped),
        test(retry_after_that_is_no_time_is_none),    test(retry_after_as_a_date_is_the_time_until_then),
        test(length_is_kept_if_it_is_a_number),       test(body_is_counted_up_to_its_cap),
        test(cap_of_nothing_cuts_the_first_byte),     test(only_redirects_with_a_place_redirect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
