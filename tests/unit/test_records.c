/* The writer of records: whole lines into files, pipes and sockets, slow readers, and outputs that end inside a line.
 */
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/records.h"

#define LINE_LEN 100

struct writer {
    struct event_base *base;
    struct records *records;
    char path[64];
    int fds[2]; /* of a pipe or a pair of sockets: [0] reads */
    unsigned writable_calls;
    unsigned long long added;
    struct buffer read;
    int kept_stdout;
};

static void on_writable(void *user)
{
    struct writer *w = user;

    w->writable_calls++;
}

static int setup(void **state)
{
    struct writer *w = calloc(1, sizeof *w);

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    w->base = event_base_new();
    w->fds[0] = w->fds[1] = w->kept_stdout = -1;
    snprintf(w->path, sizeof w->path, "/tmp/test-records-XXXXXX");
    int fd = mkstemp(w->path);
    assert_true(fd >= 0);
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
    buffer_fini(&w->read);
    unlink(w->path);
    free(w);
    return 0;
}

static void open_path(struct writer *w, const char *path)
{
    assert_int_equal(records_open(&w->records, w->base, path, false, on_writable, w), OUTCOME_OK);
}

/* Opens "" with `fd` in the place of standard output. */
static void open_as_stdout(struct writer *w, int fd)
{
    fflush(stdout);
    int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    assert_true(kept >= 0);
    dup2(fd, STDOUT_FILENO);
    enum outcome outcome = records_open(&w->records, w->base, "", false, on_writable, w);
    w->kept_stdout = kept;
    if (outcome != OUTCOME_OK)
        dup2(kept, STDOUT_FILENO);
    assert_int_equal(outcome, OUTCOME_OK);
}

static void give_stdout_back(struct writer *w)
{
    dup2(w->kept_stdout, STDOUT_FILENO);
    close(w->kept_stdout);
    w->kept_stdout = -1;
}

/* Lines of LINE_LEN bytes that begin with their number. */
static void add_line(struct writer *w)
{
    char line[LINE_LEN + 1];

    snprintf(line, sizeof line, "%08llu%*s", w->added++, LINE_LEN - 8, "");
    line[LINE_LEN - 1] = '\n';
    buffer_append(records_buffer(w->records), line, LINE_LEN);
    records_added(w->records);
}

static void add_lines(struct writer *w, unsigned count)
{
    while (count-- > 0)
        add_line(w);
}

static void read_file(struct writer *w)
{
    char chunk[4096];
    ssize_t n;
    int fd = open(w->path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    buffer_clear(&w->read);
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        buffer_append(&w->read, chunk, (size_t)n);
    close(fd);
}

/* Takes up to `max` bytes from the pipe or socket without waiting. */
static size_t read_some(struct writer *w, size_t max)
{
    char chunk[4096];
    size_t sum = 0;

    while (sum < max) {
        size_t want = max - sum < sizeof chunk ? max - sum : sizeof chunk;
        ssize_t n = read(w->fds[0], chunk, want);
        if (n <= 0)
            break;
        buffer_append(&w->read, chunk, (size_t)n);
        sum += (size_t)n;
    }
    return sum;
}

/* What was read is the first `count` lines and nothing else. */
static void assert_lines(const struct writer *w, unsigned long long count)
{
    assert_int_equal(w->read.len, count * LINE_LEN);
    for (unsigned long long i = 0; i < count; i++) {
        char number[24];
        snprintf(number, sizeof number, "%08llu", i);
        assert_memory_equal(w->read.data + i * LINE_LEN, number, 8);
        assert_int_equal(w->read.data[(i + 1) * LINE_LEN - 1], '\n');
    }
}

static void open_pipe(struct writer *w)
{
    assert_int_equal(pipe2(w->fds, O_CLOEXEC), 0);
    fcntl(w->fds[0], F_SETFL, O_NONBLOCK);
    open_as_stdout(w, w->fds[1]);
}

static void a_file_is_emptied_and_gets_the_lines(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path);
    add_lines(w, 3);
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    records_close(w->records);
    w->added = 0;
    open_path(w, w->path);
    assert_true(records_empty(w->records));
    add_lines(w, 2);
    assert_false(records_empty(w->records));
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    assert_true(records_empty(w->records));
    assert_int_equal(records_bytes_written(w->records), 2 * LINE_LEN);
    read_file(w);
    assert_lines(w, 2);
}

