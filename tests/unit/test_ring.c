/* The ring: what fits, what wraps, what is seen when, and how each side bears the other's nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shm/ring.h"

#define CAPACITY 4096u

struct pair {
    struct ring_header *memory;
    struct ring producer, consumer;
};

static int pair_setup(void **state)
{
    struct pair *p = test_malloc(sizeof *p);

    p->memory = aligned_alloc(64, ring_bytes(CAPACITY));
    assert_non_null(p->memory);
    memset(p->memory, 0xa5, ring_bytes(CAPACITY));
    ring_init(p->memory, CAPACITY);
    ring_attach_producer(&p->producer, p->memory, CAPACITY);
    ring_attach_consumer(&p->consumer, p->memory, CAPACITY);
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;

    free(p->memory);
    test_free(p);
    return 0;
}

static bool push(struct pair *p, const void *data, uint32_t len)
{
    void *room = ring_reserve(&p->producer, len);

    if (!room)
        return false;
    if (len > 0)
        memcpy(room, data, len);
    ring_commit(&p->producer, len);
    ring_publish(&p->producer);
    return true;
}

/* Pushes `len` bytes, all of them `fill`. */
static bool push_filled(struct pair *p, uint8_t fill, uint32_t len)
{
    uint8_t data[CAPACITY];

    memset(data, fill, sizeof data);
    return push(p, data, len);
}

static void pop_expect_filled(struct pair *p, uint8_t fill, uint32_t len)
{
    const void *message;
    uint32_t got;

    assert_int_equal(ring_peek(&p->consumer, &message, &got), OUTCOME_OK);
    assert_int_equal(got, len);
    for (uint32_t i = 0; i < len; i++)
        assert_int_equal(((const uint8_t *)message)[i], fill);
    ring_advance(&p->consumer);
    ring_release(&p->consumer);
}

static enum outcome peek(struct pair *p)
{
    const void *message;
    uint32_t len;

    return ring_peek(&p->consumer, &message, &len);
}

static void empty_ring_has_nothing(void **state)
{
    struct pair *p = *state;

    assert_int_equal(peek(p), OUTCOME_AGAIN);
    assert_false(ring_has_message(&p->consumer));
    assert_false(ring_has_message(&p->producer));
    assert_int_equal(ring_room(&p->producer), CAPACITY);
}

static void messages_come_out_in_order_and_aligned(void **state)
{
    struct pair *p = *state;

    for (uint8_t i = 0; i < 20; i++)
        assert_true(push_filled(p, i, i));
    for (uint8_t i = 0; i < 20; i++) {
        const void *message;
        uint32_t len;
        assert_int_equal(ring_peek(&p->consumer, &message, &len), OUTCOME_OK);
        assert_int_equal((uintptr_t)message % 8, 0);
        pop_expect_filled(p, i, i);
    }
    assert_int_equal(peek(p), OUTCOME_AGAIN);
}

static void committed_message_is_unseen_until_published(void **state)
{
    struct pair *p = *state;

    memset(ring_reserve(&p->producer, 100), 7, 100);
    assert_int_equal(peek(p), OUTCOME_AGAIN);
    ring_commit(&p->producer, 40);
    assert_int_equal(peek(p), OUTCOME_AGAIN);
    assert_false(ring_has_message(&p->consumer));
    ring_publish(&p->producer);
    assert_true(ring_has_message(&p->consumer));
    assert_true(ring_has_message(&p->producer));
    pop_expect_filled(p, 7, 40);
    assert_false(ring_has_message(&p->consumer));
    assert_false(ring_has_message(&p->producer));
}

static void reservation_is_dropped_by_the_next(void **state)
{
    struct pair *p = *state;

    memset(ring_reserve(&p->producer, 1000), 1, 1000);
    memset(ring_reserve(&p->producer, 24), 2, 24);
    ring_commit(&p->producer, 24);
    ring_publish(&p->producer);
    pop_expect_filled(p, 2, 24);
    assert_int_equal(peek(p), OUTCOME_AGAIN);
}

