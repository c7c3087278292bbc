/* TLS sessions in the map: records, bounds, other processes, and who may read the file. */
#include "tests/unit/store_place.h"

#include <signal.h>
#include <sys/stat.h>

#include "shm/store_parts.h"
#include "shm/store_session.h"

#define NOW 1000000u

static struct store_session make(uint32_t len, uint64_t expires)
{
    struct store_session session = {.expires_wall_us = expires, .der_len = len};

    memset(session.context, 7, sizeof session.context);
    for (uint32_t i = 0; i < len; i++)
        session.der[i] = (uint8_t)(i * 31);
    return session;
}

static void put_session(struct store *s, const char *key, uint32_t len, uint64_t expires)
{
    struct store_session session = make(len, expires);

    store_session_put(s, key, strlen(key), &session);
}

static bool has_session(struct store *s, const char *key)
{
    struct store_session session;

    return store_session_get(s, key, strlen(key), NOW, &session) == OUTCOME_OK;
}

static void put_many(struct store *s, unsigned count, uint32_t len, uint64_t expires)
{
    char key[32];

    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "key-%06u", i);
        put_session(s, key, len, expires);
        if (i % 64 == 0)
            store_commit(s);
    }
    store_commit(s);
}

static void session_is_read_as_it_was_put(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct store_session session = make(STORE_SESSION_DER_MAX, UINT64_MAX);
    struct store_session seen = {0};

    store_session_put(s, "a", 1, &session);
    assert_int_equal(store_session_get(s, "a", 1, NOW, &seen), OUTCOME_OK);
    store_close(s);
    s = open_store(place->dir);
    memset(&seen, 0, sizeof seen);
    assert_int_equal(store_session_get(s, "a", 1, NOW, &seen), OUTCOME_OK);
    assert_memory_equal(&seen, &session, sizeof seen);
    assert_int_equal(store_session_get(s, "b", 1, NOW, &seen), OUTCOME_NOT_FOUND);
    store_close(s);
}

static void expired_session_is_absent_and_dropped_at_open(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    put_session(s, "old", 100, NOW);
    put_session(s, "new", 100, UINT64_MAX);
    assert_false(has_session(s, "old"));
    assert_true(has_session(s, "new"));
    assert_int_equal(store_session_count(s), 2);
    store_close(s);
    s = open_store(place->dir);
    assert_int_equal(store_session_count(s), 1);
    store_close(s);
}

static void bytes_that_are_no_record_are_refused(void **state)
{
    struct store_session session = make(100, 5);
    struct store_session seen;
    uint8_t bytes[STORE_SESSION_RECORD_MAX + 1];

    (void)state;
    size_t len = store_session_encode(&session, bytes);
    assert_int_equal(len, 148);
    assert_true(store_session_decode(bytes, len, &seen));
    for (size_t cut = 0; cut < len; cut++)
        assert_false(store_session_decode(bytes, cut, &seen));
    assert_false(store_session_decode(bytes, len + 1, &seen));
    for (size_t at = 0; at < 2; at++) {
        bytes[at]++;
        assert_false(store_session_decode(bytes, len, &seen));
        bytes[at]--;
    }
    bytes[4] = 0;
    assert_false(store_session_decode(bytes, 48, &seen));
    session = make(STORE_SESSION_DER_MAX, 5);
    len = store_session_encode(&session, bytes);
    assert_true(store_session_decode(bytes, len, &seen));
    const uint32_t too_long = STORE_SESSION_DER_MAX + 1;
    memcpy(bytes + 4, &too_long, sizeof too_long);
    assert_false(store_session_decode(bytes, len + 1, &seen));
}

static void keys_differ_by_name_port_and_profile(void **state)
{
    char keys[4][STORE_SESSION_KEY_MAX];
    char longest[STORE_SESSION_KEY_MAX];

    (void)state;
    assert_true(store_session_key(keys[0], "a.test", 6, 443, "") > 0);
    assert_true(store_session_key(keys[1], "b.test", 6, 443, "") > 0);
    assert_true(store_session_key(keys[2], "a.test", 6, 444, "") > 0);
    assert_true(store_session_key(keys[3], "a.test", 6, 443, "firefox") > 0);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(keys[i], keys[j]);
    }
    memset(longest, 'x', sizeof longest);
    assert_true(store_session_key(keys[0], longest, 255, 65535, "firefox") > 0);
    assert_int_equal(store_session_key(keys[0], longest, sizeof longest - 1, 443, ""), 0);
    assert_int_equal(store_session_key(keys[0], "", 0, 443, ""), 0);
}

static void put_raw_session(const char *dir, const char *name, const void *bytes, size_t len)
{
    struct store *s = open_store(dir);
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value = {len, (void *)(uintptr_t)bytes};

    assert_int_equal(mdb_put(store_begin_write(s), s->sessions, &key, &value, 0), 0);
    store_close(s);
}

static void unreadable_record_is_absent_and_dropped(void **state)
{
    struct place *place = *state;

    put_raw_session(place->dir, "garbage", "garbage", 7);
    struct store *s = open_store(place->dir);
    assert_false(has_session(s, "garbage"));
    assert_int_equal(store_session_count(s), 0);
    store_close(s);
}

