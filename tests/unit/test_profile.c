/* The profiles that are compiled in, and what their documents may hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/profile.h"

#define LENGTH(a) (sizeof(a) / sizeof(a)[0])

static const char *const names[] = {
    "chrome-83-windows",    "chrome-87-windows",   "chrome-96-windows",  "chrome-100-windows",
    "chrome-102-windows",   "chrome-106-windows",  "chrome-112-windows", "chrome-114-windows",
    "chrome-115pq-windows", "chrome-120-linux",    "chrome-120-windows", "chrome-131-macos",
    "chrome-131-windows",   "chrome-133-macos",    "chrome-133-windows", "chrome-auto",
    "edge-85-windows",      "edge-106-windows",    "edge-auto",          "firefox-55-windows",
    "firefox-56-windows",   "firefox-63-windows",  "firefox-65-windows", "firefox-99-windows",
    "firefox-102-windows",  "firefox-105-windows", "firefox-120-macos",  "firefox-120-windows",
    "firefox-auto",         "ios-12-iphone",       "ios-13-iphone",      "ios-14-iphone",
    "randomized",           "randomized-alpn",     "randomized-noalpn",  "safari-17-macos",
};

static void all_36_are_there_in_order(void **state)
{
    (void)state;
    assert_int_equal(profile_count(), 36);
    assert_int_equal(LENGTH(names), 36);
    for (size_t i = 0; i < LENGTH(names); i++) {
        assert_non_null(profile_find(names[i]));
        assert_ptr_equal(profile_find(profile_at(i)->name), profile_at(i));
    }
    assert_null(profile_at(36));
    assert_null(profile_find("chrome-1-windows"));
    assert_null(profile_find(""));
}

static const char *header(const struct profile *p, const char *name)
{
    for (size_t i = 0; i < p->headers_count; i++) {
        if (strcmp(p->headers[i].name, name) == 0)
            return p->headers[i].value;
    }
    return NULL;
}

static void each_says_of_itself_what_it_shows(void **state)
{
    (void)state;
    for (size_t i = 0; i < profile_count(); i++) {
        const struct profile *p = profile_at(i);
        assert_non_null(p->hello);
        assert_string_equal(header(p, "User-Agent"), p->user_agent);
        assert_non_null(header(p, "Accept"));
        assert_non_null(header(p, "Accept-Language"));
        assert_int_equal(strlen(p->http2.pseudo_headers), 4);
        assert_int_equal(strlen(p->hello->ja3n), 32);
        assert_int_equal(strlen(p->hello->ja4), 36);
        if (p->draw == PROFILE_FIXED)
            assert_non_null(strstr(p->user_agent, strcmp(p->browser, "ios") == 0 ? "iPhone" : p->version));
    }
}

static void http2_is_as_the_browsers(void **state)
{
    static const struct {
        const char *name, *text;
    } known[] = {
        {"chrome-133-windows", "1:65536;2:0;4:6291456;6:262144|15663105|0|m,a,s,p"},
        {"chrome-112-windows", "1:65536;2:0;3:1000;4:6291456;6:262144|15663105|0|m,a,s,p"},
        {"edge-85-windows", "1:65536;3:1000;4:6291456;6:262144|15663105|0|m,a,s,p"},
        {"firefox-120-macos",
         "1:65536;4:131072;5:16384|12517377|3:0:0:201,5:0:0:101,7:0:0:1,9:0:7:1,11:0:3:1,13:0:0:241|m,p,a,s"},
        {"safari-17-macos", "2:0;4:4194304;3:100|10485760|0|m,s,p,a"},
        {"ios-14-iphone", "4:2097152;3:100|10485760|0|m,s,p,a"},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < LENGTH(known); i++) {
        profile_http2_text(&profile_find(known[i].name)->http2, text, sizeof text);
        assert_string_equal(text, known[i].text);
    }
    assert_true(profile_find("chrome-auto")->http2.request.exclusive);
    assert_int_equal(profile_find("chrome-auto")->http2.request.weight, 256);
}

static void recommended_and_safe_are_few(void **state)
{
    unsigned recommended = 0;
    unsigned safe = 0;

    (void)state;
    for (size_t i = 0; i < profile_count(); i++) {
        recommended += profile_at(i)->recommended;
        safe += profile_at(i)->safe;
    }
    assert_int_equal(recommended, 9);
    assert_int_equal(safe, 15);
    assert_true(profile_find("firefox-55-windows")->safe);
    assert_false(profile_find("chrome-120-linux")->safe);
}

static void layout_is_found_by_type(void **state)
{
    const struct hello_layout *layout = profile_find("chrome-133-windows")->hello;

    (void)state;
    assert_true(layout->permute);
    assert_int_equal(layout->ciphers[0], HELLO_GREASE);
    assert_int_equal(hello_layout_find(layout, 0)->part, HELLO_COPY);
    assert_int_equal(hello_layout_find(layout, 27)->body[2], 2);
    assert_int_equal(hello_layout_find(layout, 51)->list[1], 0x11ec);
    assert_null(hello_layout_find(layout, 28));
}

/* A server that speaks only HTTP/1.1 refuses who offers h2 alone (RFC 7301 3.2). */
static void each_that_offers_protocols_offers_http_1_1(void **state)
{
    (void)state;
    for (size_t i = 0; i < profile_count(); i++) {
        const struct hello_extension *alpn = hello_layout_find(profile_at(i)->hello, 16);
        if (alpn)
            assert_non_null(memmem(alpn->body, alpn->body_len, "\x08http/1.1", 9));
    }
}