static void an_output_that_cannot_be_opened_is_told(void **state)
{
    struct writer *w = *state;

    errno = 0;
    assert_int_equal(records_open(&w->records, w->base, "/nowhere/at/all", false, on_writable, w), OUTCOME_SYSTEM);
    assert_int_equal(errno, ENOENT);
    assert_null(w->records);
    assert_int_equal(records_open(&w->records, w->base, "/", false, on_writable, w), OUTCOME_SYSTEM);
    assert_int_equal(errno, EISDIR);
}

static void a_batch_is_due_at_64_kib_and_the_buffer_full_at_4_mib(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path);
    add_lines(w, 655);
    assert_false(records_due(w->records));
    add_line(w);
    assert_true(records_due(w->records));
    assert_false(records_full(w->records));
    add_lines(w, 41287);
    assert_false(records_full(w->records));
    add_line(w);
    assert_true(records_full(w->records));
    assert_int_equal(records_flush(w->records), OUTCOME_OK);
    assert_false(records_full(w->records));
    assert_false(records_due(w->records));
    read_file(w);
    assert_lines(w, w->added);
}

/* Descriptor 1 is shared with whoever started the program: its flags must stay as they are. */
static void a_shared_pipe_stays_blocking_for_the_others(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    int flags = fcntl(w->fds[1], F_GETFL);
    int out_flags = fcntl(STDOUT_FILENO, F_GETFL);
    give_stdout_back(w);
    assert_int_equal(flags & O_NONBLOCK, 0);
    assert_int_equal(out_flags & O_NONBLOCK, 0);
}

static void a_slow_reader_gets_every_line_once(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    give_stdout_back(w);
    srandom(3);
    for (unsigned turns = 0; turns < 3000; turns++) {
        if (!records_full(w->records))
            add_lines(w, (unsigned)random() % 60);
        enum outcome outcome = records_flush(w->records);
        assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_AGAIN);
        read_some(w, (size_t)random() % 6000);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
    }
    for (unsigned turns = 0; turns < 100000 && !records_empty(w->records); turns++) {
        enum outcome outcome = records_flush(w->records);
        assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_AGAIN);
        read_some(w, SIZE_MAX);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
    }
    read_some(w, SIZE_MAX);
    assert_lines(w, w->added);
    assert_int_equal(records_bytes_written(w->records), w->added * LINE_LEN);
}

static void a_reader_that_stops_makes_it_wait_and_is_not_asked_again_and_again(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    give_stdout_back(w);
    add_lines(w, 2000);
    assert_int_equal(records_flush(w->records), OUTCOME_AGAIN);
    assert_false(records_due(w->records));
    assert_int_equal(records_flush(w->records), OUTCOME_AGAIN);
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(w->writable_calls, 0);
    read_some(w, 70000);
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(w->writable_calls, 1);
    assert_true(records_due(w->records));
    enum outcome outcome = records_flush(w->records);
    assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_AGAIN);
}

static void a_reader_that_lags_for_long_does_not_make_the_buffer_grow(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    give_stdout_back(w);
    /* Always about 3 MiB unwritten, 40 MiB in all. */
    add_lines(w, 30000);
    for (unsigned turns = 0; turns < 6000; turns++) {
        add_lines(w, 70);
        enum outcome outcome = records_flush(w->records);
        assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_AGAIN);
        read_some(w, 7000);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        assert_false(records_empty(w->records));
        assert_in_range(records_buffer(w->records)->len, 0, 9u << 20);
    }
    assert_true(w->read.len > (20u << 20));
    w->read.len -= w->read.len % LINE_LEN;
    assert_lines(w, w->read.len / LINE_LEN);
}