static void number_of_sessions_is_bounded(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    s->sessions_max = 100;
    put_many(s, 500, 100, UINT64_MAX);
    assert_int_equal(store_session_count(s), 100);
    assert_true(has_session(s, "key-000499"));
    /* What is there already takes nobody's place. */
    for (int i = 0; i < 50; i++)
        put_session(s, "key-000499", 100, UINT64_MAX);
    assert_int_equal(store_session_count(s), 100);
    store_close(s);
}

static void pages_of_sessions_are_bounded(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    struct stat st;

    s->sessions_bytes_max = 1u << 20;
    put_many(s, 1000, STORE_SESSION_DER_MAX, UINT64_MAX);
    assert_in_range(store_session_count(s), 40, 100);
    assert_true(has_session(s, "key-000999"));
    store_close(s);
    assert_int_equal(stat(place->data, &st), 0);
    assert_in_range(st.st_size, 1, 4 << 20);
}

static void purge_goes_round_in_steps(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);
    unsigned gone = 0;

    put_many(s, 100, 100, UINT64_MAX);
    put_session(s, "z", 100, NOW);
    for (int step = 0; step < 4; step++) {
        assert_int_equal(gone, 0);
        gone += store_session_purge(s, NOW, 30);
        store_commit(s);
    }
    assert_int_equal(gone, 1);
    put_session(s, "a", 100, NOW);
    put_many(s, 10, 100, NOW);
    for (int step = 0; step < 4; step++)
        gone += store_session_purge(s, NOW, 30);
    assert_int_equal(gone, 12);
    assert_int_equal(store_session_count(s), 90);
    store_close(s);
}

/* Runs `look` with a reader's view of the map in another process, as a worker has it; returns what it returned. */
static int in_reader(const char *dir, int (*look)(struct store *s))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s = NULL;
        const char *reason;
        if (store_open(&s, dir, true, &reason) != OUTCOME_OK)
            _exit(100);
        int result = look(s);
        store_close(s);
        _exit(result);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

static int sees_a(struct store *s)
{
    return has_session(s, "a") ? 1 : 0;
}

static int dies_reading(struct store *s)
{
    (void)!store_begin_read(s);
    raise(SIGKILL);
    return 0;
}

static void other_process_reads_what_was_committed(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    put_session(s, "a", 100, UINT64_MAX);
    assert_int_equal(in_reader(place->dir, sees_a), 0);
    store_commit(s);
    assert_int_equal(in_reader(place->dir, sees_a), 1);
    store_close(s);
}

static int count_reader(const char *line, void *user)
{
    (void)line;
    ++*(int *)user;
    return 0;
}

static int readers(struct store *s)
{
    int lines = 0;

    mdb_reader_list(s->env, count_reader, &lines);
    return lines;
}

static void dead_reader_holds_nothing(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    assert_false(has_session(s, "a"));
    int alone = readers(s);
    assert_int_equal(in_reader(place->dir, dies_reading), 200);
    assert_int_equal(readers(s), alone + 1);
    store_drop_dead_readers(s);
    assert_int_equal(readers(s), alone);
    store_close(s);
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777u;
}

static void files_are_for_their_owner_alone(void **state)
{
    struct place *place = *state;
    char dir[96];
    char path[128];
    mode_t before = umask(0);

    snprintf(dir, sizeof dir, "%s/made", place->dir);
    struct store *s = open_store(dir);
    umask(before);
    assert_int_equal(mode_of(dir), 0700);
    static const char *const names[] = {"data.mdb", "lock.mdb", "hotfleet.lock"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(mode_of(path), 0600);
    }
    store_close(s);
    empty_directory(dir);
    rmdir(dir);
}

static void map_that_others_may_read_is_closed_to_them(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    put_session(s, "a", 100, UINT64_MAX);
    store_close(s);
    assert_int_equal(chmod(place->data, 0666), 0);
    assert_int_equal(in_reader(place->dir, sees_a), 0);
    s = open_store(place->dir);
    assert_int_equal(mode_of(place->data), 0600);
    assert_true(has_session(s, "a"));
    store_close(s);
}

static void map_of_another_user_gives_and_gets_no_session(void **state)
{
    struct place *place = *state;
    struct store *s = open_store(place->dir);

    put_session(s, "a", 100, UINT64_MAX);
    store_close(s);
    if (chown(place->data, 65534, 65534) != 0)
        skip();
    s = open_store(place->dir);
    assert_false(has_session(s, "a"));
    put_session(s, "b", 100, UINT64_MAX);
    assert_int_equal(store_session_count(s), 0);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(session_is_read_as_it_was_put),
        CASE(expired_session_is_absent_and_dropped_at_open),
        cmocka_unit_test(bytes_that_are_no_record_are_refused),
        cmocka_unit_test(keys_differ_by_name_port_and_profile),
        CASE(unreadable_record_is_absent_and_dropped),
        CASE(number_of_sessions_is_bounded),
        CASE(pages_of_sessions_are_bounded),
        CASE(purge_goes_round_in_steps),
        CASE(other_process_reads_what_was_committed),
        CASE(dead_reader_holds_nothing),
        CASE(files_are_for_their_owner_alone),
        CASE(map_that_others_may_read_is_closed_to_them),
        CASE(map_of_another_user_gives_and_gets_no_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
