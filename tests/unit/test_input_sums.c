/* What the input was: equal and changed inputs, at every edge of the blocks, in reads of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/input_sums.h"

#define BLOCK     ((size_t)INPUT_SUM_BYTES)
#define INPUT_MAX (5 * BLOCK)

static char input[INPUT_MAX];

static int make_input(void **state)
{
    (void)state;
    srandom(1);
    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (char)random();
    return 0;
}

/* A first run that has read `len` bytes of `data`. */
static void read_first(struct input_sums *s, const char *data, size_t len)
{
    *s = (struct input_sums){0};
    input_sums_add(s, data, len);
    assert_false(s->differs);
}

/* The next run, before its first byte. */
static void begin_again(struct input_sums *s, const struct input_sums *before)
{
    *s = (struct input_sums){0};
    input_sums_load(s, 0, before->sums, before->count);
    assert_true(input_sums_expect(s, before->bytes, before->partial));
}

/* What a second run says of `len` bytes of `data`, when the first had read `known` bytes of the input. */
static bool differs(size_t known, const char *data, size_t len)
{
    struct input_sums first;
    struct input_sums second;

    read_first(&first, input, known);
    begin_again(&second, &first);
    input_sums_add(&second, data, len);
    input_sums_end(&second);
    bool result = second.differs;
    input_sums_fini(&first);
    input_sums_fini(&second);
    return result;
}

static const size_t lens[] = {1,        2, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 77,
                              3 * BLOCK};
#define LENS (sizeof lens / sizeof lens[0])

static void sums_are_crc_32_of_64_kib_each(void **state)
{
    struct input_sums s = {0};
    char *zeros = calloc(2, BLOCK);

    (void)state;
    /* The check value of CRC-32/ISO-HDLC. */
    input_sums_add(&s, "123456789", 9);
    assert_int_equal(s.partial, 0xcbf43926);
    assert_int_equal(s.count, 0);
    input_sums_fini(&s);
    input_sums_add(&s, zeros, 2 * BLOCK);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.sums[0], 0xd7978eeb);
    assert_int_equal(s.sums[1], 0xd7978eeb);
    assert_int_equal(s.partial, 0);
    assert_int_equal(s.bytes, 2 * BLOCK);
    input_sums_fini(&s);
    free(zeros);
}

static void the_same_input_is_the_same(void **state)
{
    (void)state;
    assert_false(differs(0, input, 0));
    for (size_t i = 0; i < LENS; i++)
        assert_false(differs(lens[i], input, lens[i]));
}

static void an_input_that_has_grown_is_the_same(void **state)
{
    static const size_t more[] = {1, 50, BLOCK - 1, BLOCK, BLOCK + 1};

    (void)state;
    for (size_t i = 0; i < LENS; i++) {
        for (size_t j = 0; j < sizeof more / sizeof more[0]; j++)
            assert_false(differs(lens[i], input, lens[i] + more[j]));
    }
}

static void one_other_byte_is_another_input_wherever_it_is(void **state)
{
    static char copy[INPUT_MAX];

    (void)state;
    for (size_t i = 0; i < LENS; i++) {
        const size_t places[] = {0, lens[i] / 2, lens[i] - 1, lens[i] > BLOCK ? BLOCK - 1 : 0,
                                 lens[i] > BLOCK ? BLOCK : 0};
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
            memcpy(copy, input, sizeof copy);
            copy[places[p]] ^= 1;
            assert_true(differs(lens[i], copy, lens[i]));
            assert_true(differs(lens[i], copy, lens[i] + 100));
            assert_true(differs(lens[i], copy, lens[i] + BLOCK));
        }
        /* Behind what was read it may be what it likes. */
        memcpy(copy, input, sizeof copy);
        copy[lens[i]] ^= 1;
        assert_false(differs(lens[i], copy, lens[i] + 100));
    }
}

