/* What is sent: methods, targets, fields and bodies, for HTTP/1.1 byte by byte and for HTTP/2 field by field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/url.h"
#include "shm/task.h"
#include "worker/conn.h"
#include "worker/fetch.h"
#include "worker/request.h"

static struct options o;
static struct request_defaults d;
static struct fetch f;
static struct buffer url_text, out, scratch;

static int setup(void **state)
{
    (void)state;
    options_init(&o);
    memset(&d, 0, sizeof d);
    memset(&f, 0, sizeof f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    request_defaults_fini(&d);
    options_fini(&o);
    buffer_fini(&url_text);
    buffer_fini(&out);
    buffer_fini(&scratch);
    url_text = out = scratch = (struct buffer){0};
    return 0;
}

static void set(const char *name, const char *value)
{
    struct options_error error;

    if (!options_set(&o, name, value, "test", &error))
        fail_msg("%s", error.message);
}

static struct span span(const char *text)
{
    return (struct span){text, strlen(text)};
}

static void start(const char *url)
{
    const char *reason = "";

    assert_true(request_defaults_init(&d, &o, &reason));
    assert_int_equal(url_parse(url, strlen(url), NULL, &url_text, &f.url, &reason), OUTCOME_OK);
}

static void assert_h1(const char *expected)
{
    buffer_clear(&out);
    request_put_h1(&d, &f, &out);
    buffer_append_char(&out, '\0');
    assert_string_equal(out.data, expected);
}

/* The fields as text, "name: value\n" each. */
static const char *h2_text(void)
{
    nghttp2_nv fields[REQUEST_FIELDS_MAX + 6];
    size_t count = request_fill_h2(&d, &f, &scratch, fields);

    assert_in_range(count, 4, REQUEST_FIELDS_MAX + 6);
    buffer_clear(&out);
    for (size_t i = 0; i < count; i++) {
        buffer_append(&out, fields[i].name, fields[i].namelen);
        buffer_append_str(&out, ": ");
        buffer_append(&out, fields[i].value, fields[i].valuelen);
        buffer_append_char(&out, '\n');
    }
    buffer_append_char(&out, '\0');
    return out.data;
}

#define AGENT "User-Agent: hotfleet/" HOTFLEET_VERSION "\r\nAccept: */*\r\n"

static void plain_get_has_host_agent_and_accept(void **state)
{
    (void)state;
    start("http://a.test/x?y#z");
    assert_h1("GET /x?y HTTP/1.1\r\nHost: a.test\r\n" AGENT "\r\n");
    assert_string_equal(h2_text(), ":method: GET\n:scheme: http\n:authority: a.test\n:path: /x?y\n"
                                   "user-agent: hotfleet/" HOTFLEET_VERSION "\naccept: */*\n");
}

static struct request_defaults base;

static void start_profile(const char *profile)
{
    start("https://a.test/x");
    base = d;
    request_defaults_for(&d, &base, &o, profile_find(profile));
}

static void profile_gives_fields_and_pseudo_headers_in_its_order(void **state)
{
    (void)state;
    set("header", "X-Own: 1");
    set("header", "sec-fetch-site: cross-site");
    set("user_agent", "mine");
    start_profile("safari-17-macos");
    assert_h1("GET /x HTTP/1.1\r\nHost: a.test\r\n"
              "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
              "sec-fetch-site: cross-site\r\nAccept-Encoding: gzip, deflate, br\r\nSec-Fetch-Mode: navigate\r\n"
              "User-Agent: mine\r\nAccept-Language: en-US,en;q=0.9\r\nSec-Fetch-Dest: document\r\nX-Own: 1\r\n\r\n");
    assert_string_equal(h2_text(),
                        ":method: GET\n:scheme: https\n:path: /x\n:authority: a.test\n"
                        "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\n"
                        "sec-fetch-site: cross-site\naccept-encoding: gzip, deflate, br\nsec-fetch-mode: navigate\n"
                        "user-agent: mine\naccept-language: en-US,en;q=0.9\nsec-fetch-dest: document\nx-own: 1\n");
    request_defaults_fini(&base);
}

