/* Opening the map: damage of every kind, the lock between fleets, directories that cannot be used, and descriptors that
 * must not cross an exec. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "shm/store.h"
#include "tests/unit/store_place.h"

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
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, (off_t)4096 * 10), (ssize_t)sizeof zeros);
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
    assert_int_equal(pwrite(fd, noise, sizeof noise, (off_t)4096 * 10), (ssize_t)sizeof noise);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        CASE(reader_refuses_a_damaged_map_and_leaves_it),
        CASE(no_descriptor_crosses_an_exec),
    };

    log_open("test_store_open", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
