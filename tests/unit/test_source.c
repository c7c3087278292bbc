/* Source addresses: what is read from an entry, what is refused, and that turns are even and families apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/source.h"

static const uint64_t key[2] = {0x0123456789abcdefu, 0xfedcba9876543210u};
static struct source_list list;
static const char *entry, *reason;

#define read_list(...) read_of((char *[]){__VA_ARGS__, NULL})
static bool read_of(char **items)
{
    struct option_list entries = {.items = items};

    while (items[entries.count])
        entries.count++;
    source_list_close(&list);
    return source_list_open(&list, &entries, &entry, &reason);
}

static int teardown(void **state)
{
    (void)state;
    source_list_close(&list);
    return 0;
}

static const char *drawn(uint8_t family, uint64_t turn)
{
    static char text[ADDRESS_TEXT_MAX];
    struct source source;

    assert_true(source_list_draw(&list, family, turn, key, &source));
    assert_int_equal(source.address.family, family);
    address_format(&source.address, text);
    return text;
}

static void empty_list_reaches_everything_and_gives_nothing(void **state)
{
    struct source source;

    (void)state;
    assert_true(source_list_open(&list, &(struct option_list){0}, &entry, &reason));
    assert_true(source_list_is_empty(&list));
    assert_true(source_list_reaches(&list, 4) && source_list_reaches(&list, 6));
    assert_false(source_list_draw(&list, 4, 0, key, &source));
}

static void single_addresses_take_turns(void **state)
{
    (void)state;
    assert_true(read_list("192.0.2.9", "127.0.0.3", "192.0.2.1"));
    assert_string_equal(drawn(4, 0), "192.0.2.9");
    assert_string_equal(drawn(4, 1), "127.0.0.3");
    assert_string_equal(drawn(4, 2), "192.0.2.1");
    assert_string_equal(drawn(4, 3), "192.0.2.9");
}

static void network_and_broadcast_are_left_out_up_to_30(void **state)
{
    static const struct {
        char *range;
        uint64_t turns;
        const char *first, *last;
    } cases[] = {
        {"127.0.2.0/24", 254, "127.0.2.1", "127.0.2.254"}, {"127.0.2.16/28", 14, "127.0.2.17", "127.0.2.30"},
        {"127.0.2.4/30", 2, "127.0.2.5", "127.0.2.6"},     {"127.0.2.4/31", 2, "127.0.2.4", "127.0.2.5"},
        {"127.0.2.4/32", 1, "127.0.2.4", "127.0.2.4"},     {"127.0.0.0/8", 16777214, "127.0.0.1", "127.255.255.254"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(read_list(cases[i].range));
        assert_int_equal(list.v4.turns, cases[i].turns);
        assert_string_equal(drawn(4, 0), cases[i].first);
        assert_string_equal(drawn(4, cases[i].turns - 1), cases[i].last);
        assert_string_equal(drawn(4, cases[i].turns), cases[i].first);
    }
}

/* From any turn on, and over entries of different sizes. */
static void every_ipv4_address_is_used_equally_often_within_one(void **state)
{
    unsigned used[256] = {0};
    struct source source;

    (void)state;
    assert_true(read_list("127.0.2.0/28", "127.0.2.100", "127.0.2.200/31"));
    assert_int_equal(list.v4.turns, 17);
    for (uint64_t turn = 1000; turn < 1000 + 17 * 40 + 5; turn++) {
        assert_true(source_list_draw(&list, 4, turn, key, &source));
        assert_false(source.from_subnet);
        used[source.address.bytes[3]]++;
    }
    for (unsigned i = 0; i < 256; i++) {
        bool wanted = (i >= 1 && i <= 14) || i == 100 || i == 200 || i == 201;
        assert_in_range(used[i], wanted ? 40 : 0, wanted ? 41 : 0);
    }
}

static void families_have_turns_of_their_own(void **state)
{
    struct source source;

    (void)state;
    assert_true(read_list("192.0.2.1", "2001:db8::1", "2001:db8::2"));
    assert_string_equal(drawn(4, 5), "192.0.2.1");
    assert_string_equal(drawn(6, 0), "2001:db8::1");
    assert_string_equal(drawn(6, 1), "2001:db8::2");
    assert_true(read_list("192.0.2.0/24"));
    assert_true(source_list_reaches(&list, 4));
    assert_false(source_list_reaches(&list, 6));
    assert_false(source_list_draw(&list, 6, 0, key, &source));
    assert_true(read_list("2001:db8::/64"));
    assert_false(source_list_reaches(&list, 4));
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void assert_in_subnet(const struct address *a, const char *prefix, unsigned prefix_len)
{
    struct address network;

    assert_true(address_parse(prefix, strlen(prefix), &network));
    for (unsigned bit = 0; bit < prefix_len; bit++)
        assert_int_equal(a->bytes[bit / 8] >> (7 - bit % 8) & 1, network.bytes[bit / 8] >> (7 - bit % 8) & 1);
}

static void large_subnets_give_a_new_address_each_time(void **state)
{
    static const struct {
        char *range;
        const char *prefix;
        unsigned len;
    } cases[] = {
        {"2001:db8:1::/64", "2001:db8:1::", 64},
        {"2001:db8::/32", "2001:db8::", 32},
        {"2001:db8::/80", "2001:db8::", 80},
        {"2001:db8::/65", "2001:db8::", 65},
        {"8000::/1", "8000::", 1},
    };
    enum { DRAWS = 20000 };
    static uint8_t seen[DRAWS][16];
    struct source source;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned ones = 0;
        assert_true(read_list(cases[i].range));
        for (uint64_t turn = 0; turn < DRAWS; turn++) {
            assert_true(source_list_draw(&list, 6, turn, key, &source));
            assert_true(source.from_subnet);
            assert_in_subnet(&source.address, cases[i].prefix, cases[i].len);
            ones += source.address.bytes[15] & 1;
            memcpy(seen[turn], source.address.bytes, 16);
        }
        qsort(seen, DRAWS, 16, compare);
        for (unsigned n = 1; n < DRAWS; n++)
            assert_memory_not_equal(seen[n - 1], seen[n], 16);
        /* Half of the draws, within six standard deviations. */
        assert_in_range(ones, DRAWS / 2 - 430, DRAWS / 2 + 430);
    }
}

