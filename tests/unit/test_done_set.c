/* Lines that are done: the edges of chunks, the base that rises, which chunks are told as changed, and what is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/done_set.h"

#define LINES  ((uint64_t)DONE_CHUNK_LINES)
#define CHUNKS 16

static int setup(void **state)
{
    *state = done_set_new();
    return 0;
}

static int teardown(void **state)
{
    done_set_free(*state);
    return 0;
}

static void add_chunk(struct done_set *s, uint64_t number)
{
    for (uint64_t i = 1; i <= LINES; i++)
        done_set_add(s, number * LINES + i);
}

/* Takes all that changed: a bit for each chunk, none twice. */
static uint64_t changed(struct done_set *s)
{
    const uint8_t *bits;
    uint64_t number;
    uint64_t seen = 0;

    while (done_set_take_changed(s, &number, &bits)) {
        assert_non_null(bits);
        assert_in_range(number, done_set_base(s), 63);
        assert_int_equal(seen >> number & 1, 0);
        seen |= (uint64_t)1 << number;
    }
    return seen;
}

static void nothing_is_done_at_first(void **state)
{
    struct done_set *s = *state;

    assert_false(done_set_has(s, 1));
    assert_false(done_set_has(s, UINT64_MAX >> 8));
    assert_int_equal(done_set_count(s), 0);
    assert_int_equal(done_set_base(s), 0);
    assert_int_equal(changed(s), 0);
}

static void a_line_is_done_and_its_neighbours_are_not(void **state)
{
    static const uint64_t lines[] = {
        1, 2, 8, 9, LINES - 1, LINES, LINES + 1, LINES + 2, 2 * LINES, 2 * LINES + 1, 3 * LINES + 77};

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct done_set *s = done_set_new();
        done_set_add(s, lines[i]);
        assert_true(done_set_has(s, lines[i]));
        assert_false(lines[i] > 1 && done_set_has(s, lines[i] - 1));
        assert_false(done_set_has(s, lines[i] + 1));
        assert_false(done_set_has(s, lines[i] + LINES));
        assert_int_equal(done_set_count(s), 1);
        assert_int_equal(changed(s), (uint64_t)1 << (lines[i] - 1) / LINES);
        done_set_free(s);
    }
}

static void a_chunk_ends_with_its_32768th_line(void **state)
{
    struct done_set *s = *state;

    for (uint64_t line = 1; line < LINES; line++)
        done_set_add(s, line);
    assert_int_equal(done_set_base(s), 0);
    assert_false(done_set_has(s, LINES));
    done_set_add(s, LINES);
    assert_int_equal(done_set_base(s), 1);
    assert_true(done_set_has(s, LINES));
    assert_false(done_set_has(s, LINES + 1));
    assert_int_equal(done_set_count(s), LINES);
}

static void the_base_rises_over_all_that_is_full(void **state)
{
    struct done_set *s = *state;

    add_chunk(s, 2);
    add_chunk(s, 1);
    assert_int_equal(done_set_base(s), 0);
    assert_true(done_set_has(s, LINES + 1));
    assert_true(done_set_has(s, 3 * LINES));
    assert_false(done_set_has(s, LINES));
    done_set_add(s, 4 * LINES + 5);
    add_chunk(s, 0);
    assert_int_equal(done_set_base(s), 3);
    assert_true(done_set_has(s, 1));
    assert_true(done_set_has(s, 4 * LINES + 5));
    assert_false(done_set_has(s, 3 * LINES + 1));
    assert_false(done_set_has(s, 4 * LINES + 4));
    assert_int_equal(done_set_count(s), 3 * LINES + 1);
    /* The chunks behind the base are still the ones that they were. */
    add_chunk(s, 3);
    assert_int_equal(done_set_base(s), 4);
    add_chunk(s, 4);
    assert_int_equal(done_set_base(s), 5);
    assert_int_equal(done_set_count(s), 5 * LINES);
}

static void twice_is_once(void **state)
{
    struct done_set *s = *state;

    done_set_add(s, 5);
    assert_int_equal(changed(s), 1);
    done_set_add(s, 5);
    assert_int_equal(done_set_count(s), 1);
    assert_int_equal(changed(s), 0);
    add_chunk(s, 0);
    add_chunk(s, 0);
    assert_int_equal(done_set_count(s), LINES);
    assert_int_equal(done_set_base(s), 1);
    add_chunk(s, 2);
    add_chunk(s, 2);
    assert_int_equal(done_set_count(s), 2 * LINES);
}

