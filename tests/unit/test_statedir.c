/* The state directory: one that was named stays, a temporary one comes and goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/statedir.h"
#include "coordinator/statedir_stale.h"
#include "shm/store.h"

static char root[64];

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test-statedir-XXXXXX");
    return mkdtemp(root) && setenv("TMPDIR", root, 1) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    unsetenv("TMPDIR");
    return rmdir(root);
}

static bool exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

static void make_file(const char *dir, const char *name)
{
    char path[PATH_MAX + 300];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void a_temporary_one_is_private_and_goes_with_its_files(void **state)
{
    struct statedir s;
    struct stat st;
    char name[256];

    (void)state;
    assert_true(statedir_open(&s, ""));
    assert_true(s.temporary);
    assert_int_equal(strncmp(s.path, root, strlen(root)), 0);
    assert_int_equal(stat(s.path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    make_file(s.path, "data.mdb");
    make_file(s.path, ".hidden");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    make_file(s.path, name);
    statedir_close(&s);
    assert_false(exists(s.path));
    assert_false(s.temporary);
    statedir_close(&s);
}

static void two_temporary_ones_differ(void **state)
{
    struct statedir a;
    struct statedir b;

    (void)state;
    assert_true(statedir_open(&a, ""));
    assert_true(statedir_open(&b, ""));
    assert_string_not_equal(a.path, b.path);
    statedir_close(&a);
    assert_true(exists(b.path));
    statedir_close(&b);
}

static void one_that_was_named_is_left_alone(void **state)
{
    struct statedir s;
    char path[128];

    (void)state;
    make_file(root, "data.mdb");
    assert_true(statedir_open(&s, root));
    assert_string_equal(s.path, root);
    assert_false(s.temporary);
    statedir_close(&s);
    snprintf(path, sizeof path, "%s/data.mdb", root);
    assert_true(exists(path));
    unlink(path);
}

static void links_in_a_temporary_one_are_removed_not_followed(void **state)
{
    struct statedir s;
    char target[128];
    char link_path[PATH_MAX + 16];

    (void)state;
    make_file(root, "precious");
    snprintf(target, sizeof target, "%s/precious", root);
    assert_true(statedir_open(&s, ""));
    snprintf(link_path, sizeof link_path, "%s/link", s.path);
    assert_int_equal(symlink(target, link_path), 0);
    statedir_close(&s);
    assert_false(exists(s.path));
    assert_true(exists(target));
    unlink(target);
}

/* What a killed run leaves: a directory of this form with these files; "12\n" stands in its lock. Returns its path,
 * good until the next. */
static const char *leave_behind(const char *name, bool marked, const char *in_lock)
{
    static char path[128];
    char file[160];

    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0700), 0);
    if (marked)
        make_file(path, "temporary");
    make_file(path, "data.mdb");
    make_file(path, "lock.mdb");
    make_file(path, "admin.sock");
    make_file(path, "data.mdb.bad-1700000000");
    if (!in_lock)
        return path;
    make_file(path, STORE_LOCK_NAME);
    snprintf(file, sizeof file, "%s/" STORE_LOCK_NAME, path);
    FILE *lock = fopen(file, "we");
    assert_non_null(lock);
    fputs(in_lock, lock);
    fclose(lock);
    return path;
}

static void clear_away(const char *path)
{
    struct statedir s = {.temporary = true};

    snprintf(s.path, sizeof s.path, "%s", path);
    statedir_close(&s);
    assert_false(exists(path));
}

static void what_a_killed_run_left_is_removed(void **state)
{
    struct statedir s;

    (void)state;
    leave_behind("hotfleet-aB3dEf", true, "12\n");
    leave_behind("hotfleet-aB3dEg", true, "123456\n");
    assert_true(statedir_open(&s, ""));
    statedir_close(&s);
}

static void assert_stays(const char *path)
{
    struct statedir s;
    char file[160];

    assert_true(statedir_open(&s, ""));
    statedir_close(&s);
    snprintf(file, sizeof file, "%s/data.mdb", path);
    assert_true(exists(file));
}

