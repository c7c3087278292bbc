/* Addresses: their text and sockaddr forms, and both edges of every special range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "common/address.h"

static struct address parsed(const char *text)
{
    struct address a;

    if (!address_parse(text, strlen(text), &a))
        fail_msg("%s was not read", text);
    return a;
}

static void text_is_read_and_written_canonically(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"2001:DB8::1", "2001:db8::1"},
        {"[2001:db8::1]", "2001:db8::1"},
        {"2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"},
        {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
        {"::", "::"},
        {"::1", "::1"},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address a = parsed(rows[i][0]);
        assert_int_equal(address_format(&a, text), strlen(rows[i][1]));
        assert_string_equal(text, rows[i][1]);
    }
}

static void text_that_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "[]",
        "[",
        "a",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4 ",
        " 1.2.3.4",
        "01.2.3.4",
        "1.2.3.256",
        "0x7f.0.0.1",
        "[1.2.3.4]",
        ":",
        ":::",
        "1::2::3",
        "::g",
        "[::1",
        "::1]",
        "[[::1]]",
        "fe80::1%eth0",
        "1:2:3:4:5:6:7",
        "12345::",
        "1.2.3.4,1.2.3.5",
        "::1/128",
        "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555",
    };
    struct address a;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (address_parse(rows[i], strlen(rows[i]), &a))
            fail_msg("\"%s\" was read", rows[i]);
    }
    assert_false(address_parse("1.2.3.4\0x", 9, &a));
    assert_true(address_parse("1.2.3.45", 7, &a));
    assert_int_equal(a.bytes[3], 4);
}

static void bytes_behind_an_ipv4_address_are_zero(void **state)
{
    (void)state;
    static const struct address want = {.family = 4, .bytes = {192, 0, 2, 1}};
    struct address a;

    memset(&a, 0xff, sizeof a);
    assert_true(address_parse("192.0.2.1", 9, &a));
    assert_memory_equal(&a, &want, sizeof a);
}

static void equality_knows_the_family(void **state)
{
    (void)state;
    struct address a = parsed("192.0.2.1");
    struct address b = parsed("192.0.2.1");
    struct address c = parsed("c000:201::");

    assert_true(address_equal(&a, &b));
    assert_false(address_equal(&a, &c));
    b.bytes[3] = 2;
    assert_false(address_equal(&a, &b));
    b = c;
    assert_true(address_equal(&b, &c));
    b.bytes[15] = 1;
    assert_false(address_equal(&b, &c));
}

static void sockaddr_and_back_is_the_same(void **state)
{
    (void)state;
    static const char *const rows[] = {"192.0.2.1", "2001:db8::1"};
    struct sockaddr_storage sa;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address a = parsed(rows[i]);
        struct address b;
        uint16_t port;
        socklen_t len = address_to_sockaddr(&a, 8443, &sa);
        assert_int_equal(len, i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        assert_int_equal(sa.ss_family, i == 0 ? AF_INET : AF_INET6);
        assert_true(address_from_sockaddr((struct sockaddr *)&sa, &b, &port));
        assert_int_equal(port, 8443);
        assert_memory_equal(&a, &b, sizeof a);
    }
    struct address a = parsed("192.0.2.1");
    address_to_sockaddr(&a, 0x1234, &sa);
    assert_int_equal(((struct sockaddr_in *)&sa)->sin_port, htons(0x1234));
}

static void sockaddr_of_another_family_is_refused(void **state)
{
    (void)state;
    struct sockaddr sa = {.sa_family = AF_UNIX};
    struct address a;
    uint16_t port;

    assert_false(address_from_sockaddr(&sa, &a, &port));
}

/* Each range with its first and last address, and the neighbours outside of it when those are public. */
struct range {
    const char *below; /* NULL: not public, or there is none */
    const char *first, *last;
    const char *above;
};