static bool layout_reads(const char *text)
{
    struct hello_layout layout;
    struct toml_error error;

    return hello_layout_parse(text, strlen(text), "x", &layout, &error);
}

static void broken_layouts_are_refused(void **state)
{
    (void)state;
    assert_true(layout_reads("ciphers = [\"1301\"]\nextensions = [\"0 copy\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\n"));
    assert_false(layout_reads("ciphers = [\"130\"]\nextensions = [\"0 copy\"]\n"));
    assert_false(layout_reads("ciphers = [\"13011\"]\nextensions = [\"0 copy\"]\n"));
    assert_false(layout_reads("ciphers = [\"0000\"]\nextensions = [\"0 copy\"]\n"));
    assert_false(layout_reads("ciphers = [1301]\nextensions = [\"0 copy\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\nextensions = [\"0 cpoy\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\nextensions = [\"70000 copy\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\nextensions = [\"5 raw 010\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\nextensions = [\"10 groups\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\nextensions = [\"10 groups 1 2\"]\n"));
    assert_false(layout_reads("ciphers = [\"1301\"]\nextensions = [\"0 copy\"]\nja3 = 5\n"));
}

static bool profile_reads(const char *more)
{
    static const char all[] = "name = \"x\"\nbrowser = \"b\"\nversion = \"1\"\nplatform = \"p\"\nhello = \"h\"\n"
                              "user_agent = \"a\"\nheaders = [\"User-Agent\"]\n%s\n[http2]\nsettings = [\"1:2\"]\n"
                              "window_update = 5\npseudo_headers = \"m,a,s,p\"\n";
    char text[1024];
    struct profile profile;
    struct toml_error error;

    snprintf(text, sizeof text, all, more);
    return profile_parse(text, strlen(text), &profile, &error);
}

static void broken_profiles_are_refused(void **state)
{
    (void)state;
    assert_true(profile_reads(""));
    assert_true(profile_reads("drawn = \"alpn\""));
    assert_false(profile_reads("drawn = \"never\""));
    assert_false(profile_reads("safe = 1"));
    assert_false(profile_reads("colour = \"red\""));
    assert_false(profile_reads("description = \"0123456789012345678901234567890123456789012345678901234567890123456789"
                               "012345678901234567890123456789\""));
    assert_false(profile_reads("[http2.more]\nsettings = []"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_36_are_there_in_order),   cmocka_unit_test(each_says_of_itself_what_it_shows),
        cmocka_unit_test(http2_is_as_the_browsers),    cmocka_unit_test(recommended_and_safe_are_few),
        cmocka_unit_test(layout_is_found_by_type),     cmocka_unit_test(broken_layouts_are_refused),
        cmocka_unit_test(broken_profiles_are_refused), cmocka_unit_test(each_that_offers_protocols_offers_http_1_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
