/* Kept answers in the map: what comes back, what gives way, what is too old, too long or no record of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "shm/store_parts.h"
#include "tests/unit/store_place.h"

static const uint8_t *key(unsigned n)
{
    static uint8_t bytes[STORE_ANSWER_KEY_BYTES];

    memset(bytes, 0, sizeof bytes);
    bytes[0] = (uint8_t)n;
    bytes[1] = (uint8_t)(n >> 8);
    return bytes;
}

static void assert_kept(struct store *s, unsigned n, uint64_t oldest, const char *text)
{
    struct buffer out = {0};
    uint64_t wall_us = 0;
    enum outcome outcome = store_answer_get(s, key(n), oldest, &out, &wall_us);

    assert_int_equal(outcome, text ? OUTCOME_OK : OUTCOME_NOT_FOUND);
    if (text) {
        assert_int_equal(out.len, strlen(text));
        assert_memory_equal(out.data, text, out.len);
        assert_int_equal(wall_us, 1000 + n);
    }
    buffer_fini(&out);
}

static enum outcome keep(struct store *s, unsigned n, const char *text, uint64_t max)
{
    return store_answer_put(s, key(n), 1000 + n, text, strlen(text), max);
}

static struct store *open_answers(const struct place *place, uint64_t oldest)
{
    struct store *s = open_store(place->dir);

    assert_int_equal(store_answer_open(s, oldest), OUTCOME_OK);
    return s;
}

static void an_answer_survives_and_gives_way_to_a_newer_one(void **state)
{
    struct store *s = open_answers(*state, 0);

    assert_kept(s, 1, 0, NULL);
    assert_int_equal(keep(s, 1, "{\"a\":1}", 10), OUTCOME_OK);
    assert_kept(s, 1, 0, "{\"a\":1}");
    store_close(s);
    s = open_answers(*state, 0);
    assert_kept(s, 1, 0, "{\"a\":1}");
    assert_int_equal(keep(s, 1, "{\"b\":22}", 10), OUTCOME_OK);
    store_commit(s);
    assert_kept(s, 1, 0, "{\"b\":22}");
    assert_kept(s, 2, 0, NULL);
    store_close(s);
}

static void old_answers_are_not_found_and_gone_at_the_next_start(void **state)
{
    struct store *s = open_answers(*state, 0);

    for (unsigned n = 0; n < 100; n++)
        assert_int_equal(keep(s, n, "{}", 1000), OUTCOME_OK);
    assert_kept(s, 50, 1050, "{}");
    assert_kept(s, 49, 1050, NULL);
    store_close(s);
    s = open_answers(*state, 1050);
    assert_kept(s, 49, 0, NULL);
    assert_kept(s, 50, 0, "{}");
    store_close(s);
}

static void a_full_table_takes_only_what_it_has(void **state)
{
    struct store *s = open_answers(*state, 0);

    assert_int_equal(keep(s, 1, "{}", 2), OUTCOME_OK);
    assert_int_equal(keep(s, 2, "{}", 2), OUTCOME_OK);
    assert_int_equal(keep(s, 3, "{}", 2), OUTCOME_FULL);
    assert_int_equal(keep(s, 2, "{\"new\":1}", 2), OUTCOME_OK);
    assert_kept(s, 2, 0, "{\"new\":1}");
    assert_kept(s, 3, 0, NULL);
    store_close(s);
}

static void the_longest_answer_is_taken_and_a_longer_one_is_not(void **state)
{
    static char text[STORE_ANSWER_MAX + 2];
    struct store *s = open_answers(*state, 0);

    memset(text, 'x', sizeof text - 1);
    assert_int_equal(keep(s, 1, text, 10), OUTCOME_SYSTEM);
    text[STORE_ANSWER_MAX] = '\0';
    assert_int_equal(keep(s, 1, text, 10), OUTCOME_OK);
    assert_kept(s, 1, 0, text);
    store_close(s);
}

static void records_that_are_none_of_ours_are_as_good_as_none_and_purged(void **state)
{
    static const char *const bad[] = {"", "A", "A\1......\0\0\0\0\0\0\0", "B\1......ffffffffx", "A\2......ffffffffx"};
    struct store *s = open_answers(*state, 0);

    for (unsigned n = 0; n < 5; n++) {
        MDB_val k = {STORE_ANSWER_KEY_BYTES, (void *)(uintptr_t)key(n)};
        MDB_val v = {n == 2 ? 15 : strlen(bad[n]), (void *)(uintptr_t)bad[n]};
        assert_int_equal(mdb_put(store_begin_write(s), s->answers, &k, &v, 0), 0);
        assert_kept(s, n, 0, NULL);
    }
    store_close(s);
    s = open_answers(*state, 0);
    MDB_stat stat;
    assert_int_equal(mdb_stat(store_begin_write(s), s->answers, &stat), 0);
    assert_int_equal(stat.ms_entries, 0);
    store_close(s);
}

static void names_and_answers_live_side_by_side(void **state)
{
    struct store *s = open_answers(*state, 0);
    struct store_dns *dns = NULL;

    put(s, "example.com", OUTCOME_OK, 1, 1000);
    assert_int_equal(keep(s, 1, "{}", 10), OUTCOME_OK);
    store_close(s);
    s = open_store(((struct place *)*state)->dir);
    assert_int_equal(store_dns_get(s, "example.com", 11, 1, &dns), OUTCOME_OK);
    free(dns);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_answer_survives_and_gives_way_to_a_newer_one),
        CASE(old_answers_are_not_found_and_gone_at_the_next_start),
        CASE(a_full_table_takes_only_what_it_has),
        CASE(the_longest_answer_is_taken_and_a_longer_one_is_not),
        CASE(records_that_are_none_of_ours_are_as_good_as_none_and_purged),
        CASE(names_and_answers_live_side_by_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