static void shorter_commit_gives_the_rest_back(void **state)
{
    struct pair *p = *state;

    assert_non_null(ring_reserve(&p->producer, 2000));
    ring_commit(&p->producer, 8);
    assert_int_equal(ring_room(&p->producer), CAPACITY - 16);
}

static void push_on_full_ring_is_refused(void **state)
{
    struct pair *p = *state;
    unsigned pushed = 0;

    while (pushed < 1000 && push_filled(p, (uint8_t)pushed, 56))
        pushed++;
    assert_int_equal(pushed, CAPACITY / 64);
    assert_int_equal(ring_room(&p->producer), 0);
    assert_null(ring_reserve(&p->producer, 0));
    pop_expect_filled(p, 0, 56);
    assert_int_equal(ring_room(&p->producer), 64);
    assert_true(push_filled(p, 99, 56));
    for (unsigned i = 1; i < pushed; i++)
        pop_expect_filled(p, (uint8_t)i, 56);
    pop_expect_filled(p, 99, 56);
}

static void message_above_maximum_is_refused(void **state)
{
    struct pair *p = *state;

    assert_null(ring_reserve(&p->producer, RING_MESSAGE_MAX(CAPACITY) + 1));
    assert_null(ring_reserve(&p->producer, UINT32_MAX));
    assert_true(push_filled(p, 3, RING_MESSAGE_MAX(CAPACITY)));
    pop_expect_filled(p, 3, RING_MESSAGE_MAX(CAPACITY));
}

/* Wherever the positions stand, an empty ring takes the longest message. */
static void longest_message_fits_at_every_offset(void **state)
{
    struct pair *p = *state;

    for (unsigned step = 0; step < CAPACITY / 8 + 1; step++) {
        assert_true(push_filled(p, (uint8_t)step, RING_MESSAGE_MAX(CAPACITY)));
        pop_expect_filled(p, (uint8_t)step, RING_MESSAGE_MAX(CAPACITY));
        assert_true(push_filled(p, 0xee, 0));
        pop_expect_filled(p, 0xee, 0);
    }
}

static void message_at_the_end_stays_contiguous(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 2000));
    assert_true(push_filled(p, 2, 1800));
    pop_expect_filled(p, 1, 2000);
    pop_expect_filled(p, 2, 1800);
    assert_true(push_filled(p, 3, 500));
    assert_int_equal(ring_room(&p->producer), CAPACITY - 512 - 280);
    pop_expect_filled(p, 3, 500);
}

/* 280 bytes are free at the end and 2008 at the start: the skip counts too. */
static void skipped_end_is_no_room(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 2000));
    assert_true(push_filled(p, 2, 1800));
    pop_expect_filled(p, 1, 2000);
    assert_int_equal(ring_room(&p->producer), 280 + 2008);
    assert_null(ring_reserve(&p->producer, 2001));
    assert_true(push_filled(p, 3, 2000));
    assert_int_equal(ring_room(&p->producer), 0);
    pop_expect_filled(p, 2, 1800);
    pop_expect_filled(p, 3, 2000);
}

static void twice_the_length_of_room_is_enough(void **state)
{
    struct pair *p = *state;

    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t len = (i * 7919) % RING_MESSAGE_MAX(CAPACITY);
        bool sure = ring_room(&p->producer) >= 2 * ((uint64_t)len + 16);
        bool done = push_filled(p, 5, len);
        assert_true(done || !sure);
        if (!done || i % 3 == 0) {
            while (peek(p) == OUTCOME_OK)
                ring_advance(&p->consumer);
            ring_release(&p->consumer);
        }
    }
}

static void passed_room_comes_back_only_on_release(void **state)
{
    struct pair *p = *state;
    const void *first;
    const void *message;
    uint32_t len;

    while (push_filled(p, 4, 248))
        ;
    assert_int_equal(ring_peek(&p->consumer, &first, &len), OUTCOME_OK);
    for (unsigned i = 0; i < CAPACITY / 256; i++) {
        assert_int_equal(ring_peek(&p->consumer, &message, &len), OUTCOME_OK);
        ring_advance(&p->consumer);
        assert_int_equal(atomic_load(&p->memory->head), 0);
        assert_null(ring_reserve(&p->producer, 0));
    }
    assert_int_equal(((const uint8_t *)first)[247], 4);
    assert_int_equal(peek(p), OUTCOME_AGAIN);
    ring_advance(&p->consumer);
    ring_release(&p->consumer);
    assert_int_equal(atomic_load(&p->memory->head), CAPACITY);
    assert_int_equal(ring_room(&p->producer), CAPACITY);
}