static void a_shorter_input_is_another(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENS; i++) {
        assert_true(differs(lens[i], input, lens[i] - 1));
        assert_true(differs(lens[i], input, 0));
        assert_true(differs(lens[i], input, lens[i] / 2));
        /* Also when it ends with a block. */
        if (lens[i] > BLOCK)
            assert_true(differs(lens[i], input, BLOCK));
    }
}

static void a_byte_less_in_the_middle_is_another_input(void **state)
{
    static char copy[INPUT_MAX];

    (void)state;
    memcpy(copy, input, 1000);
    memcpy(copy + 1000, input + 1001, sizeof copy - 1001);
    for (size_t i = 4; i < LENS; i++)
        assert_true(differs(lens[i], copy, lens[i]));
}

static void sums_of_a_run_that_goes_on_are_those_of_one_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENS; i++) {
        struct input_sums first;
        struct input_sums second;
        struct input_sums whole;
        read_first(&first, input, lens[i]);
        begin_again(&second, &first);
        input_sums_add(&second, input, INPUT_MAX - 5);
        read_first(&whole, input, INPUT_MAX - 5);
        assert_false(second.differs);
        assert_int_equal(second.count, whole.count);
        assert_int_equal(second.bytes, whole.bytes);
        assert_int_equal(second.partial, whole.partial);
        assert_memory_equal(second.sums, whole.sums, whole.count * sizeof *whole.sums);
        input_sums_fini(&first);
        input_sums_fini(&second);
        input_sums_fini(&whole);
    }
}

/* The bytes that must still come before the ones read may be used, by counting. */
static size_t wanted_missing(size_t at, size_t known)
{
    size_t block_end = (at / BLOCK + 1) * BLOCK;

    if (at >= known || at % BLOCK == 0)
        return 0;
    return (block_end < known ? block_end : known) - at;
}

static void bytes_are_missing_until_their_block_is_proven(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENS; i++) {
        struct input_sums first;
        struct input_sums second;
        read_first(&first, input, lens[i]);
        begin_again(&second, &first);
        for (size_t at = 0; at < lens[i] + 3; at++) {
            assert_int_equal(input_sums_missing(&second), wanted_missing(at, lens[i]));
            input_sums_add(&second, input + at, 1);
        }
        assert_int_equal(input_sums_missing(&second), 0);
        assert_false(second.differs);
        input_sums_fini(&first);
        input_sums_fini(&second);
    }
}

/* Reads of any sizes; a byte may be used once nothing is missing. One that is not of then must never be. */
static void any_reads_give_the_same_sums_and_never_use_a_changed_byte(void **state)
{
    static char copy[INPUT_MAX];

    (void)state;
    srandom(3);
    for (unsigned round = 0; round < 150; round++) {
        struct input_sums first;
        struct input_sums second;
        size_t known = 1 + (size_t)random() % (INPUT_MAX - 1);
        size_t wrong = random() % 3 ? (size_t)random() % known : INPUT_MAX;
        size_t at = 0;
        size_t used = 0;
        memcpy(copy, input, sizeof copy);
        if (wrong < INPUT_MAX)
            copy[wrong] ^= 0x10;
        read_first(&first, input, known);
        begin_again(&second, &first);
        while (at < INPUT_MAX && !second.differs) {
            size_t part = 1 + (size_t)random() % (random() % 2 ? 2 * BLOCK : 300);
            part = part < INPUT_MAX - at ? part : INPUT_MAX - at;
            input_sums_add(&second, copy + at, part);
            at += part;
            if (!second.differs && input_sums_missing(&second) == 0)
                used = at;
            assert_true(used <= wrong);
        }
        assert_int_equal(second.differs, wrong < known);
        if (!second.differs) {
            struct input_sums whole;
            read_first(&whole, copy, INPUT_MAX);
            assert_int_equal(second.count, whole.count);
            assert_memory_equal(second.sums, whole.sums, whole.count * sizeof *whole.sums);
            input_sums_fini(&whole);
        }
        input_sums_fini(&first);
        input_sums_fini(&second);
    }
}

