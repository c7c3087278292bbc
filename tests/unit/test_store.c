/* The map: records and their expiry, reading of pending writes, damage of every kind, the lock between fleets, and
 * descriptors that must not cross an exec. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "shm/store.h"

struct place {
    char dir[64];
    char data[96];
};

static void empty_directory(const char *dir)
{
    char path[512];
    struct dirent *entry;
    DIR *d = opendir(dir);

    while (d && (entry = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
}

static int make_place(void **state)
{
    static struct place place;

    snprintf(place.dir, sizeof place.dir, "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    snprintf(place.data, sizeof place.data, "%s/data.mdb", place.dir);
    *state = &place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;

    empty_directory(place->dir);
    return rmdir(place->dir);
}

static struct store *open_store(const char *dir)
{
    struct store *s = NULL;
    const char *reason = NULL;

    if (store_open(&s, dir, false, &reason) != OUTCOME_OK)
        fail_msg("store_open: %s", reason);
    return s;
}

static void put(struct store *s, const char *name, enum outcome outcome, uint32_t count, uint64_t expires)
{
    struct store_dns *dns = calloc(1, sizeof *dns + count * sizeof dns->addresses[0]);

    dns->outcome = outcome;
    dns->count = count;
    dns->expires_wall_us = expires;
    for (uint32_t i = 0; i < count; i++)
        dns->addresses[i] =
            (struct address){.family = 4, .bytes = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
    store_dns_put(s, name, strlen(name), dns);
    free(dns);
}

static bool has(struct store *s, const char *name, uint64_t now)
{
    struct store_dns *dns = NULL;
    bool found = store_dns_get(s, name, strlen(name), now, &dns) == OUTCOME_OK;

    free(dns);
    return found;
}

static unsigned count_files(const char *dir, const char *part)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        count += strstr(entry->d_name, part) != NULL;
    closedir(d);
    return count;
}

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static void fill(const char *dir, unsigned names, uint32_t addresses_each)
{
    char name[64];
    struct store *s = open_store(dir);

    for (unsigned i = 0; i < names; i++) {
        snprintf(name, sizeof name, "host-%06u.example", i);
        put(s, name, OUTCOME_OK, addresses_each, UINT64_MAX);
    }
    store_close(s);
}

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

/* Writes a value into the map's "dns" by LMDB itself. */
static void put_raw(const char *dir, const char *name, const void *bytes, size_t len)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value = {len, (void *)(uintptr_t)bytes};

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "dns", MDB_CREATE, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
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

static void expect_new_map(struct place *place)
{
    struct store *s = open_store(place->dir);

    assert_false(has(s, "host-000000.example", 0));
    put(s, "new.example", OUTCOME_OK, 1, UINT64_MAX);
    store_close(s);
    assert_int_equal(count_files(place->dir, "data.mdb.bad-"), 1);
    s = open_store(place->dir);
    assert_true(has(s, "new.example", 0));
    store_close(s);
    assert_int_equal(count_files(place->dir, "data.mdb.bad-"), 1);
}

static void garbage_is_moved_aside(void **state)
{
    struct place *place = *state;
    char garbage[20000];

    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 131 + i / 7);
    write_file(place->data, garbage, sizeof garbage);
    expect_new_map(place);
}

static void short_garbage_is_moved_aside(void **state)
{
    struct place *place = *state;

    write_file(place->data, "hello", 5);
    expect_new_map(place);
}

static void empty_file_is_a_new_map(void **state)
{
    struct place *place = *state;

    write_file(place->data, "", 0);
    fill(place->dir, 1, 1);
    assert_int_equal(count_files(place->dir, "bad"), 0);
}

static void truncated_map_is_moved_aside(void **state)
{
    struct place *place = *state;
    struct stat st;

    fill(place->dir, 5000, 10);
    assert_int_equal(stat(place->data, &st), 0);
    assert_int_equal(truncate(place->data, st.st_size / 2), 0);
    expect_new_map(place);
}

static void map_with_zeroed_pages_is_moved_aside(void **state)
{
    struct place *place = *state;
    static char zeros[4096 * 40];

    fill(place->dir, 5000, 10);
    int fd = open(place->data, O_WRONLY);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, 4096 * 10), (ssize_t)sizeof zeros);
    close(fd);
    expect_new_map(place);
}

static void map_with_garbage_pages_is_moved_aside(void **state)
{
    struct place *place = *state;
    static char noise[4096 * 40];

    memset(noise, 0xa5, sizeof noise);
    fill(place->dir, 5000, 10);
    int fd = open(place->data, O_WRONLY);
    assert_int_equal(pwrite(fd, noise, sizeof noise, 4096 * 10), (ssize_t)sizeof noise);
    close(fd);
    expect_new_map(place);
}

static void map_with_absurd_size_in_its_head_is_moved_aside(void **state)
{
    struct place *place = *state;
    uint64_t absurd = (uint64_t)1 << 60;

    fill(place->dir, 10, 1);
    int fd = open(place->data, O_WRONLY);
    for (off_t page = 0; page < 2; page++) /* mm_last_pg behind header, magic, version, address, size, two trees */
        assert_int_equal(pwrite(fd, &absurd, sizeof absurd, page * 4096 + 16 + 24 + 96), (ssize_t)sizeof absurd);
    close(fd);
    expect_new_map(place);
}

