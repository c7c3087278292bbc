/* The lock of a directory: one holder at a time, gone with it, and what is said to others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/dir_lock.h"

static const struct dir_lock_words words = {"test directory", "--test", 0};
static char dir[64], path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test-dir-lock-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x.lock", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    chmod(dir, 0700);
    unlink(path);
    return rmdir(dir);
}

static int take(void)
{
    const char *reason = "";
    int fd = -1;

    if (dir_lock(dir, "x.lock", &words, &fd, &reason) != OUTCOME_OK)
        fail_msg("%s", reason);
    assert_true(fd >= 0);
    return fd;
}

static void assert_refused(const char *where, const char *part)
{
    const char *reason = NULL;
    int fd = -7;

    assert_int_equal(dir_lock(where, "x.lock", &words, &fd, &reason), OUTCOME_SYSTEM);
    assert_int_equal(fd, -7);
    assert_non_null(reason);
    if (!strstr(reason, part))
        fail_msg("no \"%s\" in \"%s\"", part, reason);
}

static void it_is_held_as_long_as_the_descriptor_is_open(void **state)
{
    pid_t pid = 1;

    (void)state;
    assert_false(dir_lock_is_held(dir, "x.lock", &pid));
    int fd = take();
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(dir_lock_is_held(dir, "x.lock", NULL));
    assert_true(dir_lock_is_held(dir, "x.lock", &pid));
    assert_int_equal(pid, getpid());
    close(fd);
    assert_false(dir_lock_is_held(dir, "x.lock", &pid));
    assert_int_equal(pid, 0);
    close(take());
}

static void a_second_one_is_told_who_has_it(void **state)
{
    char part[64];

    (void)state;
    int fd = take();
    snprintf(part, sizeof part, "in use by another fleet (process %ld)", (long)getpid());
    assert_refused(dir, part);
    assert_refused(dir, "test directory");
    assert_refused(dir, "--test");
    assert_refused(dir, dir);
    /* It took nothing away. */
    assert_true(dir_lock_is_held(dir, "x.lock", NULL));
    close(fd);
    close(take());
}

/* A holder in another process, which is killed. */
static void it_is_free_when_its_holder_is_killed(void **state)
{
    int fds[2];
    char byte;
    pid_t held_by = 0;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        const char *reason;
        int fd;
        if (dir_lock(dir, "x.lock", &words, &fd, &reason) != OUTCOME_OK || write(fds[1], "", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_true(dir_lock_is_held(dir, "x.lock", &held_by));
    assert_int_equal(held_by, pid);
    assert_refused(dir, "in use by another fleet");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(dir_lock_is_held(dir, "x.lock", &held_by));
    close(take());
    close(fds[0]);
    close(fds[1]);
}

/* Whoever has patience gets it when its holder ends in time. */
static void a_holder_that_ends_in_time_is_waited_for(void **state)
{
    static const struct dir_lock_words patient = {"test directory", "--test", 5000};
    static const struct dir_lock_words hasty = {"test directory", "--test", 20};
    const char *reason = "";
    int fds[2];
    char byte;
    int fd = -1;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (dir_lock(dir, "x.lock", &words, &fd, &reason) != OUTCOME_OK || write(fds[1], "", 1) != 1)
            _exit(1);
        usleep(300000);
        _exit(0);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(dir_lock(dir, "x.lock", &hasty, &fd, &reason), OUTCOME_SYSTEM);
    assert_non_null(strstr(reason, "in use by another fleet"));
    assert_int_equal(dir_lock(dir, "x.lock", &patient, &fd, &reason), OUTCOME_OK);
    waitpid(pid, NULL, 0);
    close(fd);
    close(fds[0]);
    close(fds[1]);
}

static void what_stands_in_the_file_from_before_is_replaced(void **state)
{
    static const char old[] = "99999999999999999999 and much more than a number has\n";
    char text[64] = "";
    char wanted[64];

    (void)state;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(file, old, sizeof old - 1), (ssize_t)(sizeof old - 1));
    int fd = take();
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    snprintf(wanted, sizeof wanted, "%ld\n", (long)getpid());
    assert_string_equal(text, wanted);
    close(fd);
    close(file);
}

/* Nothing relies on the number: a holder may be at writing it. */
static void a_holder_that_is_not_written_down_yet_is_a_holder(void **state)
{
    pid_t pid = 1;

    (void)state;
    int fd = take();
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_true(dir_lock_is_held(dir, "x.lock", &pid));
    assert_int_equal(pid, 0);
    assert_int_equal(pwrite(fd, "nonsense", 8, 0), 8);
    assert_true(dir_lock_is_held(dir, "x.lock", &pid));
    assert_int_equal(pid, 0);
    close(fd);
}

static void a_directory_that_is_not_there_or_not_writable_is_told(void **state)
{
    (void)state;
    assert_refused("/nowhere/at/all", "cannot write in the test directory \"/nowhere/at/all\": No such file");
    assert_false(dir_lock_is_held("/nowhere/at/all", "x.lock", NULL));
    if (geteuid() == 0)
        return;
    chmod(dir, 0500);
    assert_refused(dir, "Permission denied; make it writable for user");
}

static void a_name_that_is_too_long_is_told(void **state)
{
    char *name = malloc(PATH_MAX + 512);

    (void)state;
    memset(name, 'a', PATH_MAX + 511);
    name[PATH_MAX + 511] = '\0';
    assert_refused(name, "the name of the test directory is too long");
    assert_false(dir_lock_is_held(name, "x.lock", NULL));
    free(name);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_is_held_as_long_as_the_descriptor_is_open),
        CASE(a_second_one_is_told_who_has_it),
        CASE(it_is_free_when_its_holder_is_killed),
        CASE(a_holder_that_ends_in_time_is_waited_for),
        CASE(what_stands_in_the_file_from_before_is_replaced),
        CASE(a_holder_that_is_not_written_down_yet_is_a_holder),
        CASE(a_directory_that_is_not_there_or_not_writable_is_told),
        CASE(a_name_that_is_too_long_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