static void sums_that_have_a_gap_do_not_fit(void **state)
{
    struct input_sums s = {0};
    uint32_t sums[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    (void)state;
    input_sums_load(&s, 0, sums, 4);
    input_sums_load(&s, 5, sums, 4);
    assert_int_equal(s.count, 4);
    assert_false(input_sums_expect(&s, 5 * BLOCK, 0));
    assert_false(input_sums_expect(&s, UINT64_MAX, 0));
    assert_true(input_sums_expect(&s, 4 * BLOCK + 1, 9));
    input_sums_load(&s, 4, sums, 2);
    assert_int_equal(s.count, 6);
    input_sums_fini(&s);
}

/* Sums that a later commit wrote for a larger input stay behind in the map. */
static void sums_beyond_what_was_read_are_dropped(void **state)
{
    struct input_sums first;
    struct input_sums s = {0};

    (void)state;
    read_first(&first, input, 4 * BLOCK);
    input_sums_load(&s, 0, first.sums, first.count);
    assert_true(input_sums_expect(&s, 0, 0));
    assert_int_equal(s.count, 0);
    input_sums_add(&s, input + 1, BLOCK);
    assert_false(s.differs);
    assert_int_equal(s.count, 1);
    input_sums_fini(&s);
    input_sums_fini(&first);
}

/* A last line without its newline was done as it was: it may get that newline, and not become another. */
static void a_line_that_was_the_last_may_end_and_not_grow(void **state)
{
    static const struct {
        const char *more;
        bool differs;
    } rows[] = {{"", false}, {"\n", false}, {"\r\n", false}, {"\nnext", false}, {"x", true}, {" ", true}, {"", false}};

    (void)state;
    for (size_t i = 0; i < LENS; i++) {
        for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
            for (int in_line = 0; in_line < 2; in_line++) {
                struct input_sums first;
                struct input_sums second;
                read_first(&first, input, lens[i]);
                begin_again(&second, &first);
                second.ends_in_line = in_line;
                input_sums_add(&second, input, lens[i]);
                input_sums_add(&second, rows[row].more, strlen(rows[row].more));
                assert_int_equal(second.differs, in_line && rows[row].differs);
                input_sums_fini(&first);
                input_sums_fini(&second);
            }
        }
    }
}

static void many_sums_come_in_parts(void **state)
{
    struct input_sums s = {0};
    uint32_t sums[1024];

    (void)state;
    for (uint32_t part = 0; part < 5; part++) {
        for (uint32_t i = 0; i < 1024; i++)
            sums[i] = part * 1024 + i;
        input_sums_load(&s, (uint64_t)part * 1024, sums, 1024);
    }
    assert_int_equal(s.count, 5 * 1024);
    for (uint32_t i = 0; i < s.count; i++)
        assert_int_equal(s.sums[i], i);
    input_sums_fini(&s);
    assert_null(s.sums);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_crc_32_of_64_kib_each),
        cmocka_unit_test(the_same_input_is_the_same),
        cmocka_unit_test(an_input_that_has_grown_is_the_same),
        cmocka_unit_test(one_other_byte_is_another_input_wherever_it_is),
        cmocka_unit_test(a_shorter_input_is_another),
        cmocka_unit_test(a_byte_less_in_the_middle_is_another_input),
        cmocka_unit_test(sums_of_a_run_that_goes_on_are_those_of_one_run),
        cmocka_unit_test(bytes_are_missing_until_their_block_is_proven),
        cmocka_unit_test(any_reads_give_the_same_sums_and_never_use_a_changed_byte),
        cmocka_unit_test(sums_that_have_a_gap_do_not_fit),
        cmocka_unit_test(sums_beyond_what_was_read_are_dropped),
        cmocka_unit_test(a_line_that_was_the_last_may_end_and_not_grow),
        cmocka_unit_test(many_sums_come_in_parts),
    };

    return cmocka_run_group_tests(tests, make_input, NULL);
}