static void languages_are_the_connections_in_the_profiles_place(void **state)
{
    struct conn conn = {.language = "sv,da;q=0.9", .language_len = 11};

    (void)state;
    set("header", "Cookie: a=b");
    start_profile("ios-12-iphone");
    f.conn = &conn;
    for (unsigned crossed = 0; crossed < 2; crossed++) {
        f.m.flags = crossed ? TASK_CROSSED : 0;
        for (unsigned own = 0; own < 2; own++) {
            f.headers = own ? span("X-Own: 1\r\n") : (struct span){0};
            buffer_clear(&out);
            request_put_h1(&d, &f, &out);
            buffer_append_char(&out, '\0');
            assert_non_null(strstr(out.data, "*/*;q=0.8\r\nAccept-Language: sv,da;q=0.9\r\nAccept-Encoding: "));
            assert_int_equal(strstr(out.data, "Cookie: a=b\r\n") != NULL, !crossed);
            assert_non_null(strstr(h2_text(), "\naccept-language: sv,da;q=0.9\naccept-encoding: "));
        }
    }
    f.headers = span("accept-language: tlh\r\n");
    buffer_clear(&out);
    request_put_h1(&d, &f, &out);
    buffer_append_char(&out, '\0');
    assert_null(strstr(out.data, "sv,da"));
    assert_non_null(strstr(out.data, "accept-language: tlh\r\n"));
    assert_null(strstr(h2_text(), "sv,da"));
    request_defaults_fini(&base);
}

static void languages_that_an_option_gives_win(void **state)
{
    struct conn conn = {.language = "sv,da;q=0.9", .language_len = 11};

    (void)state;
    set("header", "Accept-Language: tlh");
    start_profile("ios-12-iphone");
    f.conn = &conn;
    buffer_clear(&out);
    request_put_h1(&d, &f, &out);
    buffer_append_char(&out, '\0');
    assert_null(strstr(out.data, "sv,da"));
    assert_non_null(strstr(out.data, "*/*;q=0.8\r\nAccept-Language: tlh\r\nAccept-Encoding: "));
    assert_null(strstr(h2_text(), "sv,da"));
    request_defaults_fini(&base);
}

static void port_stands_in_host_unless_it_is_the_schemes_own(void **state)
{
    (void)state;
    start("https://a.test:8443/");
    assert_h1("GET / HTTP/1.1\r\nHost: a.test:8443\r\n" AGENT "\r\n");
    assert_non_null(strstr(h2_text(), ":scheme: https\n:authority: a.test:8443\n"));
    request_defaults_fini(&d);
    start("https://[2001:db8::1]:443/");
    assert_h1("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n" AGENT "\r\n");
}

static void target_can_hold_no_blank_and_no_line_end(void **state)
{
    (void)state;
    start("http://a.test/a b%0d%0aX: y\r\n?q=\x01\"<>");
    assert_h1("GET /a%20b%0d%0aX:%20y?q=%01%22%3C%3E HTTP/1.1\r\nHost: a.test\r\n" AGENT "\r\n");
}

static void option_headers_replace_the_built_in_ones(void **state)
{
    (void)state;
    set("header", "user-AGENT:mine");
    set("header", "X-A:  1\t ");
    start("http://a.test/");
    assert_h1("GET / HTTP/1.1\r\nHost: a.test\r\nuser-AGENT: mine\r\nX-A: 1\r\nAccept: */*\r\n\r\n");
    assert_non_null(strstr(h2_text(), "user-agent: mine\nx-a: 1\naccept: */*\n"));
}

static void own_headers_replace_defaults_of_the_same_name(void **state)
{
    (void)state;
    set("header", "X-A: option");
    start("http://a.test/");
    f.headers = span("ACCEPT: text/html\r\nX-a: own\r\nX-Empty: \r\n");
    assert_h1("GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: hotfleet/" HOTFLEET_VERSION
              "\r\nACCEPT: text/html\r\nX-a: own\r\nX-Empty: \r\n\r\n");
    const char *h2 = h2_text();
    assert_non_null(strstr(h2, "accept: text/html\nx-a: own\nx-empty: \n"));
    assert_null(strstr(h2, "option"));
    assert_null(strstr(h2, "*/*"));
}