static void what_lives_or_is_being_made_stays(void **state)
{
    (void)state;
    const char *path = leave_behind("hotfleet-aB3dEf", true, "12\n");
    char file[160];

    snprintf(file, sizeof file, "%s/" STORE_LOCK_NAME, path);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_stays(path);
    close(fd);
    clear_away(path);
    /* The lock is there and not yet taken; it is not there yet. */
    path = leave_behind("hotfleet-aB3dEf", true, "");
    assert_stays(path);
    clear_away(path);
    path = leave_behind("hotfleet-aB3dEf", true, NULL);
    assert_stays(path);
    clear_away(path);
}

static void what_may_be_somebodys_stays(void **state)
{
    char target[128];
    char link_path[160];

    (void)state;
    /* Named by --state, by chance of the same form. */
    const char *path = leave_behind("hotfleet-aB3dEf", false, "12\n");
    assert_stays(path);
    make_file(path, "temporary");
    make_file(path, "thesis.tex");
    assert_stays(path);
    clear_away(path);
    path = leave_behind("hotfleet-aB3dEf.old", true, "12\n");
    assert_stays(path);
    clear_away(path);
    path = leave_behind("hotfleet-aB3d.f", true, "12\n");
    assert_stays(path);
    clear_away(path);
    /* Links of the right name, to a directory and within one. */
    path = leave_behind("elsewhere", true, "12\n");
    snprintf(target, sizeof target, "%s", path);
    snprintf(link_path, sizeof link_path, "%s/hotfleet-aB3dEf", root);
    assert_int_equal(symlink(target, link_path), 0);
    assert_stays(target);
    unlink(link_path);
    path = leave_behind("hotfleet-aB3dEg", true, NULL);
    snprintf(link_path, sizeof link_path, "%s/" STORE_LOCK_NAME, path);
    snprintf(target + strlen(target), sizeof target - strlen(target), "/" STORE_LOCK_NAME);
    assert_int_equal(symlink(target, link_path), 0);
    assert_stays(path);
    clear_away(path);
    *strrchr(target, '/') = '\0';
    clear_away(target);
}

static void another_users_stays(void **state)
{
    char file[160];

    (void)state;
    if (geteuid() != 0)
        skip();
    const char *path = leave_behind("hotfleet-aB3dEf", true, "12\n");
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_stays(path);
    assert_int_equal(chown(path, 0, 0), 0);
    snprintf(file, sizeof file, "%s/" STORE_LOCK_NAME, path);
    assert_int_equal(chown(file, 12345, 12345), 0);
    assert_stays(path);
    clear_away(path);
}

static void where_none_can_be_made_it_says_no(void **state)
{
    struct statedir s;

    (void)state;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    assert_false(statedir_open(&s, ""));
    assert_false(s.temporary);
    statedir_close(&s);
}

static void an_empty_tmpdir_means_tmp(void **state)
{
    struct statedir s;

    (void)state;
    setenv("TMPDIR", "", 1);
    assert_true(statedir_open(&s, ""));
    assert_int_equal(strncmp(s.path, "/tmp/hotfleet-", 14), 0);
    statedir_close(&s);
}

static void names_that_are_too_long_are_refused(void **state)
{
    static char path[PATH_MAX + 10];
    struct statedir s;

    (void)state;
    memset(path, 'p', sizeof path - 1);
    assert_false(statedir_open(&s, path));
    setenv("TMPDIR", path, 1);
    assert_false(statedir_open(&s, ""));
    assert_false(s.temporary);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_temporary_one_is_private_and_goes_with_its_files),
        CASE(two_temporary_ones_differ),
        CASE(one_that_was_named_is_left_alone),
        CASE(links_in_a_temporary_one_are_removed_not_followed),
        CASE(what_a_killed_run_left_is_removed),
        CASE(what_lives_or_is_being_made_stays),
        CASE(what_may_be_somebodys_stays),
        CASE(another_users_stays),
        CASE(where_none_can_be_made_it_says_no),
        CASE(an_empty_tmpdir_means_tmp),
        CASE(names_that_are_too_long_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