static void peek_without_advance_repeats(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 10));
    assert_true(push_filled(p, 2, 10));
    assert_int_equal(peek(p), OUTCOME_OK);
    pop_expect_filled(p, 1, 10);
    ring_advance(&p->consumer);
    pop_expect_filled(p, 2, 10);
}

static void reattached_sides_go_on_where_memory_says(void **state)
{
    struct pair *p = *state;

    for (uint8_t i = 0; i < 4; i++)
        assert_true(push_filled(p, i, 900));
    assert_false(push_filled(p, 9, 900));
    pop_expect_filled(p, 0, 900);
    ring_attach_producer(&p->producer, p->memory, CAPACITY);
    ring_attach_consumer(&p->consumer, p->memory, CAPACITY);
    for (uint8_t i = 1; i < 4; i++)
        pop_expect_filled(p, i, 900);
    assert_int_equal(peek(p), OUTCOME_AGAIN);
}

static void initialised_ring_forgets_what_was_in_it(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 100));
    ring_init(p->memory, CAPACITY);
    ring_attach_producer(&p->producer, p->memory, CAPACITY);
    ring_attach_consumer(&p->consumer, p->memory, CAPACITY);
    assert_int_equal(peek(p), OUTCOME_AGAIN);
    assert_true(push_filled(p, 2, 100));
    pop_expect_filled(p, 2, 100);
}

/* --- a broken producer --- */

static void tail_beyond_capacity_is_corrupt(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 56));
    atomic_store(&p->memory->tail, CAPACITY + 64);
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
    atomic_store(&p->memory->tail, UINT64_MAX - 7);
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

static void tail_that_goes_back_is_corrupt(void **state)
{
    struct pair *p = *state;

    for (int i = 0; i < 2; i++) {
        assert_true(push_filled(p, 1, 56));
        assert_int_equal(peek(p), OUTCOME_OK);
        ring_advance(&p->consumer);
    }
    assert_true(push_filled(p, 1, 56));
    atomic_store(&p->memory->tail, 64);
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

/* Room not yet released is not the producer's to fill. */
static void tail_over_unreleased_room_is_corrupt(void **state)
{
    struct pair *p = *state;

    while (push_filled(p, 1, 248))
        ;
    while (peek(p) == OUTCOME_OK)
        ring_advance(&p->consumer);
    atomic_store(&p->memory->tail, CAPACITY + 256);
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

static void tail_off_alignment_is_corrupt(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 56));
    atomic_store(&p->memory->tail, 68);
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

/* The header of the ring's first message. */
static uint32_t *first_header(struct pair *p)
{
    return (uint32_t *)(void *)p->producer.bytes;
}

static void length_beyond_what_is_committed_is_corrupt(void **state)
{
    struct pair *p = *state;
    static const uint32_t bad[] = {57,        64, 4088, RING_MESSAGE_MAX(CAPACITY) + 1, 0x7fffffff, UINT32_MAX - 7,
                                   UINT32_MAX};

    assert_true(push_filled(p, 1, 56));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        first_header(p)[0] = bad[i];
        assert_int_equal(peek(p), OUTCOME_CORRUPT);
    }
    first_header(p)[0] = 56;
    assert_int_equal(peek(p), OUTCOME_OK);
}

static void length_above_maximum_is_corrupt(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 2000));
    assert_true(push_filled(p, 1, 1000));
    first_header(p)[0] = RING_MESSAGE_MAX(CAPACITY);
    assert_int_equal(peek(p), OUTCOME_OK);
    first_header(p)[0] = RING_MESSAGE_MAX(CAPACITY) + 1;
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