static void a_changed_chunk_is_told_once_until_it_changes_again(void **state)
{
    struct done_set *s = *state;

    done_set_add(s, 1);
    done_set_add(s, 2);
    done_set_add(s, 3 * LINES + 1);
    assert_int_equal(changed(s), 1 | 1 << 3);
    assert_int_equal(changed(s), 0);
    done_set_add(s, 3);
    assert_int_equal(changed(s), 1);
    /* Chunks in between came to be and have nothing in them. */
    done_set_add(s, 2 * LINES + 1);
    assert_int_equal(changed(s), 1 << 2);
}

static void a_touched_chunk_is_told_again(void **state)
{
    struct done_set *s = *state;

    done_set_add(s, 1);
    done_set_add(s, LINES + 1);
    assert_int_equal(changed(s), 3);
    done_set_touch(s, 1);
    done_set_touch(s, 1);
    assert_int_equal(changed(s), 2);
    done_set_add(s, LINES + 2);
    done_set_touch(s, 1);
    assert_int_equal(changed(s), 2);
    /* What is not there, or is part of the base, is no chunk. */
    done_set_touch(s, 2);
    done_set_touch(s, UINT64_MAX);
    add_chunk(s, 0);
    done_set_touch(s, 0);
    assert_int_equal(changed(s), 0);
}

static void what_the_base_has_swallowed_is_not_told(void **state)
{
    struct done_set *s = *state;

    add_chunk(s, 1);
    done_set_add(s, 2 * LINES + 1);
    add_chunk(s, 0);
    assert_int_equal(done_set_base(s), 2);
    assert_int_equal(changed(s), 1 << 2);
}

static void a_full_chunk_beyond_the_base_is_told_with_all_its_bits(void **state)
{
    struct done_set *s = *state;
    const uint8_t *bits;
    uint64_t number;

    add_chunk(s, 1);
    assert_true(done_set_take_changed(s, &number, &bits));
    assert_int_equal(number, 1);
    for (size_t i = 0; i < DONE_CHUNK_BYTES; i++)
        assert_int_equal(bits[i], 0xff);
    assert_false(done_set_take_changed(s, &number, &bits));
}

static void bit_0_of_the_first_byte_is_a_chunks_first_line(void **state)
{
    struct done_set *s = *state;
    const uint8_t *bits;
    uint64_t number;
    uint8_t wanted[DONE_CHUNK_BYTES] = {[0] = 0x81, [1] = 0x02, [DONE_CHUNK_BYTES - 1] = 0x80};

    done_set_add(s, LINES + 1);
    done_set_add(s, LINES + 8);
    done_set_add(s, LINES + 10);
    done_set_add(s, 2 * LINES);
    assert_true(done_set_take_changed(s, &number, &bits));
    assert_int_equal(number, 1);
    assert_memory_equal(bits, wanted, sizeof wanted);
}

static void what_was_loaded_is_done_and_unchanged(void **state)
{
    struct done_set *s = *state;
    uint8_t bits[DONE_CHUNK_BYTES] = {[0] = 0x05, [DONE_CHUNK_BYTES - 1] = 0x80};

    done_set_start(s, 2);
    done_set_load(s, 3, bits);
    assert_int_equal(done_set_base(s), 2);
    assert_int_equal(done_set_count(s), 2 * LINES + 3);
    assert_true(done_set_has(s, 1));
    assert_true(done_set_has(s, 2 * LINES));
    assert_false(done_set_has(s, 2 * LINES + 1));
    assert_true(done_set_has(s, 3 * LINES + 1));
    assert_false(done_set_has(s, 3 * LINES + 2));
    assert_true(done_set_has(s, 3 * LINES + 3));
    assert_true(done_set_has(s, 4 * LINES));
    assert_int_equal(changed(s), 0);
    done_set_add(s, 3 * LINES + 2);
    assert_int_equal(changed(s), 1 << 3);
    assert_int_equal(done_set_count(s), 2 * LINES + 4);
    add_chunk(s, 3);
    add_chunk(s, 2);
    assert_int_equal(done_set_base(s), 4);
}

static void a_full_chunk_may_be_loaded(void **state)
{
    struct done_set *s = *state;
    uint8_t bits[DONE_CHUNK_BYTES];

    memset(bits, 0xff, sizeof bits);
    done_set_load(s, 2, bits);
    assert_int_equal(done_set_base(s), 0);
    done_set_load(s, 0, bits);
    assert_int_equal(done_set_base(s), 1);
    add_chunk(s, 1);
    assert_int_equal(done_set_base(s), 3);
    assert_int_equal(done_set_count(s), 3 * LINES);
}

static void an_empty_chunk_and_one_below_the_base_load_as_nothing(void **state)
{
    struct done_set *s = *state;
    uint8_t bits[DONE_CHUNK_BYTES] = {0};

    done_set_start(s, 1);
    done_set_load(s, 5, bits);
    bits[0] = 1;
    done_set_load(s, 0, bits);
    assert_int_equal(done_set_count(s), LINES);
    assert_false(done_set_has(s, 5 * LINES + 1));
}

