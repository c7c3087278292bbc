/* An input that is read again: no line is handed out before its block is known to be the one of then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buffer.h"
#include "coordinator/feed.h"

#define BLOCK     ((size_t)INPUT_SUM_BYTES)
#define INPUT_MAX (4 * BLOCK)
#define LINES_MAX 40000
#define TURNS_MAX 100000

/* The input of then: lines of 1 to 60 bytes, and where each begins. */
static char then[INPUT_MAX];
static size_t begins[LINES_MAX + 1];
static uint64_t lines_then;

struct reader {
    struct event_base *base;
    struct feed *feed;
    int fd, write_fd;
    struct input_sums sums;
    uint64_t wanted, taken;
    size_t offered; /* bytes that were written into the pipe */
};

static int make_input(void **state)
{
    size_t at = 0;

    (void)state;
    srandom(5);
    while (at < INPUT_MAX) {
        size_t len = (size_t)random() % 60;
        len = len < INPUT_MAX - at - 1 ? len : INPUT_MAX - at - 1;
        begins[lines_then++] = at;
        for (size_t i = 0; i < len; i++)
            then[at++] = (char)('a' + random() % 26);
        then[at++] = '\n';
    }
    begins[lines_then] = at;
    return 0;
}

/* Every line is the one of then; at the end of a shorter input the last may be cut. */
static void on_line(void *user, const struct feed_line *line)
{
    struct reader *r = user;

    assert_int_equal(line->seq, ++r->taken);
    assert_in_range(line->seq, 1, lines_then);
    size_t len = begins[line->seq] - begins[line->seq - 1] - 1;
    assert_int_equal(line->len, len);
    assert_memory_equal(line->text, then + begins[line->seq - 1], len);
    assert_true(r->wanted > 0);
    r->wanted--;
}

static bool wants_more(void *user)
{
    const struct reader *r = user;

    return r->wanted > 0;
}

static int setup(void **state)
{
    struct reader *r = calloc(1, sizeof *r);

    r->base = event_base_new();
    r->fd = r->write_fd = -1;
    r->wanted = UINT64_MAX;
    *state = r;
    return 0;
}

static void close_all(struct reader *r)
{
    feed_close(r->feed);
    if (r->fd >= 0)
        close(r->fd);
    if (r->write_fd >= 0)
        close(r->write_fd);
    input_sums_fini(&r->sums);
    event_base_free(r->base);
    free(r);
}

static int teardown(void **state)
{
    close_all(*state);
    return 0;
}

/* As after a run that has read `known` bytes of the input. */
static void know(struct reader *r, size_t known)
{
    struct input_sums first = {0};

    input_sums_add(&first, then, known);
    input_sums_load(&r->sums, 0, first.sums, first.count);
    assert_true(input_sums_expect(&r->sums, known, first.partial));
    input_sums_fini(&first);
}

static void open_file(struct reader *r, size_t known, const char *data, size_t len)
{
    r->fd = memfd_create("input", MFD_CLOEXEC);
    assert_int_equal(pwrite(r->fd, data, len, 0), (ssize_t)len);
    r->feed = feed_open(r->base, r->fd, 1000, on_line, wants_more, r);
    know(r, known);
    feed_compare(r->feed, &r->sums);
}

static void open_stream(struct reader *r, size_t known, bool is_socket)
{
    int fds[2];

    assert_int_equal(is_socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe2(fds, O_CLOEXEC), 0);
    r->fd = fds[0];
    r->write_fd = fds[1];
    if (!is_socket)
        fcntl(r->fd, F_SETPIPE_SZ, (int)(2 * BLOCK));
    r->feed = feed_open(r->base, r->fd, 1000, on_line, wants_more, r);
    know(r, known);
    feed_compare(r->feed, &r->sums);
}

static void run(struct reader *r)
{
    for (int turns = 0; turns < TURNS_MAX && !feed_ended(r->feed); turns++) {
        feed_turn(r->feed);
        event_base_loop(r->base, EVLOOP_NONBLOCK);
    }
    assert_true(feed_ended(r->feed));
}

static void turn(struct reader *r)
{
    for (int i = 0; i < 6; i++) {
        event_base_loop(r->base, EVLOOP_NONBLOCK);
        feed_turn(r->feed);
    }
}

