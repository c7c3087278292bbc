/* Records about addresses in the map: what is kept, found by source and host, removed, and what is passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/iptable.h"
#include "shm/store_access.h"
#include "shm/store_parts.h"
#include "tests/unit/store_place.h"

static struct store_access_key key(enum store_access_source source, const char *host, const char *prefix)
{
    struct store_access_key k = {.source = source, .host = host, .host_len = strlen(host)};

    assert_null(ip_prefix_parse(prefix, strlen(prefix), &k.prefix));
    return k;
}

static void keep(struct store *s, struct store_access_key k, enum access_state state, const char *reason)
{
    struct store_access record = {.state = (uint8_t)state,
                                  .tries = 3,
                                  .since_wall_us = 1000000,
                                  .next_check_wall_us = state == ACCESS_BLACK ? 2000000 : 0,
                                  .path_len = 4,
                                  .path = "/a?b"};

    store_access_set_reason(&record, reason, strlen(reason));
    store_access_put(s, &k, &record);
}

static bool holds(struct store *s, struct store_access_key k)
{
    struct store_access record;

    return store_access_get(s, &k, &record);
}

static bool count_one(void *user, const struct store_access_key *k, const struct store_access *record)
{
    unsigned *count = user;

    assert_non_null(k->host);
    assert_in_range(record->state, ACCESS_WHITE, ACCESS_BLACK);
    ++*count;
    return true;
}

static unsigned count_of(struct store *s, enum store_access_source source, const char *host)
{
    unsigned count = 0;

    store_access_each_of(s, source, host, host ? strlen(host) : 0, count_one, &count);
    return count;
}

#define A_TEST "https://a.test:443"

static void a_record_survives_close_and_open(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_access record;

    keep(s, key(STORE_LEARNED, A_TEST, "192.0.2.1"), ACCESS_BLACK, "403");
    assert_true(holds(s, key(STORE_LEARNED, A_TEST, "192.0.2.1")));
    store_close(s);
    s = open_store(place->dir);
    struct store_access_key k = key(STORE_LEARNED, A_TEST, "192.0.2.1");
    assert_true(store_access_get(s, &k, &record));
    assert_int_equal(record.state, ACCESS_BLACK);
    assert_int_equal(record.tries, 3);
    assert_int_equal(record.since_wall_us, 1000000);
    assert_int_equal(record.next_check_wall_us, 2000000);
    assert_int_equal(record.expires_wall_us, 0);
    assert_int_equal(record.reason_len, 3);
    assert_memory_equal(record.reason, "403", 3);
    assert_int_equal(record.path_len, 4);
    assert_memory_equal(record.path, "/a?b", 4);
    /* Another host, address, length or source is another record. */
    assert_false(holds(s, key(STORE_LEARNED, "http://a.test:443", "192.0.2.1")));
    assert_false(holds(s, key(STORE_LEARNED, A_TEST, "192.0.2.2")));
    assert_false(holds(s, key(STORE_LEARNED, A_TEST, "192.0.2.0/31")));
    assert_false(holds(s, key(STORE_MANUAL, A_TEST, "192.0.2.1")));
    store_close(s);
}

static void records_are_found_by_source_and_host(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    keep(s, key(STORE_LEARNED, A_TEST, "192.0.2.1"), ACCESS_BLACK, "");
    keep(s, key(STORE_LEARNED, A_TEST, "2001:db8::1"), ACCESS_WHITE, "");
    keep(s, key(STORE_LEARNED, "https://a.test:4433", "192.0.2.1"), ACCESS_WHITE, "");
    keep(s, key(STORE_MANUAL, "", "10.0.0.0/8"), ACCESS_BLACK, "");
    keep(s, key(STORE_MANUAL, "a.test", "10.0.0.0/8"), ACCESS_BLACK, "");
    keep(s, key(STORE_LIST, "", "11.0.0.0/8"), ACCESS_WHITE, "");
    assert_int_equal(count_of(s, STORE_LEARNED, A_TEST), 2);
    assert_int_equal(count_of(s, STORE_LEARNED, "https://a.test:44"), 0);
    assert_int_equal(count_of(s, STORE_LEARNED, NULL), 3);
    assert_int_equal(count_of(s, STORE_MANUAL, ""), 1);
    assert_int_equal(count_of(s, STORE_MANUAL, NULL), 2);
    assert_int_equal(count_of(s, STORE_LIST, NULL), 1);
    assert_int_equal(store_access_purge(s), 2);
    assert_int_equal(count_of(s, STORE_LEARNED, NULL), 1);
    assert_int_equal(count_of(s, STORE_MANUAL, NULL) + count_of(s, STORE_LIST, NULL), 3);
    store_close(s);
}