static void secrets_stay_behind_when_the_origin_was_crossed(void **state)
{
    (void)state;
    set("header", "authorization: Basic b3B0\nCOOKIE: option=1\nX-Kept: 1");
    start("http://b.test/");
    assert_non_null(strstr(h2_text(), "authorization: Basic b3B0\n"));
    f.m.flags = TASK_CROSSED;
    assert_h1("GET / HTTP/1.1\r\nHost: b.test\r\nX-Kept: 1\r\n" AGENT "\r\n");
    assert_null(strstr(h2_text(), "Basic"));
    assert_null(strstr(h2_text(), "option=1"));
    f.headers = span("X-Own: 2\r\n");
    assert_h1("GET / HTTP/1.1\r\nHost: b.test\r\nX-Kept: 1\r\n" AGENT "X-Own: 2\r\n\r\n");
    assert_null(strstr(h2_text(), "Basic"));
    f.headers = span("Authorization: own\r\nX-Own: 2\r\ncookie: own\r\n");
    assert_h1("GET / HTTP/1.1\r\nHost: b.test\r\nX-Kept: 1\r\n" AGENT "X-Own: 2\r\n\r\n");
    assert_non_null(strstr(h2_text(), "x-own: 2\n"));
    assert_null(strstr(h2_text(), "authorization"));
    assert_null(strstr(h2_text(), "cookie"));
}

/* A default that is withheld must not come back because the task has a field of the same name that is withheld too. */
static void own_secret_replaces_the_options_secret(void **state)
{
    (void)state;
    set("header", "Authorization: option");
    start("http://a.test/");
    f.headers = span("authorization: own\r\n");
    assert_h1("GET / HTTP/1.1\r\nHost: a.test\r\n" AGENT "authorization: own\r\n\r\n");
}

static void host_option_replaces_the_authority(void **state)
{
    (void)state;
    set("header", "Host: inner.test");
    start("http://a.test/");
    assert_h1("GET / HTTP/1.1\r\nHost: inner.test\r\n" AGENT "\r\n");
    f.headers = span("X: y\r\n");
    assert_h1("GET / HTTP/1.1\r\nHost: inner.test\r\n" AGENT "X: y\r\n\r\n");
    const char *h2 = h2_text();
    assert_non_null(strstr(h2, ":authority: inner.test\n"));
    assert_null(strstr(h2, "\nhost:"));
}

/* Expected: the name given for one origin is not told to another one; as curl does, Host follows the URL again. */
static void host_option_does_not_follow_to_another_origin(void **state)
{
    (void)state;
    set("header", "Host: inner.test");
    start("http://b.test/");
    f.m.flags = TASK_CROSSED;
    assert_h1("GET / HTTP/1.1\r\nHost: b.test\r\n" AGENT "\r\n");
}

static void data_makes_a_post_with_length_and_type(void **state)
{
    (void)state;
    set("data", "a=1");
    start("http://a.test/");
    assert_h1("POST / HTTP/1.1\r\nHost: a.test\r\n" AGENT
              "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=1");
    assert_non_null(strstr(h2_text(), "content-length: 3\n"));
}

static void data_comes_from_a_file(void **state)
{
    char path[] = "/tmp/hotfleet-data-XXXXXX";
    char option[64];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0 && write(fd, "\0\r\nx", 4) == 4);
    close(fd);
    snprintf(option, sizeof option, "@%s", path);
    set("data", option);
    start("http://a.test/");
    unlink(path);
    struct span body = request_body(&d, &f);
    assert_int_equal(body.len, 4);
    assert_memory_equal(body.data, "\0\r\nx", 4);
}

static void data_file_that_is_not_there_is_refused(void **state)
{
    const char *reason = NULL;

    (void)state;
    set("data", "@/nonexistent/file");
    assert_false(request_defaults_init(&d, &o, &reason));
    assert_non_null(reason);
}

static void own_method_goes_without_the_options_body(void **state)
{
    (void)state;
    set("data", "a=1");
    start("http://a.test/");
    f.method = span("GET");
    assert_null(request_body(&d, &f).data);
    f.body = span("own");
    assert_int_equal(request_body(&d, &f).len, 3);
}

static void redirect_to_get_drops_the_options_body(void **state)
{
    (void)state;
    set("data", "a=1");
    start("http://a.test/");
    f.m.flags = TASK_NO_BODY;
    f.method = span("GET");
    buffer_clear(&out);
    request_put_h1(&d, &f, &out);
    buffer_append_char(&out, '\0');
    assert_null(strstr(out.data, "Content-Length"));
    assert_null(strstr(out.data, "a=1"));
}