static void offer(struct reader *r, const char *data, size_t to)
{
    assert_int_equal(write(r->write_fd, data + r->offered, to - r->offered), (ssize_t)(to - r->offered));
    r->offered = to;
    turn(r);
}

/* Whole lines within the first `bytes`. */
static uint64_t lines_in(size_t bytes)
{
    uint64_t n = 0;

    while (n < lines_then && begins[n + 1] <= bytes)
        n++;
    return n;
}

static const size_t knowns[] = {1, 77, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1000, 3 * BLOCK, INPUT_MAX};
#define KNOWNS (sizeof knowns / sizeof knowns[0])

static struct reader *anew(void **state)
{
    teardown(state);
    setup(state);
    return *state;
}

static void the_same_input_is_handed_out_whole(void **state)
{
    for (size_t i = 0; i < KNOWNS; i++) {
        struct reader *r = anew(state);
        open_file(r, knowns[i], then, sizeof then);
        run(r);
        assert_false(feed_differs(r->feed));
        assert_false(feed_failed(r->feed));
        assert_int_equal(r->taken, lines_then);
        assert_int_equal(r->sums.bytes, INPUT_MAX);
    }
}

static void without_anything_known_all_is_handed_out_and_summed_up(void **state)
{
    struct reader *r = *state;

    open_file(r, 0, then, sizeof then);
    run(r);
    assert_int_equal(r->taken, lines_then);
    assert_int_equal(r->sums.count, 4);
}

static void no_line_of_a_changed_block_is_handed_out(void **state)
{
    static char now[INPUT_MAX];

    for (size_t i = 0; i < KNOWNS; i++) {
        const size_t places[] = {0, knowns[i] / 2, knowns[i] - 1};
        for (size_t p = 0; p < 3; p++) {
            struct reader *r = anew(state);
            memcpy(now, then, sizeof now);
            now[places[p]] = now[places[p]] == '\n' ? ' ' : '\n';
            open_file(r, knowns[i], now, sizeof now);
            run(r);
            assert_true(feed_differs(r->feed));
            /* All before it, but for the line that goes on into it. */
            assert_int_equal(r->taken, lines_in(places[p] / BLOCK * BLOCK));
            assert_int_equal(feed_lines(r->feed), r->taken);
            assert_false(feed_turn(r->feed));
        }
    }
}

static void a_shorter_input_differs_at_its_end(void **state)
{
    for (size_t i = 0; i < KNOWNS; i++) {
        const size_t lens[] = {knowns[i] - 1, knowns[i] / 2, 0, (knowns[i] - 1) / BLOCK * BLOCK};
        for (size_t p = 0; p < 4; p++) {
            struct reader *r = anew(state);
            open_file(r, knowns[i], then, lens[p]);
            run(r);
            assert_true(feed_differs(r->feed));
            assert_int_equal(r->taken, lines_in(lens[p] / BLOCK * BLOCK));
        }
    }
}

/* What was its last line without a newline may have become longer. */
static void an_input_that_has_grown_goes_on(void **state)
{
    for (size_t i = 0; i < KNOWNS - 1; i++) {
        struct reader *r = anew(state);
        size_t len = begins[lines_in(knowns[i] + 500)];
        open_file(r, knowns[i], then, len);
        run(r);
        assert_false(feed_differs(r->feed));
        assert_int_equal(r->taken, lines_in(len));
    }
}

static void a_pipe_gives_nothing_until_the_block_is_whole(void **state)
{
    struct reader *r = *state;

    open_stream(r, BLOCK + 500, false);
    for (size_t to = 1000; to < BLOCK; to += 9973) {
        offer(r, then, to);
        assert_int_equal(r->taken, 0);
    }
    offer(r, then, BLOCK - 1);
    assert_int_equal(r->taken, 0);
    offer(r, then, BLOCK);
    assert_int_equal(r->taken, lines_in(BLOCK));
    offer(r, then, BLOCK + 499);
    assert_int_equal(r->taken, lines_in(BLOCK));
    offer(r, then, BLOCK + 500);
    assert_int_equal(r->taken, lines_in(BLOCK + 500));
    /* From there on as it comes. */
    offer(r, then, BLOCK + 700);
    assert_int_equal(r->taken, lines_in(BLOCK + 700));
}

