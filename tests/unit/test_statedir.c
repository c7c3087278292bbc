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
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/statedir.h"

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
        CASE(where_none_can_be_made_it_says_no),
        CASE(an_empty_tmpdir_means_tmp),
        CASE(names_that_are_too_long_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