static void method_that_means_a_body_says_so_without_one(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "PATCH"};

    (void)state;
    start("http://a.test/");
    for (int i = 0; i < 3; i++) {
        f.method = span(methods[i]);
        buffer_clear(&out);
        request_put_h1(&d, &f, &out);
        buffer_append_char(&out, '\0');
        assert_non_null(strstr(out.data, "\r\nContent-Length: 0\r\n\r\n"));
    }
    f.method = span("DELETE");
    assert_h1("DELETE / HTTP/1.1\r\nHost: a.test\r\n" AGENT "\r\n");
}

static void field_that_frames_is_sent_once_by_us_alone(void **state)
{
    (void)state;
    start("http://a.test/");
    f.method = span("POST");
    f.body = span("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    buffer_clear(&out);
    request_put_h1(&d, &f, &out);
    buffer_append_char(&out, '\0');
    const char *at = strstr(out.data, "Content-Length: 35\r\n\r\nGET /smuggled");
    assert_non_null(at);
    assert_null(strstr(at + 1, "Content-Length"));
    assert_null(strstr(out.data, "Transfer-Encoding"));
}

static void all_of_many_own_headers_are_sent(void **state)
{
    struct buffer many = {0};

    (void)state;
    start("http://a.test/");
    for (int i = 0; i < 100; i++)
        buffer_printf(&many, "X-%03d: %d\r\n", i, i);
    f.headers = (struct span){many.data, many.len};
    assert_non_null(strstr(h2_text(), "x-099: 99\n"));
    buffer_fini(&many);
}

/* Expected: what fits into HTTP/1.1 is sent over HTTP/2 as well, or refused loudly; today the fields from the 129th on
 * are left out of an HTTP/2 request without a word (request.c: REQUEST_FIELDS_MAX). */
static void no_own_header_is_lost_over_http2(void **state)
{
    struct buffer many = {0};

    (void)state;
    start("http://a.test/");
    for (int i = 0; i < 200; i++)
        buffer_printf(&many, "X-%03d: %d\r\n", i, i);
    f.headers = (struct span){many.data, many.len};
    bool there = strstr(h2_text(), "x-199: 199\n") != NULL;
    buffer_fini(&many);
    assert_true(there);
}

/* Fields of one connection are malformed in HTTP/2 (RFC 9113 8.2.2): a server resets the stream. */
static void fields_of_a_connection_are_not_sent_over_http2(void **state)
{
    (void)state;
    set("header", "Keep-Alive: timeout=5\nProxy-Connection: x\nUpgrade: y\nTE: gzip\nX-A: 1");
    start("http://a.test/");
    const char *h2 = h2_text();
    assert_non_null(strstr(h2, "x-a: 1\n"));
    assert_null(strstr(h2, "keep-alive:"));
    assert_null(strstr(h2, "proxy-connection:"));
    assert_null(strstr(h2, "upgrade:"));
    assert_null(strstr(h2, "te: gzip"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(plain_get_has_host_agent_and_accept),
        test(profile_gives_fields_and_pseudo_headers_in_its_order),
        test(languages_are_the_connections_in_the_profiles_place),
        test(languages_that_an_option_gives_win),
        test(port_stands_in_host_unless_it_is_the_schemes_own),
        test(target_can_hold_no_blank_and_no_line_end),
        test(option_headers_replace_the_built_in_ones),
        test(own_headers_replace_defaults_of_the_same_name),
        test(secrets_stay_behind_when_the_origin_was_crossed),
        test(own_secret_replaces_the_options_secret),
        test(host_option_replaces_the_authority),
        test(host_option_does_not_follow_to_another_origin),
        test(data_makes_a_post_with_length_and_type),
        test(data_comes_from_a_file),
        test(data_file_that_is_not_there_is_refused),
        test(own_method_goes_without_the_options_body),
        test(redirect_to_get_drops_the_options_body),
        test(method_that_means_a_body_says_so_without_one),
        test(field_that_frames_is_sent_once_by_us_alone),
        test(all_of_many_own_headers_are_sent),
        test(no_own_header_is_lost_over_http2),
        test(fields_of_a_connection_are_not_sent_over_http2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
