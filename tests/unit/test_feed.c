/* Cutting pipes, sockets and files into lines: where lines end against chunks and the limit, what the last line is, and
 * that reading waits when it is not wanted. */
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

#define CHUNK     ((size_t)65536)
#define TURNS_MAX 10000

/* Lines are kept one after the other, each as "<seq>:<text>" and "!" when too long, ended by a newline. */
struct taker {
    struct event_base *base;
    struct feed *feed;
    int fd, write_fd;
    struct buffer taken;
    uint64_t wanted; /* lines still wanted */
    uint64_t last_seq;
    size_t last_len;
    bool last_too_long;
};

static void on_line(void *user, const struct feed_line *line)
{
    struct taker *t = user;

    assert_int_equal(line->seq, t->last_seq + 1);
    assert_true(t->wanted > 0);
    t->wanted--;
    t->last_seq = line->seq;
    t->last_len = line->len;
    t->last_too_long = line->too_long;
    buffer_printf(&t->taken, "%llu:", (unsigned long long)line->seq);
    buffer_append(&t->taken, line->text, line->len);
    buffer_append_str(&t->taken, line->too_long ? "!\n" : "\n");
}

static bool wants_more(void *user)
{
    const struct taker *t = user;

    return t->wanted > 0;
}

static int setup(void **state)
{
    struct taker *t = calloc(1, sizeof *t);

    t->base = event_base_new();
    t->fd = t->write_fd = -1;
    t->wanted = UINT64_MAX;
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct taker *t = *state;

    feed_close(t->feed);
    if (t->fd >= 0)
        close(t->fd);
    if (t->write_fd >= 0)
        close(t->write_fd);
    buffer_fini(&t->taken);
    event_base_free(t->base);
    free(t);
    return 0;
}

static void open_feed(struct taker *t, size_t max_line)
{
    t->feed = feed_open(t->base, t->fd, max_line, on_line, wants_more, t);
}

static void open_file(struct taker *t, const char *text, size_t len, size_t max_line)
{
    t->fd = memfd_create("input", MFD_CLOEXEC);
    assert_true(t->fd >= 0);
    assert_int_equal(pwrite(t->fd, text, len, 0), (ssize_t)len);
    open_feed(t, max_line);
}

static void open_pipe(struct taker *t, size_t max_line)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    t->fd = fds[0];
    t->write_fd = fds[1];
    open_feed(t, max_line);
}

