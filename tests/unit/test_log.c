/* Lines on stderr as their readers get them, and the two ways to end a process. Each case runs what it watches in a
 * child whose stderr is a pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"

static char said[16384];
static size_t said_len;

/* Runs `act` in a child; its stderr goes to `said`, its exit code is returned. */
static int listen_to(void (*act)(void))
{
    int fds[2];
    int status;

    assert_int_equal(pipe2(fds, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        act();
        _exit(EXIT_OK);
    }
    close(fds[1]);
    said_len = 0;
    ssize_t n;
    while ((n = read(fds[0], said + said_len, sizeof said - 1 - said_len)) > 0)
        said_len += (size_t)n;
    said[said_len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void say_all_levels(void)
{
    log_event(LOG_ERROR, "a", "x=%d", 1);
    log_event(LOG_WARN, "b", "x=%d", 2);
    log_event(LOG_INFO, "c", "x=%d", 3);
    log_event(LOG_DEBUG, "d", "x=%d", 4);
}

static void say_at_info(void)
{
    log_open("worker-3", LOG_INFO);
    say_all_levels();
}

static void by_default_errors_and_warnings_are_shown(void **state)
{
    (void)state;
    assert_int_equal(listen_to(say_all_levels), EXIT_OK);
    assert_string_equal(said, "hotfleet: error a x=1\nhotfleet: warn b x=2\n");
}

static void the_level_and_the_name_are_as_they_were_set(void **state)
{
    (void)state;
    listen_to(say_at_info);
    assert_string_equal(said, "worker-3: error a x=1\nworker-3: warn b x=2\nworker-3: info c x=3\n");
}

static void a_level_is_shown_or_not(void **state)
{
    (void)state;
    assert_true(log_shows(LOG_ERROR));
    assert_true(log_shows(LOG_WARN));
    assert_false(log_shows(LOG_INFO));
    assert_false(log_shows(LOG_DEBUG));
}

static void say_controls(void)
{
    log_event(LOG_ERROR, "odd", "text=\"%s\"", "a\nerror: b\r\t\x1b[31m\x7f");
}

static void control_characters_never_make_a_second_line(void **state)
{
    (void)state;
    listen_to(say_controls);
    assert_int_equal(strcspn(said, "\r\t\x1b\x7f"), said_len);
    assert_ptr_equal(strchr(said, '\n'), said + said_len - 1);
    assert_string_equal(said, "hotfleet: error odd text=\"a?error: b???[31m?\"\n");
}

static void say_much(void)
{
    static char text[5000];

    memset(text, 'x', sizeof text - 1);
    log_event(LOG_ERROR, "long", "text=%s", text);
    log_event(LOG_ERROR, "next", "y=1");
}

static void a_long_line_is_cut_and_keeps_its_newline(void **state)
{
    (void)state;
    listen_to(say_much);
    char *end = strchr(said, '\n');
    assert_non_null(end);
    assert_in_range(end - said, 2000, 2047);
    assert_string_equal(end + 1, "hotfleet: error next y=1\n");
}

static void say_with_long_words(void)
{
    static char word[400];

    memset(word, 'n', sizeof word - 1);
    log_open(word, LOG_WARN);
    log_event(LOG_ERROR, word, "z=%d", 1);
    die("%s", word);
}

static void long_names_are_cut(void **state)
{
    (void)state;
    assert_int_equal(listen_to(say_with_long_words), EXIT_INTERNAL);
    assert_true(said_len > 0 && said[said_len - 1] == '\n');
    assert_int_equal(strspn(said, "n"), 31);
    assert_non_null(strstr(said, "z=1\n"));
}

static void say_by_dying(void)
{
    log_open("worker-1", LOG_ERROR);
    die("no room for %d bytes", 7);
}

static void say_by_dying_of_usage(void)
{
    log_open("worker-1", LOG_ERROR);
    die_usage("--window: %s", "100x\nis no number");
}

static void say_nothing_and_close(void)
{
    close(STDERR_FILENO);
    log_event(LOG_ERROR, "gone", "x=1");
}

static void die_names_the_process_and_ends_it_with_1(void **state)
{
    (void)state;
    assert_int_equal(listen_to(say_by_dying), EXIT_INTERNAL);
    assert_string_equal(said, "worker-1: no room for 7 bytes\n");
}

static void die_usage_speaks_for_hotfleet_and_ends_it_with_2(void **state)
{
    (void)state;
    assert_int_equal(listen_to(say_by_dying_of_usage), EXIT_USAGE);
    assert_string_equal(said, "hotfleet: --window: 100x?is no number\n");
}

static void a_closed_stderr_does_no_harm(void **state)
{
    (void)state;
    assert_int_equal(listen_to(say_nothing_and_close), EXIT_OK);
    assert_int_equal(said_len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default_errors_and_warnings_are_shown),
        cmocka_unit_test(the_level_and_the_name_are_as_they_were_set),
        cmocka_unit_test(a_level_is_shown_or_not),
        cmocka_unit_test(control_characters_never_make_a_second_line),
        cmocka_unit_test(a_long_line_is_cut_and_keeps_its_newline),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(die_names_the_process_and_ends_it_with_1),
        cmocka_unit_test(die_usage_speaks_for_hotfleet_and_ends_it_with_2),
        cmocka_unit_test(a_closed_stderr_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