/* All but the first, and each as often; over a /127 both. */
static void small_subnets_are_used_up_before_any_repeats(void **state)
{
    struct source source;
    char range[32];

    (void)state;
    for (unsigned host_bits = 1; host_bits <= 10; host_bits++) {
        unsigned used[1024] = {0};
        unsigned count = (1u << host_bits) - (host_bits > 1);
        snprintf(range, sizeof range, "2001:db8::/%u", 128 - host_bits);
        assert_true(read_list(range));
        for (uint64_t turn = 7; turn < 7 + 3 * count; turn++) {
            assert_true(source_list_draw(&list, 6, turn, key, &source));
            used[source.address.bytes[14] << 8 | source.address.bytes[15]]++;
        }
        for (unsigned i = 0; i < 1u << host_bits; i++)
            assert_int_equal(used[i], i == 0 && host_bits > 1 ? 0 : 3);
    }
}

static void key_and_entry_change_what_a_subnet_gives(void **state)
{
    const uint64_t other_key[2] = {key[0], key[1] + 1};
    struct source a, b;

    (void)state;
    assert_true(read_list("2001:db8:1::/64", "2001:db8:2::/64"));
    assert_true(source_list_draw(&list, 6, 0, key, &a));
    assert_true(source_list_draw(&list, 6, 0, other_key, &b));
    assert_memory_not_equal(a.address.bytes + 8, b.address.bytes + 8, 8);
    assert_true(source_list_draw(&list, 6, 1, key, &b));
    assert_memory_not_equal(a.address.bytes, b.address.bytes, 8);
    assert_memory_not_equal(a.address.bytes + 8, b.address.bytes + 8, 8);
}

static void bad_entries_are_named_with_their_fault(void **state)
{
    static const struct {
        char *text;
        const char *fault;
    } cases[] = {
        {"eth0", "neither an address"},
        {"", "neither an address"},
        {"192.0.2.1,192.0.2.2", "neither an address"},
        {"192.0.2", "neither an address"},
        {"[2001:db8::1]", "neither an"},
        {"/24", "neither an address"},
        {" 192.0.2.1", "neither an address"},
        {"192.0.2.0/33", "prefix length"},
        {"192.0.2.0/", "prefix length"},
        {"192.0.2.0/0", "prefix length"},
        {"192.0.2.0/024", "prefix length"},
        {"192.0.2.0/+24", "prefix length"},
        {"192.0.2.0/24 ", "prefix length"},
        {"192.0.2.0/24/1", "prefix length"},
        {"2001:db8::/129", "prefix length"},
        {"192.0.2.1/24", "bits set behind"},
        {"2001:db8::1/64", "bits set"},
        {"0.0.0.0", "cannot be the source"},
        {"0.0.0.0/8", "cannot be the source"},
        {"224.0.0.1", "cannot be"},
        {"255.255.255.255", "cannot be"},
        {"::", "cannot be the source"},
        {"ff02::1", "cannot be the source"},
        {"fe80::1", "link-local"},
        {"fe80::1%eth0", "neither an"},
        {"::ffff:192.0.2.1", "write it as IPv4"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (read_list("192.0.2.1", cases[i].text, "2001:db8::1"))
            fail_msg("%s passed", cases[i].text);
        assert_ptr_equal(entry, cases[i].text);
        if (!strstr(reason, cases[i].fault))
            fail_msg("\"%s\" for %s", reason, cases[i].text);
        assert_true(source_list_is_empty(&list));
    }
}

#define CASE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(empty_list_reaches_everything_and_gives_nothing),
        CASE(single_addresses_take_turns),
        CASE(network_and_broadcast_are_left_out_up_to_30),
        CASE(every_ipv4_address_is_used_equally_often_within_one),
        CASE(families_have_turns_of_their_own),
        CASE(large_subnets_give_a_new_address_each_time),
        CASE(small_subnets_are_used_up_before_any_repeats),
        CASE(key_and_entry_change_what_a_subnet_gives),
        CASE(bad_entries_are_named_with_their_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
