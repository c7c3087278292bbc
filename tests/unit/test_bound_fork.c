/* Children that die with their parent and answer no signal of its group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bound_fork.h"

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
    (void)number;
    handled++;
}

static void a_child_ignores_what_goes_to_the_group(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    int status;

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        signal(numbers[i], on_signal);
    pid_t pid = bound_fork();
    if (pid == 0) {
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
            raise(numbers[i]);
        _exit(handled == 0 ? 7 : 8);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    /* And the parent's handlers are in force as before. */
    raise(SIGTERM);
    assert_int_equal(handled, 1);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        signal(numbers[i], SIG_DFL);
}

/* True when all who had the pipe's other end are gone within a few seconds. */
static bool is_closed(int fd)
{
    struct pollfd pipe_end = {.fd = fd, .events = POLLIN};
    char byte;

    return poll(&pipe_end, 1, 5000) == 1 && read(fd, &byte, 1) == 0;
}

static void a_child_dies_with_its_parent(void **state)
{
    int ends[2];
    int ready[2];
    char byte;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t parent = fork();
    if (parent == 0) {
        if (bound_fork() == 0 && write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_true(is_closed(ends[0]));
    close(ends[0]);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_ignores_what_goes_to_the_group),
        cmocka_unit_test(a_child_dies_with_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
