/* "HOST=N": what is a host, what is a number, and what is wrong with the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/prewarm_entry.h"

static void assert_reads(const char *entry, const char *url_text, uint32_t wanted)
{
    struct buffer text = {0};
    struct url url;
    uint32_t count = 0;
    const char *reason = "";

    if (prewarm_entry_parse(entry, &text, &url, &count, &reason) != OUTCOME_OK)
        fail_msg("%s: %s", entry, reason);
    assert_int_equal(count, wanted);
    assert_int_equal(url.len, strlen(url_text));
    assert_memory_equal(url.text, url_text, url.len);
    buffer_fini(&text);
}

static void assert_refused(const char *entry, const char *part)
{
    struct buffer text = {0};
    struct url url;
    uint32_t count;
    const char *reason = "";

    assert_int_not_equal(prewarm_entry_parse(entry, &text, &url, &count, &reason), OUTCOME_OK);
    if (!strstr(reason, part))
        fail_msg("%s: \"%s\" does not say \"%s\"", entry, reason, part);
    buffer_fini(&text);
}

static void names_and_origins_are_hosts(void **state)
{
    (void)state;
    assert_reads("a.test=1", "https://a.test/", 1);
    assert_reads("A.Test=1000000", "https://a.test/", 1000000);
    assert_reads("a.test:8443=7", "https://a.test:8443/", 7);
    assert_reads("http://a.test=7", "http://a.test/", 7);
    assert_reads("https://a.test:443/=7", "https://a.test/", 7);
    assert_reads("http://[::1]:80=7", "http://[::1]/", 7);
    assert_reads("192.0.2.1=7", "https://192.0.2.1/", 7);
}

static void numbers_out_of_range_are_refused(void **state)
{
    static const char *const entries[] = {"a.test=0",  "a.test=",   "a.test=1000001", "a.test=99999999999999999999",
                                          "a.test=-1", "a.test=1x", "a.test= 1",      "a.test=+1"};

    (void)state;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        assert_refused(entries[i], "from 1 to 1000000");
}

static void what_is_no_host_is_refused(void **state)
{
    (void)state;
    assert_refused("", "HOST=N");
    assert_refused("a.test", "HOST=N");
    assert_refused("=1", "no host");
    assert_refused("https://a.test/x=1", "more than a host");
    assert_refused("a.test?x=1", "more than a host");
    assert_refused("https://u:p@a.test=1", "more than a host");
    assert_refused("a.test#x=1", "no host");
    assert_refused("ftp://a.test=1", "scheme");
    assert_refused("a b=1", "forbidden");
    assert_refused("a.test:99999=1", "port");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_origins_are_hosts),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(what_is_no_host_is_refused),
    };

    return cmocka_run_group_tests_name("prewarm_entry", tests, NULL, NULL);
}