static void say(struct taker *t, const char *text)
{
    assert_int_equal(write(t->write_fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void hang_up(struct taker *t)
{
    close(t->write_fd);
    t->write_fd = -1;
}

/* As the coordinator does: turn by turn, with a look at the loop in between. */
static void run(struct taker *t)
{
    for (int turns = 0; turns < TURNS_MAX && !feed_ended(t->feed); turns++) {
        bool goes_on = feed_turn(t->feed);
        event_base_loop(t->base, EVLOOP_NONBLOCK);
        if (!goes_on && t->write_fd >= 0 && turns > 20)
            return;
        if (t->wanted == 0)
            return;
    }
    assert_true(feed_ended(t->feed));
}

static void assert_taken(struct taker *t, const char *wanted)
{
    buffer_append_char(&t->taken, '\0');
    assert_string_equal(t->taken.data, wanted);
    t->taken.len--;
}

static void file_gives(struct taker *t, const char *text, const char *wanted)
{
    open_file(t, text, strlen(text), 100);
    run(t);
    assert_taken(t, wanted);
}

static void lines_are_numbered_from_one(void **state)
{
    file_gives(*state, "a\nbb\nccc\n", "1:a\n2:bb\n3:ccc\n");
}

static void an_empty_input_has_no_line(void **state)
{
    struct taker *t = *state;

    file_gives(t, "", "");
    assert_int_equal(feed_lines(t->feed), 0);
}

static void the_last_line_may_lack_its_newline(void **state)
{
    file_gives(*state, "a\nb", "1:a\n2:b\n");
}

static void empty_lines_count(void **state)
{
    file_gives(*state, "\n\na\n\n", "1:\n2:\n3:a\n4:\n");
}

/* Who drops the carriage return is the parser of lines. */
static void a_carriage_return_belongs_to_the_line(void **state)
{
    file_gives(*state, "a\r\nb\rc\r\n", "1:a\r\n2:b\rc\r\n");
}

static void nul_bytes_are_bytes(void **state)
{
    struct taker *t = *state;

    open_file(t, "a\0b\n\0", 5, 100);
    run(t);
    assert_int_equal(feed_lines(t->feed), 2);
    assert_int_equal(t->taken.len, 2 + 3 + 1 + 2 + 1 + 1);
    assert_memory_equal(t->taken.data, "1:a\0b\n2:\0\n", 10);
}

static void a_line_of_just_the_limit_is_whole_one_more_is_too_long(void **state)
{
    struct taker *t = *state;

    static const char text[] = "12345678\n123456789\n12345678\n123456789";
    open_file(t, text, sizeof text - 1, 8);
    run(t);
    assert_taken(t, "1:12345678\n2:12345678!\n3:12345678\n4:12345678!\n");
}

/* One line of `len` bytes at every place around the border of a chunk, then a short one; the limit is `max_line`. */
static void line_across_border(struct taker *t, size_t before, size_t len, size_t max_line, bool newline)
{
    char *text = malloc(before + len + 10);
    size_t at = 0;

    assert_non_null(text);
    /* Short lines that end at `before`. */
    while (at < before) {
        size_t part = before - at < 50 ? before - at : 50;
        memset(text + at, 'p', part - 1);
        text[at + part - 1] = '\n';
        at += part;
    }
    memset(text + at, 'L', len);
    at += len;
    if (newline)
        snprintf(text + at, 5, "\nend");
    at += newline ? 4 : 0;
    open_file(t, text, at, max_line);
    uint64_t lines = (before + 49) / 50;
    t->wanted = lines;
    run(t);
    t->wanted = 1;
    run(t);
    for (int turns = 0; turns < 100 && t->last_seq <= lines && !feed_ended(t->feed); turns++)
        feed_turn(t->feed);
    assert_int_equal(t->last_seq, lines + 1);
    assert_int_equal(t->last_len, len < max_line ? len : max_line);
    assert_int_equal(t->last_too_long, len > max_line);
    t->wanted = UINT64_MAX;
    run(t);
    assert_int_equal(feed_lines(t->feed), lines + (newline ? 2 : 1));
    if (newline) {
        assert_int_equal(t->last_len, 3);
        assert_false(t->last_too_long);
    }
    free(text);
    feed_close(t->feed);
    close(t->fd);
    t->feed = NULL;
    t->fd = -1;
    t->last_seq = 0;
    buffer_clear(&t->taken);
}

static void lines_across_the_border_of_a_chunk_are_whole(void **state)
{
    struct taker *t = *state;

    for (size_t shift = 0; shift < 5; shift++) {
        for (size_t len = 0; len < 6; len++) {
            line_across_border(t, CHUNK - 2 - shift, len + 1, 100, true);
            line_across_border(t, CHUNK - 2 - shift, len + 1, 100, false);
        }
    }
}

static void the_limit_holds_across_the_border_of_a_chunk(void **state)
{
    struct taker *t = *state;

    for (size_t part = 0; part < 10; part++) {
        for (size_t len = 7; len < 10; len++) {
            line_across_border(t, CHUNK - part, len, 8, true);
            line_across_border(t, CHUNK - part, len, 8, false);
        }
    }
}

static void a_line_longer_than_chunks_is_carried_and_cut(void **state)
{
    struct taker *t = *state;
    static const size_t lens[] = {CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK};

    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        for (int newline = 0; newline < 2; newline++) {
            line_across_border(t, 0, lens[i], lens[i] - 1, newline);
            line_across_border(t, 0, lens[i], lens[i], newline);
            line_across_border(t, 0, lens[i], lens[i] + 1, newline);
            line_across_border(t, 0, lens[i], 64, newline);
            line_across_border(t, 0, lens[i], CHUNK, newline);
        }
    }
}

static void a_turn_stops_when_no_more_is_wanted_and_goes_on_where_it_stopped(void **state)
{
    struct taker *t = *state;

    t->wanted = 2;
    open_file(t, "a\nb\nc\nd", 7, 100);
    for (int i = 0; i < 5; i++)
        assert_false(feed_turn(t->feed));
    assert_taken(t, "1:a\n2:b\n");
    assert_false(feed_ended(t->feed));
    t->wanted = 1;
    feed_turn(t->feed);
    assert_int_equal(feed_lines(t->feed), 3);
    /* The last line waits too, though it has no newline. */
    for (int i = 0; i < 5; i++)
        assert_false(feed_turn(t->feed));
    assert_false(feed_ended(t->feed));
    assert_int_equal(feed_lines(t->feed), 3);
    t->wanted = 1;
    run(t);
    t->wanted = 1;
    run(t);
    assert_taken(t, "1:a\n2:b\n3:c\n4:d\n");
    assert_true(feed_ended(t->feed));
    assert_false(feed_turn(t->feed));
}

static void a_pipe_gives_lines_as_they_come(void **state)
{
    struct taker *t = *state;

    open_pipe(t, 100);
    run(t);
    assert_taken(t, "");
    say(t, "one\ntw");
    run(t);
    assert_taken(t, "1:one\n");
    say(t, "o\n");
    run(t);
    assert_taken(t, "1:one\n2:two\n");
    say(t, "\nthree");
    run(t);
    assert_taken(t, "1:one\n2:two\n3:\n");
    hang_up(t);
    run(t);
    assert_taken(t, "1:one\n2:two\n3:\n4:three\n");
    assert_true(feed_ended(t->feed));
}

static void an_empty_pipe_is_never_read_without_word_from_the_loop(void **state)
{
    struct taker *t = *state;

    /* The pipe blocks: a read too many would hang the test. */
    open_pipe(t, 100);
    for (int i = 0; i < 10; i++)
        assert_false(feed_turn(t->feed));
    say(t, "a\n");
    for (int i = 0; i < 10; i++)
        assert_false(feed_turn(t->feed));
    assert_int_equal(feed_lines(t->feed), 0);
    event_base_loop(t->base, EVLOOP_NONBLOCK);
    feed_turn(t->feed);
    assert_int_equal(feed_lines(t->feed), 1);
    for (int i = 0; i < 10; i++)
        assert_false(feed_turn(t->feed));
}

static void a_pipe_goes_on_after_its_taker_was_full(void **state)
{
    struct taker *t = *state;

    open_pipe(t, 100);
    t->wanted = 1;
    say(t, "a\nb\nc\n");
    event_base_loop(t->base, EVLOOP_NONBLOCK);
    feed_turn(t->feed);
    assert_int_equal(feed_lines(t->feed), 1);
    say(t, "d\n");
    for (int i = 0; i < 5; i++) {
        event_base_loop(t->base, EVLOOP_NONBLOCK);
        assert_false(feed_turn(t->feed));
    }
    t->wanted = UINT64_MAX;
    run(t);
    assert_taken(t, "1:a\n2:b\n3:c\n4:d\n");
    hang_up(t);
    run(t);
    assert_true(feed_ended(t->feed));
}

static void a_nonblocking_socket_works_like_a_pipe(void **state)
{
    struct taker *t = *state;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    t->fd = fds[0];
    t->write_fd = fds[1];
    open_feed(t, 100);
    say(t, "a\n");
    run(t);
    assert_taken(t, "1:a\n");
    hang_up(t);
    run(t);
    assert_true(feed_ended(t->feed));
}

static void dev_null_is_an_empty_input(void **state)
{
    struct taker *t = *state;

    t->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    open_feed(t, 100);
    run(t);
    assert_int_equal(feed_lines(t->feed), 0);
}

static void position_follows_what_was_cut(void **state)
{
    struct taker *t = *state;
    uint64_t at;
    uint64_t size;

    t->wanted = 1;
    open_file(t, "abc\ndefg\nhij", 12, 100);
    feed_position(t->feed, &at, &size);
    assert_int_equal(at, 0);
    assert_int_equal(size, 12);
    feed_turn(t->feed);
    feed_position(t->feed, &at, &size);
    assert_int_equal(at, 4);
    t->wanted = UINT64_MAX;
    run(t);
    feed_position(t->feed, &at, &size);
    assert_int_equal(at, 12);
}

static void the_size_of_a_pipe_is_unknown(void **state)
{
    struct taker *t = *state;
    uint64_t at;
    uint64_t size;

    open_pipe(t, 100);
    say(t, "a\n");
    run(t);
    feed_position(t->feed, &at, &size);
    assert_int_equal(at, 2);
    assert_int_equal(size, 0);
}

/* A descriptor that is not open has no kind; the input is then at its end, and no size is made up. */
static void a_closed_descriptor_ends_at_once(void **state)
{
    struct taker *t = *state;
    uint64_t at;
    uint64_t size;

    t->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(t->fd);
    open_feed(t, 100);
    t->fd = -1;
    feed_position(t->feed, &at, &size);
    assert_int_equal(size, 0);
    run(t);
    assert_int_equal(feed_lines(t->feed), 0);
}

static void what_was_read_before_an_error_is_handed_out(void **state)
{
    struct taker *t = *state;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    t->fd = fds[0];
    t->write_fd = fds[1];
    open_feed(t, 100);
    say(t, "a\nrest");
    event_base_loop(t->base, EVLOOP_NONBLOCK);
    feed_turn(t->feed);
    /* Closing with something unread resets the connection: the next read fails with ECONNRESET. */
    assert_int_equal(write(t->fd, "x", 1), 1);
    hang_up(t);
    run(t);
    assert_taken(t, "1:a\n2:rest\n");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_are_numbered_from_one),
        CASE(an_empty_input_has_no_line),
        CASE(the_last_line_may_lack_its_newline),
        CASE(empty_lines_count),
        CASE(a_carriage_return_belongs_to_the_line),
        CASE(nul_bytes_are_bytes),
        CASE(a_line_of_just_the_limit_is_whole_one_more_is_too_long),
        CASE(lines_across_the_border_of_a_chunk_are_whole),
        CASE(the_limit_holds_across_the_border_of_a_chunk),
        CASE(a_line_longer_than_chunks_is_carried_and_cut),
        CASE(a_turn_stops_when_no_more_is_wanted_and_goes_on_where_it_stopped),
        CASE(a_pipe_gives_lines_as_they_come),
        CASE(an_empty_pipe_is_never_read_without_word_from_the_loop),
        CASE(a_pipe_goes_on_after_its_taker_was_full),
        CASE(a_nonblocking_socket_works_like_a_pipe),
        CASE(dev_null_is_an_empty_input),
        CASE(position_follows_what_was_cut),
        CASE(the_size_of_a_pipe_is_unknown),
        CASE(a_closed_descriptor_ends_at_once),
        CASE(what_was_read_before_an_error_is_handed_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