static void message_over_the_end_is_corrupt(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 2000));
    assert_true(push_filled(p, 1, 1800));
    pop_expect_filled(p, 1, 2000);
    pop_expect_filled(p, 1, 1800);
    assert_true(push_filled(p, 2, 200));
    assert_true(push_filled(p, 3, 1000));
    uint32_t *last_header = (uint32_t *)(void *)(p->producer.bytes + 2008 + 1808);
    *last_header = 272;
    assert_int_equal(peek(p), OUTCOME_OK);
    *last_header = 273;
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

static void bad_mark_is_corrupt(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 56));
    first_header(p)[1] ^= 1;
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

/* A tail that moves without a message being written shows bytes of an earlier lap. */
static void message_of_an_earlier_lap_is_corrupt(void **state)
{
    struct pair *p = *state;

    for (unsigned i = 0; i < CAPACITY / 64; i++) {
        assert_true(push_filled(p, 1, 56));
        pop_expect_filled(p, 1, 56);
    }
    atomic_store(&p->memory->tail, CAPACITY + 64);
    assert_int_equal(peek(p), OUTCOME_CORRUPT);
}

static void skip_with_nothing_after_it_is_corrupt(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 2000));
    assert_true(push_filled(p, 1, 1800));
    pop_expect_filled(p, 1, 2000);
    pop_expect_filled(p, 1, 1800);
    assert_true(push_filled(p, 2, 500));
    assert_int_equal(peek(p), OUTCOME_OK);
    const uint64_t bad[] = {3816 + 8, CAPACITY - 8, CAPACITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ring_attach_consumer(&p->consumer, p->memory, CAPACITY);
        atomic_store(&p->memory->tail, bad[i]);
        assert_int_equal(peek(p), OUTCOME_CORRUPT);
    }
}

/* --- a broken consumer --- */

static void nonsense_head_is_a_full_ring(void **state)
{
    struct pair *p = *state;

    while (push_filled(p, 1, 56))
        ;
    uint64_t tail = atomic_load(&p->memory->tail);
    const uint64_t bad[] = {tail + 8, tail + CAPACITY, UINT64_MAX - 7, (uint64_t)0 - CAPACITY, 68, UINT64_MAX / 2};
    assert_int_equal(ring_taken_to(&p->producer), 0);
    assert_false(ring_is_broken(&p->producer));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        p->producer.broken = false;
        atomic_store(&p->memory->head, bad[i]);
        assert_null(ring_reserve(&p->producer, 8));
        assert_int_equal(ring_room(&p->producer), 0);
        assert_true(ring_is_broken(&p->producer));
    }
    atomic_store(&p->memory->head, 64);
    assert_non_null(ring_reserve(&p->producer, 8));
}

static void head_that_goes_back_takes_no_room_away(void **state)
{
    struct pair *p = *state;

    while (push_filled(p, 1, 56))
        ;
    for (int i = 0; i < 40; i++)
        pop_expect_filled(p, 1, 56);
    assert_int_equal(ring_room(&p->producer), 40 * 64);
    for (int i = 0; i < 20; i++)
        assert_true(push_filled(p, 1, 56));
    assert_false(ring_is_broken(&p->producer));
    atomic_store(&p->memory->head, 0);
    assert_int_equal(ring_room(&p->producer), 20 * 64);
    assert_true(ring_is_broken(&p->producer));
}

/* What is committed but not shown cannot have been consumed. */
static void head_over_unpublished_messages_is_unheard(void **state)
{
    struct pair *p = *state;

    for (unsigned i = 0; i < CAPACITY / 64; i++) {
        assert_non_null(ring_reserve(&p->producer, 56));
        ring_commit(&p->producer, 56);
    }
    atomic_store(&p->memory->head, 640);
    assert_null(ring_reserve(&p->producer, 8));
}

static void producer_attached_to_nonsense_stays_inside_the_ring(void **state)
{
    struct pair *p = *state;

    atomic_store(&p->memory->tail, 0x123456789abc0efull);
    atomic_store(&p->memory->head, 77);
    ring_attach_producer(&p->producer, p->memory, CAPACITY);
    assert_null(ring_reserve(&p->producer, 8));
    atomic_store(&p->memory->head, 0x123456789abc0e8ull);
    uint8_t *room = ring_reserve(&p->producer, 1000);
    assert_non_null(room);
    assert_int_equal((uintptr_t)room % 8, 0);
    assert_true(room >= p->producer.bytes && room + 1000 <= p->producer.bytes + CAPACITY);
}