/* What is told as changed, kept over what was kept before. */
struct kept {
    uint64_t base;
    bool has[CHUNKS];
    uint8_t bits[CHUNKS][DONE_CHUNK_BYTES];
};

static void keep(struct kept *k, struct done_set *s)
{
    const uint8_t *bits;
    uint64_t number;

    k->base = done_set_base(s);
    while (done_set_take_changed(s, &number, &bits)) {
        assert_in_range(number, k->base, CHUNKS - 1);
        k->has[number] = true;
        memcpy(k->bits[number], bits, DONE_CHUNK_BYTES);
    }
}

static struct done_set *load(const struct kept *k)
{
    struct done_set *s = done_set_new();

    done_set_start(s, k->base);
    for (uint64_t i = k->base; i < CHUNKS; i++) {
        if (k->has[i])
            done_set_load(s, i, k->bits[i]);
    }
    return s;
}

static void assert_same(const struct done_set *s, const bool *done)
{
    uint64_t count = 0;

    for (uint64_t line = 1; line <= CHUNKS * LINES; line++) {
        if (done_set_has(s, line) != done[line - 1])
            fail_msg("line %llu is %d", (unsigned long long)line, !done[line - 1]);
        count += done[line - 1];
    }
    assert_int_equal(done_set_count(s), count);
}

/* The first chunk with a gap is the base. */
static uint64_t base_of(const bool *done)
{
    uint64_t line = 0;

    while (line < CHUNKS * LINES && done[line])
        line++;
    return line / LINES;
}

/* Mostly from the front, as answers come, some far ahead, some twice; kept and loaded again at random moments. */
static void any_order_is_the_same_as_a_bitmap_also_after_runs(void **state)
{
    static bool done[CHUNKS * DONE_CHUNK_LINES];
    static struct kept kept;
    uint64_t front = 0;

    memset(&kept, 0, sizeof kept);
    memset(done, 0, sizeof done);
    srandom(7);
    for (unsigned run = 0; run < 12; run++) {
        for (unsigned i = 0; i < 60000; i++) {
            while (front < CHUNKS * LINES && done[front])
                front++;
            uint64_t ahead = (uint64_t)random() % (random() % 50 ? 20000 : CHUNKS * LINES);
            uint64_t line = random() % 3 ? front : front + ahead;
            if (line >= CHUNKS * LINES)
                continue;
            done[line] = true;
            done_set_add(*state, line + 1);
            if (random() % 20000 == 0)
                keep(&kept, *state);
        }
        assert_int_equal(done_set_base(*state), base_of(done));
        keep(&kept, *state);
        done_set_free(*state);
        *state = load(&kept);
        assert_same(*state, done);
        assert_int_equal(done_set_base(*state), base_of(done));
    }
    assert_true(base_of(done) > 5);
}

static void many_chunks_fill_in_any_order(void **state)
{
    struct done_set *s = *state;
    unsigned order[CHUNKS];

    srandom(11);
    for (unsigned i = 0; i < CHUNKS; i++)
        order[i] = i;
    for (unsigned i = CHUNKS - 1; i > 0; i--) {
        unsigned j = (unsigned)random() % (i + 1);
        unsigned swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    bool full[CHUNKS + 1] = {0};
    for (unsigned i = 0; i < CHUNKS; i++) {
        unsigned base = 0;
        add_chunk(s, order[i]);
        full[order[i]] = true;
        while (full[base])
            base++;
        assert_int_equal(done_set_base(s), base);
        assert_int_equal(done_set_count(s), (i + 1) * LINES);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_done_at_first),
        CASE(a_line_is_done_and_its_neighbours_are_not),
        CASE(a_chunk_ends_with_its_32768th_line),
        CASE(the_base_rises_over_all_that_is_full),
        CASE(twice_is_once),
        CASE(a_changed_chunk_is_told_once_until_it_changes_again),
        CASE(a_touched_chunk_is_told_again),
        CASE(what_the_base_has_swallowed_is_not_told),
        CASE(a_full_chunk_beyond_the_base_is_told_with_all_its_bits),
        CASE(bit_0_of_the_first_byte_is_a_chunks_first_line),
        CASE(what_was_loaded_is_done_and_unchanged),
        CASE(a_full_chunk_may_be_loaded),
        CASE(an_empty_chunk_and_one_below_the_base_load_as_nothing),
        CASE(any_order_is_the_same_as_a_bitmap_also_after_runs),
        CASE(many_chunks_fill_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