/* Spoils the value, or the key, of the only record; `at` beyond the end makes it longer. */
static void spoil(struct store *s, bool spoil_key, size_t at, uint8_t byte)
{
    uint8_t bytes[2048];
    MDB_cursor *cursor;
    MDB_val k;
    MDB_val value;

    assert_non_null(store_begin_write(s));
    assert_int_equal(mdb_cursor_open(s->writer, s->access, &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &k, &value, MDB_FIRST), 0);
    MDB_val *spoiled = spoil_key ? &k : &value;
    memcpy(bytes, spoiled->mv_data, spoiled->mv_size);
    size_t len = at < spoiled->mv_size ? spoiled->mv_size : at + 1;
    bytes[at] = byte;
    uint8_t other[2048];
    memcpy(other, spoil_key ? value.mv_data : k.mv_data, spoil_key ? value.mv_size : k.mv_size);
    MDB_val new_key = spoil_key ? (MDB_val){len, bytes} : (MDB_val){k.mv_size, other};
    MDB_val new_value = spoil_key ? (MDB_val){value.mv_size, other} : (MDB_val){len, bytes};
    assert_int_equal(mdb_cursor_del(cursor, 0), 0);
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_put(s->writer, s->access, &new_key, &new_value, 0), 0);
    store_commit(s);
}

static void a_record_that_makes_no_sense_is_passed_over(void **state)
{
    static const struct {
        bool key;
        size_t at;
        uint8_t byte;
    } faults[] = {
        {false, 0, 'D'}, {false, 1, 2},   {false, 2, 0},  {false, 2, 3},  {false, 32, 200}, {false, 33, 4},
        {false, 34, 9},  {false, 35, 9},  {false, 47, 0}, {true, 0, 'Z'}, {true, 1, 255},   {true, 2, 17},
        {true, 21, 5},   {true, 22, 129}, {true, 30, 1},  {true, 39, 0},
    };
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_access record;

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct store_access_key k = key(STORE_LEARNED, A_TEST, "192.0.2.1");
        unsigned count = 0;
        keep(s, k, ACCESS_BLACK, "403");
        store_access_each(s, count_one, &count);
        assert_int_equal(count, 1);
        spoil(s, faults[i].key, faults[i].at, faults[i].byte);
        store_access_each(s, count_one, &count);
        if (count != 1 || store_access_get(s, &k, &record))
            fail_msg("fault %zu was read", i);
        assert_non_null(store_begin_write(s));
        assert_int_equal(mdb_drop(s->writer, s->access, 0), 0);
    }
    store_close(s);
}

static void what_is_too_long_is_cut_or_refused(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_access record = {.state = ACCESS_BLACK};
    char text[2000];

    memset(text, 'x', sizeof text);
    store_access_set_reason(&record, text, sizeof text);
    assert_int_equal(record.reason_len, STORE_REASON_MAX);
    struct store_access_key k = key(STORE_LEARNED, A_TEST, "192.0.2.1");
    k.host = text;
    k.host_len = STORE_ORIGIN_MAX;
    store_access_put(s, &k, &record);
    assert_true(holds(s, k));
    k.host_len++;
    store_access_put(s, &k, &record);
    assert_false(holds(s, k));
    store_close(s);
}

static void a_line_is_printed_for_each_kind(void **state)
{
    struct buffer out = {0};
    struct store_access record = {.state = ACCESS_BLACK, .since_wall_us = 1000000, .expires_wall_us = 2000000};
    struct store_access_key k = key(STORE_MANUAL, "", "10.0.0.0/8");

    (void)state;
    store_access_set_reason(&record, "a\"b", 3);
    store_access_print(&out, &k, &record);
    buffer_append_char(&out, '\0');
    assert_string_equal(out.data, "{\"cidr\":\"10.0.0.0/8\",\"host\":null,\"state\":\"black\",\"source\":\"manual\","
                                  "\"reason\":\"a\\\"b\",\"since\":\"1970-01-01T00:00:01.000000Z\","
                                  "\"expires\":\"1970-01-01T00:00:02.000000Z\",\"next_check\":null}\n");
    buffer_clear(&out);
    k = key(STORE_LEARNED, A_TEST, "::1");
    record = (struct store_access){.state = ACCESS_WHITE};
    store_access_print(&out, &k, &record);
    buffer_append_char(&out, '\0');
    assert_string_equal(out.data, "{\"address\":\"::1\",\"host\":\"https://a.test:443\",\"state\":\"white\",\"source\":"
                                  "\"learned\",\"reason\":\"\",\"since\":null,\"expires\":null,\"next_check\":null}\n");
    buffer_fini(&out);
}

static void a_map_without_such_records_is_read_all_the_same(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    const char *reason = "";
    unsigned count = 0;

    assert_non_null(store_begin_write(s));
    assert_int_equal(mdb_drop(s->writer, s->access, 1), 0);
    s->has_access = false;
    store_close(s);
    assert_int_equal(store_open(&s, place->dir, true, &reason), OUTCOME_OK);
    store_access_each(s, count_one, &count);
    assert_int_equal(count, 0);
    assert_false(holds(s, key(STORE_LEARNED, A_TEST, "192.0.2.1")));
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_survives_close_and_open, make_place, remove_place),
        cmocka_unit_test_setup_teardown(records_are_found_by_source_and_host, make_place, remove_place),
        cmocka_unit_test_setup_teardown(a_record_that_makes_no_sense_is_passed_over, make_place, remove_place),
        cmocka_unit_test_setup_teardown(what_is_too_long_is_cut_or_refused, make_place, remove_place),
        cmocka_unit_test(a_line_is_printed_for_each_kind),
        cmocka_unit_test_setup_teardown(a_map_without_such_records_is_read_all_the_same, make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