static void a_dribbling_pipe_gives_the_same_as_a_file(void **state)
{
    srandom(9);
    for (size_t i = 0; i < KNOWNS; i++) {
        struct reader *r = anew(state);
        open_stream(r, knowns[i], false);
        while (r->offered < INPUT_MAX) {
            size_t to = r->offered + 1 + (size_t)random() % 20000;
            offer(r, then, to < INPUT_MAX ? to : INPUT_MAX);
        }
        close(r->write_fd);
        r->write_fd = -1;
        run(r);
        assert_false(feed_differs(r->feed));
        assert_int_equal(r->taken, lines_then);
    }
}

static void a_dribbling_pipe_with_another_byte_gives_no_line_of_its_block(void **state)
{
    static char now[INPUT_MAX];

    srandom(10);
    for (unsigned round = 0; round < 40; round++) {
        struct reader *r = anew(state);
        size_t known = 1 + (size_t)random() % (INPUT_MAX - 1);
        size_t wrong = (size_t)random() % known;
        memcpy(now, then, sizeof now);
        now[wrong] ^= 1;
        open_stream(r, known, false);
        while (r->offered < INPUT_MAX && !feed_ended(r->feed)) {
            size_t to = r->offered + 1 + (size_t)random() % 30000;
            offer(r, now, to < INPUT_MAX ? to : INPUT_MAX);
        }
        assert_true(feed_differs(r->feed));
        assert_int_equal(r->taken, lines_in(wrong / BLOCK * BLOCK));
    }
}

static void a_taker_that_is_full_changes_nothing(void **state)
{
    struct reader *r = *state;

    open_file(r, 2 * BLOCK + 1000, then, sizeof then);
    r->wanted = 0;
    for (int turns = 0; turns < TURNS_MAX && !feed_ended(r->feed); turns++) {
        feed_turn(r->feed);
        if (r->wanted == 0)
            r->wanted = (uint64_t)turns % 7;
    }
    assert_int_equal(r->taken, lines_then);
    assert_false(feed_differs(r->feed));
}

/* Closing a socket with something unread resets the connection: the next read fails with ECONNRESET. */
static void break_connection(struct reader *r)
{
    assert_int_equal(write(r->fd, "x", 1), 1);
    close(r->write_fd);
    r->write_fd = -1;
    run(r);
    assert_true(feed_failed(r->feed));
}

static void a_read_error_in_an_unproven_block_leaves_its_lines_out(void **state)
{
    struct reader *r = *state;

    open_stream(r, BLOCK, true);
    offer(r, then, 5000);
    break_connection(r);
    assert_int_equal(r->taken, 0);
    assert_false(feed_differs(r->feed));
}

static void a_read_error_behind_a_proven_block_ends_after_its_last_whole_line(void **state)
{
    struct reader *r = *state;

    open_stream(r, 2 * BLOCK, true);
    for (size_t to = 4096; to <= BLOCK; to += 4096)
        offer(r, then, to);
    offer(r, then, BLOCK + 300);
    /* Else the test says nothing: a line goes on from block to block. */
    assert_int_not_equal(begins[lines_in(BLOCK)], BLOCK);
    break_connection(r);
    assert_int_equal(r->taken, lines_in(BLOCK));
}

/* A half line would be fetched, and count as done when the whole one comes. */
static void a_line_that_an_error_tore_is_none_of_a_jobs(void **state)
{
    struct reader *r = *state;

    open_stream(r, 0, true);
    offer(r, then, begins[20] - 1);
    assert_int_equal(r->taken, 19);
    break_connection(r);
    assert_int_equal(r->taken, 19);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_same_input_is_handed_out_whole),
        CASE(without_anything_known_all_is_handed_out_and_summed_up),
        CASE(no_line_of_a_changed_block_is_handed_out),
        CASE(a_shorter_input_differs_at_its_end),
        CASE(an_input_that_has_grown_goes_on),
        CASE(a_pipe_gives_nothing_until_the_block_is_whole),
        CASE(a_dribbling_pipe_gives_the_same_as_a_file),
        CASE(a_dribbling_pipe_with_another_byte_gives_no_line_of_its_block),
        CASE(a_taker_that_is_full_changes_nothing),
        CASE(a_read_error_in_an_unproven_block_leaves_its_lines_out),
        CASE(a_read_error_behind_a_proven_block_ends_after_its_last_whole_line),
        CASE(a_line_that_an_error_tore_is_none_of_a_jobs),
    };

    return cmocka_run_group_tests(tests, make_input, NULL);
}