static void special_ranges_are_not_public_and_their_neighbours_are(void **state)
{
    (void)state;
    static const struct range rows[] = {
        {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
        {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
        {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
        {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
        {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
        {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
        {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
        {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
        {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
        {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
        {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
        {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
        {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
        {"223.255.255.255", "224.0.0.0", "239.255.255.255", NULL},
        {NULL, "240.0.0.0", "255.255.255.254", NULL},
        {NULL, "255.255.255.255", "255.255.255.255", NULL},
        {NULL, "::", "::1", NULL},
        {NULL, "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:808:808", NULL},
        {NULL, "64:ff9b::1:0:0", "64:ff9b:0:ffff:ffff:ffff:808:808", NULL},
        {NULL, "::ffff:0:808:808", "::ffff:0:808:808", NULL},
        {NULL, "100::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
        {NULL, "2001:1::", "2001:2:ffff:ffff:ffff:ffff:ffff:ffff", "2001:3::"},
        {"2001:3:ffff:ffff:ffff:ffff:ffff:ffff", "2001:4::", "2001:4:111:ffff:ffff:ffff:ffff:ffff", "2001:4:112::"},
        {"2001:4:112:ffff:ffff:ffff:ffff:ffff", "2001:4:113::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:20::"},
        {"2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
        {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:db9::"},
        {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"},
        {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
        {NULL, "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
        {NULL, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
        {NULL, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
        {NULL, "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
        {NULL, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const texts[] = {rows[i].below, rows[i].first, rows[i].last, rows[i].above};
        for (size_t k = 0; k < 4; k++) {
            if (!texts[k])
                continue;
            struct address a = parsed(texts[k]);
            if (address_is_public(&a) != (k == 0 || k == 3))
                fail_msg("%s was judged wrongly", texts[k]);
        }
    }
}

static void an_address_with_an_ipv4_one_inside_is_judged_by_that(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_public;
    } rows[] = {
        {"::ffff:8.8.8.8", true},
        {"::ffff:127.0.0.1", false},
        {"::ffff:10.0.0.1", false},
        {"::ffff:169.254.169.254", false},
        {"::8.8.8.8", true},
        {"::127.0.0.1", false},
        {"64:ff9b::8.8.8.8", true},
        {"64:ff9b::192.168.0.1", false},
        {"2002:808:808::1", true},
        {"2002:7f00:1::8.8.8.8", false},
        {"2002:c0a8:1::1", false},
        /* Teredo: server 8.8.8.8 or 10.0.0.1 from byte 4; the client's bytes inverted: f7f7:f7f7 is 8.8.8.8. */
        {"2001:0:808:808:0:0:f7f7:f7f7", true},
        {"2001:0:808:808:0:0:f5ff:fffe", false},
        {"2001:0:a00:1:0:0:f7f7:f7f7", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address a = parsed(rows[i].text);
        if (address_is_public(&a) != rows[i].is_public)
            fail_msg("%s was judged wrongly", rows[i].text);
    }
}

static void ordinary_addresses_are_public(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "1.1.1.1",         "8.8.8.8",      "93.184.216.34",        "192.31.196.1",
        "192.52.193.1",    "192.175.48.1", "2606:4700:4700::1111", "2a00:1450:4001:800::200e",
        "2620:4f:8000::1", "2400::1",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address a = parsed(rows[i]);
        assert_true(address_is_public(&a));
    }
}

static void an_address_without_family_is_not_public(void **state)
{
    (void)state;
    struct address a = {.family = 0, .bytes = {8, 8, 8, 8}};

    assert_false(address_is_public(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_read_and_written_canonically),
        cmocka_unit_test(text_that_is_no_address_is_refused),
        cmocka_unit_test(bytes_behind_an_ipv4_address_are_zero),
        cmocka_unit_test(equality_knows_the_family),
        cmocka_unit_test(sockaddr_and_back_is_the_same),
        cmocka_unit_test(sockaddr_of_another_family_is_refused),
        cmocka_unit_test(special_ranges_are_not_public_and_their_neighbours_are),
        cmocka_unit_test(an_address_with_an_ipv4_one_inside_is_judged_by_that),
        cmocka_unit_test(ordinary_addresses_are_public),
        cmocka_unit_test(an_address_without_family_is_not_public),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
