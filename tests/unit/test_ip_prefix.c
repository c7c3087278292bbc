/* Prefixes of addresses, files of them, and the two lists of the options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/access_lists.h"
#include "common/ip_prefix.h"

static struct ip_prefix prefix(const char *text)
{
    struct ip_prefix p;
    const char *fault = ip_prefix_parse(text, strlen(text), &p);

    if (fault)
        fail_msg("%s %s", text, fault);
    return p;
}

static void what_is_read_is_written_the_same(void **state)
{
    static const char *const texts[] = {"192.0.2.1",     "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/7",
                                        "2001:db8::/32", "2001:db8::1",  "::/0",      "2001:db8::/63"};
    char out[IP_PREFIX_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct ip_prefix p = prefix(texts[i]);
        assert_int_equal(ip_prefix_format(&p, out), strlen(texts[i]));
        assert_string_equal(out, texts[i]);
    }
    assert_int_equal(prefix("192.0.2.1").len, 32);
    assert_int_equal(prefix("192.0.2.1/32").len, 32);
    assert_int_equal(prefix("::1").len, 128);
}

static void what_is_no_prefix_is_refused(void **state)
{
    static const char *const texts[] = {
        "",           "ten",          "192.0.2",        "192.0.2.1/33", "192.0.2.1/",  "192.0.2/24",
        "[::1]",      "192.0.2.1/24", "2001:db8::1/64", "::/129",       "10.0.0.0/08", "10.0.0.0/-1",
        "10.0.0.0/8 "};
    struct ip_prefix p;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!ip_prefix_parse(texts[i], strlen(texts[i]), &p))
            fail_msg("\"%s\" was read", texts[i]);
    }
}

static void an_address_lies_in_its_prefixes(void **state)
{
    struct ip_prefix address = prefix("192.0.2.131");
    struct ip_prefix wide = ip_prefix_of(&address.address, 25);
    struct ip_prefix want = prefix("192.0.2.128/25");

    (void)state;
    assert_int_equal(ip_prefix_compare(&wide, &want), 0);
    wide = ip_prefix_of(&address.address, 0);
    want = prefix("0.0.0.0/0");
    assert_int_equal(ip_prefix_compare(&wide, &want), 0);
}

static void write_file(char path[64], const char *text)
{
    snprintf(path, 64, "/tmp/test-prefix-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void a_file_has_an_entry_a_line(void **state)
{
    struct ip_prefix_list list = {0};
    char fault[IP_FAULT_MAX] = "";
    char path[64];
    char entry[80];

    (void)state;
    write_file(path, "# ours\n\n  192.0.2.1\t# one\r\n10.0.0.0/8\n192.0.2.1\n::1");
    snprintf(entry, sizeof entry, "@%s", path);
    assert_true(ip_prefix_list_add(&list, entry, fault));
    ip_prefix_list_sort(&list);
    assert_int_equal(list.count, 3);
    struct ip_prefix in = prefix("10.0.0.0/8");
    struct ip_prefix out = prefix("10.0.0.0/9");
    assert_true(ip_prefix_list_has(&list, &in));
    assert_false(ip_prefix_list_has(&list, &out));
    ip_prefix_list_free(&list);
    unlink(path);
    assert_false(ip_prefix_list_add(&list, entry, fault));
    assert_non_null(strstr(fault, path));

    write_file(path, "10.0.0.1\nten\n");
    snprintf(entry, sizeof entry, "@%s", path);
    assert_false(ip_prefix_list_add(&list, entry, fault));
    assert_non_null(strstr(fault, "line 2: \"ten\""));
    ip_prefix_list_free(&list);
    unlink(path);
}

static void lists_that_share_an_entry_are_refused(void **state)
{
    char fault[IP_FAULT_MAX] = "";
    struct access_lists lists;
    struct options o = {0};
    struct options_error error;

    (void)state;
    options_init(&o);
    assert_true(options_set(&o, "whitelist_ips", "10.0.0.0/8\n::1", "a", &error));
    assert_true(options_set(&o, "blacklist_ips", "10.0.0.0/9", "a", &error));
    assert_true(access_lists_open(&lists, &o, fault));
    assert_int_equal(lists.white.count, 2);
    assert_int_equal(lists.black.count, 1);
    access_lists_close(&lists);
    assert_true(options_set(&o, "blacklist_ips", "::1", "b", &error));
    assert_false(access_lists_open(&lists, &o, fault));
    assert_non_null(strstr(fault, "\"::1\""));
    options_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_written_the_same),      cmocka_unit_test(what_is_no_prefix_is_refused),
        cmocka_unit_test(an_address_lies_in_its_prefixes),       cmocka_unit_test(a_file_has_an_entry_a_line),
        cmocka_unit_test(lists_that_share_an_entry_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
