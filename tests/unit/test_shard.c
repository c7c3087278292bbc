/* Which lines are a shard's: what is read as I/N, that every name is in one shard and shards are even, and that the
 * rule is the one of ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/shard.h"

static void texts_that_name_a_shard_are_read(void **state)
{
    static const struct {
        const char *text;
        uint32_t index, count;
    } rows[] = {
        {"", 1, 1},
        {"1/1", 1, 1},
        {"1/2", 1, 2},
        {"2/2", 2, 2},
        {"10/10", 10, 10},
        {"1/65536", 1, 65536},
        {"65536/65536", 65536, 65536},
        {"007/010", 7, 10},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct shard shard = {0};
        assert_true(shard_parse(rows[i].text, &shard));
        assert_int_equal(shard.index, rows[i].index);
        assert_int_equal(shard.count, rows[i].count);
    }
}

static void texts_that_name_none_are_refused(void **state)
{
    static const char *const texts[] = {
        "1",
        "/",
        "1/",
        "/2",
        "0/1",
        "0/0",
        "1/0",
        "3/2",
        "2/1",
        "1/2/3",
        "1/2 ",
        " 1/2",
        "1 /2",
        "1/ 2",
        "+1/2",
        "-1/2",
        "1/-2",
        "a/b",
        "1/2x",
        "x1/2",
        "1.0/2",
        "1:2",
        "1/65537",
        "65537/65537",
        "65537/65536",
        "1/655360",
        "1/4294967297",
        "4294967297/2",
        "18446744073709551617/2",
        "1/18446744073709551618",
        "1\n/2",
        "0x1/2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct shard shard;
        if (shard_parse(texts[i], &shard))
            fail_msg("\"%s\" was read as %u/%u", texts[i], shard.index, shard.count);
    }
}

static uint32_t shards_of(const char *name, size_t len, uint32_t count, uint32_t *last_out)
{
    uint32_t shards = 0;

    for (uint32_t index = 1; index <= count; index++) {
        if (shard_has(&(struct shard){index, count}, name, len)) {
            *last_out = index;
            shards++;
        }
    }
    return shards;
}

static void one_shard_has_everything(void **state)
{
    (void)state;
    assert_true(shard_has(&(struct shard){1, 1}, "", 0));
    assert_true(shard_has(&(struct shard){1, 1}, "a.example", 9));
}

static void every_name_is_in_exactly_one_shard(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 5, 16, 100, 997};
    char name[32];
    uint32_t at;

    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        int len = snprintf(name, sizeof name, "host-%u.example", i * 7919);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            assert_int_equal(shards_of(name, (size_t)len, counts[c], &at), 1);
    }
    assert_int_equal(shards_of("", 0, 7, &at), 1);
    assert_int_equal(shards_of("a", 1, 65536, &at), 1);
}

static uint32_t shard_of(const char *name, size_t len, uint32_t count)
{
    uint32_t at = 0;

    assert_int_equal(shards_of(name, len, count, &at), 1);
    return at;
}

/* Chi-square over names that differ in few bytes, at their beginnings and at their ends. Its mean is count - 1, its
 * deviation the root of twice that: six of those are beyond all chance. */
static void assert_even(const char *before, const char *after, uint32_t count, double deviation)
{
    static unsigned seen[128];
    const unsigned names = 20000;
    double expected = (double)names / count;
    double chi = 0;
    char name[64];

    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < names; i++) {
        int len = snprintf(name, sizeof name, "%s%u%s", before, i, after);
        seen[shard_of(name, (size_t)len, count) - 1]++;
    }
    for (uint32_t s = 0; s < count; s++)
        chi += (seen[s] - expected) * (seen[s] - expected) / expected;
    if (chi > count - 1 + 6 * deviation)
        fail_msg("%u shards of %s...%s: chi-square %.1f", count, before, after, chi);
}

static void shards_are_even(void **state)
{
    static const char *const rows[][2] = {
        {"", ".example"}, {"www.host-", ".example.com"}, {"0000000", ".com"}, {"a.example.", ""}, {"", ""}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_even(rows[i][0], rows[i][1], 2, 1.42);
        assert_even(rows[i][0], rows[i][1], 3, 2);
        assert_even(rows[i][0], rows[i][1], 10, 4.25);
        assert_even(rows[i][0], rows[i][1], 64, 11.23);
        assert_even(rows[i][0], rows[i][1], 100, 14.08);
    }
}

/* Two names that differ in their last byte alone have nothing to do with each other. */
static void the_last_byte_matters_as_much_as_the_first(void **state)
{
    char name[] = "a.example.x";
    unsigned seen[4] = {0};

    (void)state;
    for (int c = 'a'; c <= 'z'; c++) {
        name[sizeof name - 2] = (char)c;
        seen[shard_of(name, sizeof name - 1, 4) - 1]++;
    }
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(seen[i], 1, 15);
}

static void only_len_bytes_of_the_name_count(void **state)
{
    (void)state;
    assert_int_equal(shard_of("a.exampleXYZ", 9, 1000), shard_of("a.example", 9, 1000));
    /* Bytes are bytes: a zero, and those that a char has as negative. */
    assert_int_not_equal(shard_of("a\0b", 3, 65536), shard_of("a", 1, 65536));
    assert_int_equal(shard_of("\xff\x80", 2, 65536), 13099);
}

/* Fleets of different versions and machines share a list: these numbers never change. They are from another
 * implementation of the rule. */
static void the_rule_is_the_one_of_ever(void **state)
{
    static const uint32_t counts[] = {2, 3, 10, 1000, 65536};
    static const struct {
        const char *name;
        uint32_t shards[5];
    } rows[] = {
        {"", {2, 2, 6, 522, 34161}},
        {"a", {2, 2, 6, 511, 33458}},
        {"example.com", {2, 2, 6, 562, 36784}},
        {"www.example.com", {2, 3, 7, 683, 44750}},
        {"xn--mnchen-3ya.de", {2, 2, 7, 606, 39659}},
        {"192.0.2.1", {1, 1, 2, 183, 11986}},
        {"[2001:db8::1]", {1, 1, 2, 101, 6611}},
        {"a.b.c.d.e.f.g.example", {2, 3, 10, 927, 60692}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t c = 0; c < 5; c++)
            assert_int_equal(shard_of(rows[i].name, strlen(rows[i].name), counts[c]), rows[i].shards[c]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_that_name_a_shard_are_read),
        cmocka_unit_test(texts_that_name_none_are_refused),
        cmocka_unit_test(one_shard_has_everything),
        cmocka_unit_test(every_name_is_in_exactly_one_shard),
        cmocka_unit_test(shards_are_even),
        cmocka_unit_test(the_last_byte_matters_as_much_as_the_first),
        cmocka_unit_test(only_len_bytes_of_the_name_count),
        cmocka_unit_test(the_rule_is_the_one_of_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
