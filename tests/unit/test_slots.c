/* Slots: which sizes have them, that they are used again, and that their pages go when nobody needs them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/slots.h"

#define FRAME_BYTES 16394
#define MANY        200

static void *table;

static void *take(size_t size)
{
    return slots_for_nghttp2(&table).malloc(size, &table);
}

static void *take_zeroed(size_t count, size_t size)
{
    return slots_for_nghttp2(&table).calloc(count, size, &table);
}

static void give(void *memory)
{
    slots_for_nghttp2(&table).free(memory, &table);
}

/* How many of the pages that begin in the buffer are in memory. */
static unsigned pages_of(void *memory)
{
    unsigned char present[6] = {0};
    unsigned count = 0;

    assert_int_equal(mincore(memory, sizeof present * 4096, present), 0);
    for (size_t i = 0; i < sizeof present; i++)
        count += present[i] & 1u;
    return count;
}

static void frame_buffers_have_pages_of_their_own(void **state)
{
    char *first = take(FRAME_BYTES);
    char *second = take(FRAME_BYTES);

    (void)state;
    assert_int_equal((uintptr_t)first % 4096, 0);
    assert_int_equal((uintptr_t)second % 4096, 0);
    memset(first, 1, FRAME_BYTES);
    memset(second, 2, FRAME_BYTES);
    assert_int_equal(first[FRAME_BYTES - 1], 1);
    give(second);
    give(first);
}

static void untouched_pages_are_not_there(void **state)
{
    void *held[MANY];

    (void)state;
    /* Beyond those that other cases have touched. */
    for (size_t i = 0; i < MANY; i++)
        held[i] = take(FRAME_BYTES);
    memset(held[MANY - 1], 1, 100);
    assert_int_equal(pages_of(held[MANY - 1]), 1);
    for (size_t i = 0; i < MANY; i++)
        give(held[i]);
}

static void slot_given_back_last_is_the_next(void **state)
{
    void *first = take(FRAME_BYTES);
    void *second = take(FRAME_BYTES);

    (void)state;
    give(first);
    give(second);
    assert_ptr_equal(take(FRAME_BYTES), second);
    assert_ptr_equal(take(FRAME_BYTES), first);
    give(first);
    give(second);
}

static void trim_takes_the_pages_of_spare_slots_and_of_no_others(void **state)
{
    void *held[MANY];
    unsigned present = 0;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        held[i] = take(FRAME_BYTES);
        memset(held[i], (int)i, FRAME_BYTES);
    }
    for (size_t i = 1; i < MANY; i++)
        give(held[i]);
    slots_trim();
    assert_int_equal(pages_of(held[0]), 5);
    assert_int_equal(((char *)held[0])[FRAME_BYTES - 1], 0);
    for (size_t i = 1; i < MANY; i++)
        present += pages_of(held[i]) > 0;
    assert_in_range(present, 1, MANY / 4);
    /* What was blank is used again like any other. */
    for (size_t i = 1; i < MANY; i++) {
        held[i] = take(FRAME_BYTES);
        memset(held[i], (int)i, FRAME_BYTES);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(((unsigned char *)held[i])[FRAME_BYTES - 1], (unsigned char)i);
        give(held[i]);
    }
}

static void other_sizes_are_not_slots(void **state)
{
    void *slot = take(FRAME_BYTES);

    (void)state;
    give(slot);
    char *small = take(100);
    char *large = take(100000);
    assert_ptr_not_equal(small, slot);
    assert_ptr_not_equal(large, slot);
    memset(small, 1, 100);
    memset(large, 1, 100000);
    give(small);
    give(large);
    give(NULL);
}

static void slot_grows_into_other_memory_and_keeps_its_bytes(void **state)
{
    nghttp2_mem memory = slots_for_nghttp2(&table);
    char *slot = memory.realloc(NULL, FRAME_BYTES, &table);

    (void)state;
    for (size_t i = 0; i < FRAME_BYTES; i++)
        slot[i] = (char)(i % 251);
    assert_ptr_equal(memory.realloc(slot, FRAME_BYTES + 1000, &table), slot);
    char *larger = memory.realloc(slot, 50000, &table);
    assert_ptr_not_equal(larger, slot);
    for (size_t i = 0; i < FRAME_BYTES; i++)
        assert_int_equal(larger[i], (char)(i % 251));
    memory.free(larger, &table);
    assert_ptr_equal(take(FRAME_BYTES), slot);
    give(slot);
}

static void table_without_streams_gives_its_page_back_and_stays_zero(void **state)
{
    unsigned char *dirty = take(FRAME_BYTES);

    (void)state;
    memset(dirty, 1, FRAME_BYTES);
    give(dirty);
    unsigned char *made = take_zeroed(256, 16);
    assert_ptr_equal(made, dirty);
    assert_ptr_equal(table, made);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(made[i], 0);
    made[4095] = 1;
    slots_drop_blank(table);
    assert_int_equal(made[4095], 1);
    made[4095] = 0;
    unsigned before = pages_of(made);
    slots_drop_blank(table);
    assert_int_equal(pages_of(made), before - 1);
    assert_int_equal(made[4095], 0);
    give(made);
    assert_null(table);
    slots_drop_blank(table);
}

static void other_zeroed_sizes_are_no_tables(void **state)
{
    void *other = take_zeroed(1, 2928);

    (void)state;
    assert_null(table);
    give(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_buffers_have_pages_of_their_own),
        cmocka_unit_test(untouched_pages_are_not_there),
        cmocka_unit_test(slot_given_back_last_is_the_next),
        cmocka_unit_test(trim_takes_the_pages_of_spare_slots_and_of_no_others),
        cmocka_unit_test(other_sizes_are_not_slots),
        cmocka_unit_test(slot_grows_into_other_memory_and_keeps_its_bytes),
        cmocka_unit_test(table_without_streams_gives_its_page_back_and_stays_zero),
        cmocka_unit_test(other_zeroed_sizes_are_no_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