static void foreign_map_is_moved_aside(void **state)
{
    struct place *place = *state;

    put_raw(place->dir, "host-000000.example", "theirs", 6);
    expect_new_map(place);
}

static void sound_map_is_kept(void **state)
{
    struct place *place = *state;

    fill(place->dir, 5000, 10);
    for (int i = 0; i < 3; i++) {
        struct store *s = open_store(place->dir);
        assert_true(has(s, "host-004999.example", 0));
        put(s, "host-000001.example", OUTCOME_OK, 500, UINT64_MAX); /* makes free pages */
        store_commit(s);
        put(s, "host-000001.example", OUTCOME_OK, 1, UINT64_MAX);
        store_close(s);
    }
    assert_int_equal(count_files(place->dir, "bad"), 0);
}

static void what_was_committed_survives_a_kill(void **state)
{
    struct place *place = *state;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct store *s = open_store(place->dir);
        put(s, "kept.example", OUTCOME_OK, 1, UINT64_MAX);
        store_commit(s);
        put(s, "lost.example", OUTCOME_OK, 1, UINT64_MAX);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    struct store *s = open_store(place->dir);
    assert_true(has(s, "kept.example", 0));
    assert_false(has(s, "lost.example", 0));
    store_close(s);
    assert_int_equal(count_files(place->dir, "bad"), 0);
}

static void second_fleet_is_refused_and_told_why(void **state)
{
    struct place *place = *state;
    struct store *first = open_store(place->dir);
    struct store *second = NULL;
    const char *reason = NULL;
    char pid[32];

    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(store_open(&second, place->dir, false, &reason), OUTCOME_SYSTEM);
    assert_null(second);
    assert_non_null(strstr(reason, place->dir));
    assert_non_null(strstr(reason, pid));
    store_close(first);
    first = open_store(place->dir);
    store_close(first);
}

static void expect_refusal(const char *dir, bool read_only, const char *part)
{
    struct store *s = NULL;
    const char *reason = NULL;

    assert_int_equal(store_open(&s, dir, read_only, &reason), OUTCOME_SYSTEM);
    assert_null(s);
    assert_non_null(strstr(reason, dir));
    if (!strstr(reason, part))
        fail_msg("\"%s\" does not say \"%s\"", reason, part);
}

static void unusable_directory_is_refused_with_a_reason(void **state)
{
    struct place *place = *state;
    char path[128];

    snprintf(path, sizeof path, "%s/no/such", place->dir);
    expect_refusal(path, false, "No such file or directory");
    snprintf(path, sizeof path, "%s/file", place->dir);
    write_file(path, "x", 1);
    expect_refusal(path, false, "Not a directory");
    expect_refusal(place->dir, true, "there is no map");
}

static void missing_directory_is_made(void **state)
{
    struct place *place = *state;
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/new", place->dir);
    store_close(open_store(path));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    empty_directory(path);
    assert_int_equal(rmdir(path), 0);
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

static void reader_refuses_a_damaged_map_and_leaves_it(void **state)
{
    struct place *place = *state;

    write_file(place->data, "hello", 5);
    expect_refusal(place->dir, true, "damaged");
    assert_int_equal(count_files(place->dir, "bad"), 0);
}

static void no_descriptor_crosses_an_exec(void **state)
{
    struct place *place = *state;
    bool inherited[256] = {false};
    unsigned opened = 0;

    for (int fd = 0; fd < 256; fd++)
        inherited[fd] = fcntl(fd, F_GETFD) >= 0;
    struct store *s = open_store(place->dir);
    for (int fd = 0; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (inherited[fd] || flags < 0)
            continue;
        opened++;
        assert_true(flags & FD_CLOEXEC);
    }
    assert_int_equal(opened, 4); /* hotfleet.lock, lock.mdb, data.mdb twice */
    store_close(s);
    for (int fd = 0; fd < 256; fd++)
        assert_int_equal(fcntl(fd, F_GETFD) >= 0, inherited[fd]);
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

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(record_survives_close_and_open),
        CASE(expired_record_is_not_found),
        CASE(pending_write_is_seen_before_commit),
        CASE(largest_answer_is_kept_and_a_larger_one_is_not),
        CASE(unfit_names_and_records_are_ignored),
        CASE(each_goes_in_order_and_stops_when_told),
        CASE(record_of_another_version_or_length_is_absent),
        CASE(garbage_is_moved_aside),
        CASE(short_garbage_is_moved_aside),
        CASE(empty_file_is_a_new_map),
        CASE(truncated_map_is_moved_aside),
        CASE(map_with_zeroed_pages_is_moved_aside),
        CASE(map_with_garbage_pages_is_moved_aside),
        CASE(map_with_absurd_size_in_its_head_is_moved_aside),
        CASE(foreign_map_is_moved_aside),
        CASE(sound_map_is_kept),
        CASE(what_was_committed_survives_a_kill),
        CASE(second_fleet_is_refused_and_told_why),
        CASE(unusable_directory_is_refused_with_a_reason),
        CASE(missing_directory_is_made),
        CASE(reader_sees_what_is_committed_only),
        CASE(reader_refuses_a_damaged_map_and_leaves_it),
        CASE(no_descriptor_crosses_an_exec),
        CASE(full_disk_is_survived),
    };

    log_open("test_store", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