static void each_side_sees_that_its_position_was_written_over(void **state)
{
    struct pair *p = *state;

    assert_true(push_filled(p, 1, 56));
    assert_true(ring_is_intact(&p->producer));
    pop_expect_filled(p, 1, 56);
    assert_true(ring_is_intact(&p->consumer));
    atomic_store(&p->memory->tail, 0);
    assert_false(ring_is_intact(&p->producer));
    assert_true(ring_is_intact(&p->consumer));
    atomic_store(&p->memory->tail, 64);
    atomic_store(&p->memory->head, 56);
    assert_true(ring_is_intact(&p->producer));
    assert_false(ring_is_intact(&p->consumer));
}

/* Whatever a broken producer leaves in memory, the consumer never leaves the ring; ASan watches. */
static void random_memory_never_leads_outside(void **state)
{
    struct pair *p = *state;
    uint32_t seed = 12345;
    unsigned corrupt = 0;

    for (int round = 0; round < 20000; round++) {
        ring_init(p->memory, CAPACITY);
        ring_attach_producer(&p->producer, p->memory, CAPACITY);
        ring_attach_consumer(&p->consumer, p->memory, CAPACITY);
        for (int i = 0; i < 12; i++)
            push_filled(p, 1, (seed >> (i + 8)) % 700);
        for (int i = 0; i < 3; i++) {
            seed = seed * 1664525u + 1013904223u;
            p->producer.bytes[(seed >> 8) % CAPACITY] = (uint8_t)seed;
        }
        const void *message;
        uint32_t len;
        enum outcome outcome;
        while ((outcome = ring_peek(&p->consumer, &message, &len)) == OUTCOME_OK) {
            const uint8_t *bytes = message;
            assert_true(bytes >= p->consumer.bytes && bytes + len <= p->consumer.bytes + CAPACITY);
            ring_advance(&p->consumer);
        }
        corrupt += outcome == OUTCOME_CORRUPT;
    }
    assert_true(corrupt > 100);
}

#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(empty_ring_has_nothing),
        RING_TEST(messages_come_out_in_order_and_aligned),
        RING_TEST(committed_message_is_unseen_until_published),
        RING_TEST(reservation_is_dropped_by_the_next),
        RING_TEST(shorter_commit_gives_the_rest_back),
        RING_TEST(push_on_full_ring_is_refused),
        RING_TEST(message_above_maximum_is_refused),
        RING_TEST(longest_message_fits_at_every_offset),
        RING_TEST(message_at_the_end_stays_contiguous),
        RING_TEST(skipped_end_is_no_room),
        RING_TEST(twice_the_length_of_room_is_enough),
        RING_TEST(passed_room_comes_back_only_on_release),
        RING_TEST(peek_without_advance_repeats),
        RING_TEST(reattached_sides_go_on_where_memory_says),
        RING_TEST(initialised_ring_forgets_what_was_in_it),
        RING_TEST(tail_beyond_capacity_is_corrupt),
        RING_TEST(tail_that_goes_back_is_corrupt),
        RING_TEST(tail_over_unreleased_room_is_corrupt),
        RING_TEST(tail_off_alignment_is_corrupt),
        RING_TEST(length_beyond_what_is_committed_is_corrupt),
        RING_TEST(length_above_maximum_is_corrupt),
        RING_TEST(message_over_the_end_is_corrupt),
        RING_TEST(bad_mark_is_corrupt),
        RING_TEST(message_of_an_earlier_lap_is_corrupt),
        RING_TEST(skip_with_nothing_after_it_is_corrupt),
        RING_TEST(nonsense_head_is_a_full_ring),
        RING_TEST(head_that_goes_back_takes_no_room_away),
        RING_TEST(head_over_unpublished_messages_is_unheard),
        RING_TEST(producer_attached_to_nonsense_stays_inside_the_ring),
        RING_TEST(each_side_sees_that_its_position_was_written_over),
        RING_TEST(random_memory_never_leads_outside),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
