/* Outputs that a job goes on with: kept, cut back, appended to; and how much of a pipe its reader has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/records.h"

struct writer {
    struct event_base *base;
    struct records *records;
    char path[64];
    int fds[2]; /* of a pipe or a pair of sockets: [0] reads */
    int kept_stdout;
};

static void on_writable(void *user)
{
    (void)user;
}

static int setup(void **state)
{
    struct writer *w = calloc(1, sizeof *w);

    signal(SIGPIPE, SIG_IGN);
    w->base = event_base_new();
    w->fds[0] = w->fds[1] = -1;
    snprintf(w->path, sizeof w->path, "/tmp/test-records-kept-XXXXXX");
    int fd = mkstemp(w->path);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct writer *w = *state;

    records_close(w->records);
    for (int i = 0; i < 2; i++) {
        if (w->fds[i] >= 0)
            close(w->fds[i]);
    }
    event_base_free(w->base);
    unlink(w->path);
    free(w);
    return 0;
}

static void open_path(struct writer *w, const char *path, bool keep)
{
    records_close(w->records);
    w->records = NULL;
    assert_int_equal(records_open(&w->records, w->base, path, keep, on_writable, w), OUTCOME_OK);
}

/* Opens "" with `fd` in the place of standard output, which stays there until give_stdout_back(). */
static void open_as_stdout(struct writer *w, int fd)
{
    fflush(stdout);
    w->kept_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    dup2(fd, STDOUT_FILENO);
    enum outcome outcome = records_open(&w->records, w->base, "", true, on_writable, w);
    if (outcome != OUTCOME_OK)
        dup2(w->kept_stdout, STDOUT_FILENO);
    assert_int_equal(outcome, OUTCOME_OK);
}

static void give_stdout_back(struct writer *w)
{
    dup2(w->kept_stdout, STDOUT_FILENO);
    close(w->kept_stdout);
}

static void open_pipe(struct writer *w)
{
    assert_int_equal(pipe2(w->fds, O_CLOEXEC), 0);
    fcntl(w->fds[0], F_SETFL, O_NONBLOCK);
    /* A pipe is opened anew. */
    open_as_stdout(w, w->fds[1]);
    give_stdout_back(w);
}

static void add(struct writer *w, const char *line)
{
    buffer_append_str(records_buffer(w->records), line);
    records_added(w->records);
}

static void assert_file(const struct writer *w, const char *wanted)
{
    char text[64] = "";
    int fd = open(w->path, O_RDONLY | O_CLOEXEC);

    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, wanted);
}

static void a_file_is_kept_when_it_is_to_be(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path, true);
    assert_true(records_to_file(w->records));
    assert_file(w, "0123456789");
    open_path(w, w->path, false);
    assert_file(w, "");
}

static void a_file_is_cut_and_the_next_record_stands_where_it_was_cut(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path, true);
    assert_true(records_cut(w->records, 4));
    assert_file(w, "0123");
    assert_int_equal(records_position(w->records), 4);
    add(w, "abc\n");
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    assert_file(w, "0123abc\n");
    assert_int_equal(records_position(w->records), 8);
    assert_int_equal(records_bytes_written(w->records), 4);
    assert_true(records_cut(w->records, 0));
    assert_int_equal(records_position(w->records), 0);
    assert_file(w, "");
}

static void a_cut_at_its_end_changes_nothing(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path, true);
    assert_true(records_cut(w->records, 10));
    assert_file(w, "0123456789");
    assert_int_equal(records_position(w->records), 10);
}

static void a_file_that_is_shorter_is_not_cut(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path, true);
    errno = EINTR;
    assert_false(records_cut(w->records, 11));
    /* No system call failed. */
    assert_int_equal(errno, 0);
    assert_file(w, "0123456789");
}

static void what_cannot_be_cut_says_why(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    assert_false(records_cut(w->records, 0));
    assert_int_not_equal(errno, 0);
}

static void who_appends_writes_at_the_end_wherever_it_was_cut(void **state)
{
    struct writer *w = *state;
    int fd = open(w->path, O_WRONLY | O_APPEND | O_CLOEXEC);

    open_as_stdout(w, fd);
    uint64_t before = records_position(w->records);
    bool cut = records_cut(w->records, 6);
    uint64_t at = records_position(w->records);
    add(w, "x\n");
    enum outcome outcome = records_flush(w->records);
    uint64_t after = records_position(w->records);
    records_close(w->records);
    w->records = NULL;
    give_stdout_back(w);
    close(fd);
    assert_true(cut);
    assert_int_equal(outcome, OUTCOME_OK);
    assert_int_equal(before, 10);
    assert_int_equal(at, 6);
    assert_int_equal(after, 8);
    assert_file(w, "012345x\n");
}

static void an_inherited_position_is_where_records_begin(void **state)
{
    struct writer *w = *state;
    int fd = open(w->path, O_WRONLY | O_CLOEXEC);

    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    open_as_stdout(w, fd);
    uint64_t at = records_position(w->records);
    records_close(w->records);
    w->records = NULL;
    give_stdout_back(w);
    close(fd);
    assert_int_equal(at, 3);
}