static void a_reader_that_is_gone_ends_the_writing(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    give_stdout_back(w);
    add_lines(w, 2);
    close(w->fds[0]);
    w->fds[0] = -1;
    close(w->fds[1]);
    w->fds[1] = -1;
    assert_int_equal(records_flush(w->records), OUTCOME_SYSTEM);
    assert_int_equal(errno, EPIPE);
    assert_true(records_empty(w->records));
    add_lines(w, 100);
    assert_true(records_empty(w->records));
    assert_false(records_full(w->records));
    assert_int_equal(records_buffer(w->records)->len, 0);
}

static void a_reader_that_goes_while_it_is_waited_for_is_noticed(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    give_stdout_back(w);
    close(w->fds[1]);
    w->fds[1] = -1;
    add_lines(w, 2000);
    assert_int_equal(records_flush(w->records), OUTCOME_AGAIN);
    close(w->fds[0]);
    w->fds[0] = -1;
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(w->writable_calls, 1);
    assert_int_equal(records_flush(w->records), OUTCOME_SYSTEM);
    assert_int_equal(errno, EPIPE);
}

static void a_socket_is_written_without_waiting(void **state)
{
    struct writer *w = *state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds), 0);
    fcntl(w->fds[0], F_SETFL, O_NONBLOCK);
    open_as_stdout(w, w->fds[1]);
    add_lines(w, 20000);
    enum outcome outcome = records_flush(w->records);
    int flags = fcntl(w->fds[1], F_GETFL);
    for (int i = 0; i < 1000 && !records_empty(w->records); i++) {
        read_some(w, SIZE_MAX);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        outcome = records_flush(w->records);
    }
    give_stdout_back(w);
    read_some(w, SIZE_MAX);
    assert_int_equal(outcome, OUTCOME_OK);
    assert_int_equal(flags & O_NONBLOCK, 0);
    assert_lines(w, 20000);
}

static void dev_full_is_an_output_that_is_gone(void **state)
{
    struct writer *w = *state;

    open_path(w, "/dev/full");
    add_line(w);
    assert_int_equal(records_flush(w->records), OUTCOME_SYSTEM);
    assert_int_equal(errno, ENOSPC);
}

/* A limit on file sizes stands for a full disk: the write is taken in part, and the next one refused. */
static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static enum outcome flush_with_limit(struct writer *w, rlim_t bytes, int *errno_out)
{
    fflush(NULL);
    set_file_limit(bytes);
    enum outcome outcome = records_flush(w->records);
    *errno_out = errno;
    set_file_limit(RLIM_INFINITY);
    return outcome;
}

static void a_full_disk_leaves_whole_lines(void **state)
{
    struct writer *w = *state;
    int error;

    /* On the border of a line, and before and after it. */
    for (rlim_t limit = 10 * LINE_LEN - 2; limit <= 10 * LINE_LEN + 2; limit++) {
        w->added = 0;
        open_path(w, w->path);
        add_lines(w, 20);
        assert_int_equal(flush_with_limit(w, limit, &error), OUTCOME_SYSTEM);
        assert_int_equal(error, EFBIG);
        read_file(w);
        assert_lines(w, limit / LINE_LEN);
        assert_true(records_empty(w->records));
        records_close(w->records);
        w->records = NULL;
    }
}

static void a_full_disk_later_on_leaves_whole_lines(void **state)
{
    struct writer *w = *state;
    int error;

    open_path(w, w->path);
    for (int i = 0; i < 5; i++) {
        add_lines(w, 1000);
        assert_int_equal(records_flush(w->records), OUTCOME_OK);
    }
    add_lines(w, 10);
    assert_int_equal(flush_with_limit(w, 5003 * LINE_LEN + 50, &error), OUTCOME_SYSTEM);
    read_file(w);
    assert_lines(w, 5003);
}

static void a_first_line_that_does_not_fit_leaves_an_empty_file(void **state)
{
    struct writer *w = *state;
    int error;

    open_path(w, w->path);
    add_line(w);
    assert_int_equal(flush_with_limit(w, 50, &error), OUTCOME_SYSTEM);
    read_file(w);
    assert_int_equal(w->read.len, 0);
}

