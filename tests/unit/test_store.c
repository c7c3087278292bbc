/* The map's records: what is kept and for how long, pending writes, readers, and a disk that is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "shm/store.h"
#include "shm/store_parts.h"
#include "tests/unit/store_place.h"

static void record_survives_close_and_open(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_dns *dns = NULL;

    put(s, "example.com", OUTCOME_OK, 3, 1000);
    put(s, "gone.example", OUTCOME_DNS_NXDOMAIN, 0, 1000);
    put(s, "broken.example", OUTCOME_DNS_SERVFAIL, 0, 1000);
    put(s, "silent.example", OUTCOME_DNS_TIMEOUT, 0, 1000);
    store_close(s);
    s = open_store(place->dir);
    assert_int_equal(store_dns_get(s, "example.com", 11, 999, &dns), OUTCOME_OK);
    assert_int_equal(dns->outcome, OUTCOME_OK);
    assert_int_equal(dns->count, 3);
    assert_int_equal(dns->expires_wall_us, 1000);
    assert_int_equal(dns->addresses[2].family, 4);
    assert_memory_equal(dns->addresses[2].bytes, ((uint8_t[]){10, 0, 0, 2}), 4);
    free(dns);
    static const struct {
        const char *name;
        enum outcome outcome;
    } failures[] = {{"gone.example", OUTCOME_DNS_NXDOMAIN},
                    {"broken.example", OUTCOME_DNS_SERVFAIL},
                    {"silent.example", OUTCOME_DNS_TIMEOUT}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(store_dns_get(s, failures[i].name, strlen(failures[i].name), 0, &dns), OUTCOME_OK);
        assert_int_equal(dns->outcome, failures[i].outcome);
        assert_int_equal(dns->count, 0);
        free(dns);
    }
    store_close(s);
}

static void expired_record_is_not_found(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    put(s, "example.com", OUTCOME_OK, 1, 1000);
    assert_true(has(s, "example.com", 999));
    assert_false(has(s, "example.com", 1000));
    assert_false(has(s, "example.org", 0));
    store_close(s);
}

static void pending_write_is_seen_before_commit(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_dns *dns = NULL;

    put(s, "example.com", OUTCOME_OK, 1, 1000);
    assert_true(has(s, "example.com", 0));
    store_commit(s);
    assert_true(has(s, "example.com", 0));
    put(s, "example.com", OUTCOME_OK, 2, 2000);
    assert_int_equal(store_dns_get(s, "example.com", 11, 1500, &dns), OUTCOME_OK);
    assert_int_equal(dns->count, 2);
    free(dns);
    store_commit(s);
    store_commit(s);
    store_close(s);
}

static void largest_answer_is_kept_and_a_larger_one_is_not(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_dns *dns = NULL;

    put(s, "many.example", OUTCOME_OK, STORE_ADDRESSES_MAX, 1000);
    put(s, "more.example", OUTCOME_OK, STORE_ADDRESSES_MAX + 1, 1000);
    store_commit(s);
    assert_int_equal(store_dns_get(s, "many.example", 12, 0, &dns), OUTCOME_OK);
    assert_int_equal(dns->count, STORE_ADDRESSES_MAX);
    assert_int_equal(dns->addresses[STORE_ADDRESSES_MAX - 1].bytes[2], (STORE_ADDRESSES_MAX - 1) >> 8);
    free(dns);
    assert_false(has(s, "more.example", 0));
    store_close(s);
}

static void unfit_names_and_records_are_ignored(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    char name[1024];

    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    put(s, name, OUTCOME_OK, 1, 1000);
    put(s, "", OUTCOME_OK, 1, 1000);
    put(s, "empty.example", OUTCOME_OK, 0, 1000);
    put(s, "odd.example", OUTCOME_TLS_ERROR, 0, 1000);
    store_commit(s);
    assert_false(has(s, name, 0));
    assert_false(has(s, "", 0));
    assert_false(has(s, "empty.example", 0));
    assert_false(has(s, "odd.example", 0));
    put(s, "good.example", OUTCOME_OK, 1, 1000);
    assert_true(has(s, "good.example", 0));
    store_close(s);
}

struct collected {
    unsigned count, stop_after;
    char names[4][32];
};

static bool collect(void *user, const char *name, size_t name_len, const struct store_dns *dns)
{
    struct collected *c = user;

    assert_in_range(name_len, 1, 31);
    assert_int_equal(dns->count, 1);
    memcpy(c->names[c->count], name, name_len);
    c->names[c->count++][name_len] = '\0';
    return c->count != c->stop_after;
}

static void each_goes_in_order_and_stops_when_told(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct collected all = {0};
    struct collected two = {.stop_after = 2};

    put(s, "c.example", OUTCOME_OK, 1, 1000);
    put(s, "a.example", OUTCOME_OK, 1, 1000);
    store_commit(s);
    put(s, "b.example", OUTCOME_OK, 1, 1000);
    store_dns_each(s, collect, &all);
    assert_int_equal(all.count, 3);
    assert_string_equal(all.names[0], "a.example");
    assert_string_equal(all.names[2], "c.example");
    store_commit(s);
    store_dns_each(s, collect, &two);
    assert_int_equal(two.count, 2);
    store_close(s);
}

static void purge_takes_only_what_is_expired(void **state)
{
    struct place *place = *state;
    char name[32];

    fill(place->dir, 10, 1);
    put_raw(place->dir, "unreadable.example", "?", 1);
    struct store *s = open_store(place->dir);
    for (unsigned i = 0; i < 25000; i++) {
        snprintf(name, sizeof name, "old-%u.example", i);
        put(s, name, OUTCOME_OK, 1, 1000);
    }
    store_commit(s);
    assert_int_equal(store_dns_purge(s, 999), 1);
    assert_true(has(s, "old-24999.example", 999));
    assert_int_equal(store_dns_purge(s, 1000), 25000);
    assert_false(has(s, "old-24999.example", 999));
    assert_true(has(s, "host-000009.example", 1000));
    assert_int_equal(store_dns_purge(s, 1000), 0);
    store_close(s);
}

static void record_of_another_version_or_length_is_absent(void **state)
{
    struct place *place = *state;
    uint8_t record[16 + 20] = {'D', 1, 0, 0, 1};

    fill(place->dir, 1, 1);
    memset(record + 8, 0xff, 8);
    record[16] = 4;
    put_raw(place->dir, "good.example", record, sizeof record);
    put_raw(place->dir, "short.example", record, sizeof record - 1);
    put_raw(place->dir, "tiny.example", record, 3);
    record[1] = 2;
    put_raw(place->dir, "later.example", record, sizeof record);
    record[1] = 1;
    record[0] = 'X';
    put_raw(place->dir, "type.example", record, sizeof record);
    record[0] = 'D';
    record[4] = 0xff;
    record[7] = 0xff;
    put_raw(place->dir, "count.example", record, sizeof record);
    struct store *s = open_store(place->dir);
    assert_true(has(s, "good.example", 0));
    assert_false(has(s, "short.example", 0));
    assert_false(has(s, "tiny.example", 0));
    assert_false(has(s, "later.example", 0));
    assert_false(has(s, "type.example", 0));
    assert_false(has(s, "count.example", 0));
    put(s, "later.example", OUTCOME_OK, 1, 1000);
    assert_true(has(s, "later.example", 0));
    store_close(s);
}

/* In a child: one process must not open a map twice. */
static int read_in_child(const char *dir, const char *name)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct store *s = NULL;
        const char *reason = NULL;
        if (store_open(&s, dir, true, &reason) != OUTCOME_OK)
            _exit(2);
        bool found = has(s, name, 0);
        put(s, "writer.example", OUTCOME_OK, 1, UINT64_MAX);
        store_commit(s);
        store_close(s);
        _exit(found ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void reader_sees_what_is_committed_only(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    put(s, "example.com", OUTCOME_OK, 1, 1000);
    assert_int_equal(read_in_child(place->dir, "example.com"), 1);
    store_commit(s);
    assert_int_equal(read_in_child(place->dir, "example.com"), 0);
    assert_false(has(s, "writer.example", 0));
    store_close(s);
}

static void full_disk_is_survived(void **state)
{
    struct place *place = *state;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        /* The limit on a file's size stands in for a full disk. */
        struct store *s = open_store(place->dir);
        put(s, "before.example", OUTCOME_OK, 1, UINT64_MAX);
        store_commit(s);
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {40960, 40960};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(3);
        for (int i = 0; i < 3; i++) {
            put(s, "after.example", OUTCOME_OK, 4000, UINT64_MAX);
            store_commit(s);
        }
        bool ok = has(s, "before.example", 0) && !has(s, "after.example", 0);
        store_close(s);
        _exit(ok ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    struct store *s = open_store(place->dir);
    assert_true(has(s, "before.example", 0));
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(record_survives_close_and_open),      CASE(expired_record_is_not_found),
        CASE(pending_write_is_seen_before_commit), CASE(largest_answer_is_kept_and_a_larger_one_is_not),
        CASE(unfit_names_and_records_are_ignored), CASE(each_goes_in_order_and_stops_when_told),
        CASE(purge_takes_only_what_is_expired),    CASE(record_of_another_version_or_length_is_absent),
        CASE(reader_sees_what_is_committed_only),  CASE(full_disk_is_survived),
    };

    log_open("test_store", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