static void what_is_in_a_file_is_taken(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path, false);
    add(w, "abc\n");
    assert_int_equal(records_bytes_added(w->records), 4);
    assert_int_equal(records_bytes_taken(w->records), 0);
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    add(w, "d\n");
    assert_int_equal(records_bytes_taken(w->records), 4);
    assert_int_equal(records_bytes_added(w->records), 6);
}

static void what_is_in_a_pipe_is_taken_by_its_reader(void **state)
{
    struct writer *w = *state;
    char bytes[16];

    open_pipe(w);
    assert_false(records_to_file(w->records));
    add(w, "abc\n");
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    assert_int_equal(records_bytes_written(w->records), 4);
    assert_int_equal(records_bytes_taken(w->records), 0);
    assert_int_equal(read(w->fds[0], bytes, 1), 1);
    assert_int_equal(records_bytes_taken(w->records), 1);
    assert_int_equal(read(w->fds[0], bytes, 3), 3);
    assert_int_equal(records_bytes_taken(w->records), 4);
}

/* Whose the bytes in it are nobody knows: no record counts as taken that may be among them. */
static void bytes_of_others_in_the_pipe_count_as_ours(void **state)
{
    struct writer *w = *state;
    char bytes[32];

    open_pipe(w);
    assert_int_equal(write(w->fds[1], "a head of another's\n", 20), 20);
    assert_int_equal(records_bytes_taken(w->records), 0);
    add(w, "abc\n");
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    assert_int_equal(records_bytes_taken(w->records), 0);
    assert_int_equal(read(w->fds[0], bytes, 20), 20);
    assert_int_equal(records_bytes_taken(w->records), 0);
    assert_int_equal(read(w->fds[0], bytes, 4), 4);
    assert_int_equal(records_bytes_taken(w->records), 4);
}

static void a_full_pipe_has_taken_what_was_read(void **state)
{
    struct writer *w = *state;
    static char line[100000];
    static char bytes[100000];

    memset(line, 'x', sizeof line - 2);
    line[sizeof line - 2] = '\n';
    open_pipe(w);
    fcntl(w->fds[0], F_SETPIPE_SZ, 4096);
    add(w, line);
    assert_int_equal(records_flush(w->records), OUTCOME_AGAIN);
    assert_int_equal(records_bytes_taken(w->records), 0);
    unsigned long long sum = 0;
    for (int i = 0; i < 1000 && sum < sizeof line - 1; i++) {
        ssize_t n = read(w->fds[0], bytes, 3000);
        sum += n > 0 ? (unsigned long long)n : 0;
        assert_int_equal(records_bytes_taken(w->records), sum);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        enum outcome outcome = records_flush(w->records);
        assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_AGAIN);
    }
    assert_int_equal(sum, sizeof line - 1);
    assert_int_equal(records_bytes_added(w->records), sum);
}

static void a_reader_that_has_gone_is_known_before_the_next_write(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    assert_false(records_reader_gone(w->records));
    add(w, "abc\n");
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    assert_false(records_reader_gone(w->records));
    close(w->fds[0]);
    w->fds[0] = -1;
    assert_true(records_reader_gone(w->records));
    /* What it left is not taken. */
    assert_int_equal(records_bytes_taken(w->records), 0);
}

static void a_socket_whose_reader_has_gone_is_known_too(void **state)
{
    struct writer *w = *state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds), 0);
    open_as_stdout(w, w->fds[1]);
    bool gone_before = records_reader_gone(w->records);
    close(w->fds[0]);
    w->fds[0] = -1;
    bool gone = records_reader_gone(w->records);
    records_close(w->records);
    w->records = NULL;
    give_stdout_back(w);
    assert_false(gone_before);
    assert_true(gone);
}

static void a_file_has_no_reader_that_could_go(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path, true);
    assert_false(records_reader_gone(w->records));
    open_path(w, "/dev/null", true);
    assert_false(records_reader_gone(w->records));
    assert_false(records_to_file(w->records));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_kept_when_it_is_to_be),
        CASE(a_file_is_cut_and_the_next_record_stands_where_it_was_cut),
        CASE(a_cut_at_its_end_changes_nothing),
        CASE(a_file_that_is_shorter_is_not_cut),
        CASE(what_cannot_be_cut_says_why),
        CASE(who_appends_writes_at_the_end_wherever_it_was_cut),
        CASE(an_inherited_position_is_where_records_begin),
        CASE(what_is_in_a_file_is_taken),
        CASE(what_is_in_a_pipe_is_taken_by_its_reader),
        CASE(bytes_of_others_in_the_pipe_count_as_ours),
        CASE(a_full_pipe_has_taken_what_was_read),
        CASE(a_reader_that_has_gone_is_known_before_the_next_write),
        CASE(a_socket_whose_reader_has_gone_is_known_too),
        CASE(a_file_has_no_reader_that_could_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