static void a_file_that_others_append_to_is_cut_only_by_our_own_torn_line(void **state)
{
    struct writer *w = *state;
    int error;
    int fd = open(w->path, O_WRONLY | O_APPEND | O_CLOEXEC);

    assert_int_equal(write(fd, "before\n", 7), 7);
    open_as_stdout(w, fd);
    add_lines(w, 5);
    enum outcome outcome = flush_with_limit(w, 7 + 3 * LINE_LEN + 10, &error);
    give_stdout_back(w);
    close(fd);
    assert_int_equal(outcome, OUTCOME_SYSTEM);
    read_file(w);
    assert_int_equal(w->read.len, 7 + 3 * LINE_LEN);
    assert_memory_equal(w->read.data, "before\n00000000", 15);
}

/* What the header promises; the only writing there is after a second signal. */
static void closing_writes_what_is_left(void **state)
{
    struct writer *w = *state;

    open_path(w, w->path);
    add_lines(w, 5);
    records_close(w->records);
    w->records = NULL;
    read_file(w);
    assert_lines(w, 5);
}

/* A pipe tears lines where it is full: what is given up then is the lines behind. */
static void closing_ends_the_line_that_is_partly_out(void **state)
{
    struct writer *w = *state;
    char last = 0;
    char chunk[65536];
    size_t total = 0;
    int status;

    open_pipe(w);
    give_stdout_back(w);
    /* So that the pipe is full in the midst of a line, whatever it holds. */
    buffer_append_str(records_buffer(w->records), "short\n");
    records_added(w->records);
    add_lines(w, 20000);
    assert_int_equal(records_flush(w->records), OUTCOME_AGAIN);
    pid_t reader = fork();
    if (reader == 0) {
        close(w->fds[1]);
        close(records_fd(w->records));
        usleep(50000);
        for (;;) {
            ssize_t n = read(w->fds[0], chunk, sizeof chunk);
            if (n == 0)
                break;
            if (n < 0) {
                usleep(1000);
                continue;
            }
            total += (size_t)n;
            last = chunk[n - 1];
        }
        _exit(last == '\n' && total < (size_t)20000 * LINE_LEN ? 7 : 8);
    }
    records_close(w->records);
    w->records = NULL;
    close(w->fds[1]);
    w->fds[1] = -1;
    assert_int_equal(waitpid(reader, &status, 0), reader);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void closing_does_not_wait_for_a_slow_reader(void **state)
{
    struct writer *w = *state;

    open_pipe(w);
    give_stdout_back(w);
    add_lines(w, 2000);
    records_close(w->records);
    w->records = NULL;
    read_some(w, SIZE_MAX);
    assert_in_range(w->read.len, 4096, 2000 * LINE_LEN - 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_emptied_and_gets_the_lines),
        CASE(an_output_that_cannot_be_opened_is_told),
        CASE(a_batch_is_due_at_64_kib_and_the_buffer_full_at_4_mib),
        CASE(a_shared_pipe_stays_blocking_for_the_others),
        CASE(a_slow_reader_gets_every_line_once),
        CASE(a_reader_that_stops_makes_it_wait_and_is_not_asked_again_and_again),
        CASE(a_reader_that_lags_for_long_does_not_make_the_buffer_grow),
        CASE(a_reader_that_is_gone_ends_the_writing),
        CASE(a_reader_that_goes_while_it_is_waited_for_is_noticed),
        CASE(a_socket_is_written_without_waiting),
        CASE(dev_full_is_an_output_that_is_gone),
        CASE(a_full_disk_leaves_whole_lines),
        CASE(a_full_disk_later_on_leaves_whole_lines),
        CASE(a_first_line_that_does_not_fit_leaves_an_empty_file),
        CASE(a_file_that_others_append_to_is_cut_only_by_our_own_torn_line),
        CASE(closing_writes_what_is_left),
        CASE(closing_ends_the_line_that_is_partly_out),
        CASE(closing_does_not_wait_for_a_slow_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
