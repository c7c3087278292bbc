/* Cutting the input into numbered lines. */
#include "coordinator/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/log.h"

#define CHUNK_BYTES 65536
_Static_assert(CHUNK_BYTES >= INPUT_SUM_BYTES, "a block of sums is held until it is proven");

struct feed {
    int fd;
    size_t max_line;
    feed_on_line on_line;
    feed_wants_more wants_more;
    void *user;
    struct event *readable; /* NULL for a regular file: always ready */
    bool waiting;           /* nothing to read until `readable` fires */
    bool at_end, ended, in_line, failed;
    char chunk[CHUNK_BYTES];
    size_t start, end;   /* of what is not yet cut, in chunk */
    struct buffer carry; /* the start of a line whose end is not in the chunk */
    bool skipping;       /* the line was too long: drop up to its end */
    uint64_t seq, bytes_read, size;
    struct input_sums *sums; /* or NULL */
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct feed *f = arg;

    (void)fd;
    (void)what;
    f->waiting = false;
}

struct feed *feed_open(struct event_base *base, int fd, size_t max_line, feed_on_line on_line,
                       feed_wants_more wants_more, void *user)
{
    struct feed *f = calloc(1, sizeof *f);
    struct stat st = {0};

    if (!f)
        die("out of memory: no room for the input buffer");
    f->fd = fd;
    f->max_line = max_line;
    f->on_line = on_line;
    f->wants_more = wants_more;
    f->user = user;
    /* epoll refuses regular files, and /dev/null; both are always ready. */
    bool waits = fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(fd));
    if (waits) {
        f->readable = event_new(base, fd, EV_READ, on_readable, f);
        if (!f->readable)
            die("out of memory: no room for the input's event");
        event_add(f->readable, NULL);
    } else if (S_ISREG(st.st_mode)) {
        f->size = (uint64_t)st.st_size;
    }
    f->waiting = waits;
    return f;
}

void feed_close(struct feed *f)
{
    if (!f)
        return;
    if (f->readable)
        event_free(f->readable);
    buffer_fini(&f->carry);
    free(f);
}

static void hand_out(struct feed *f, const char *text, size_t len, bool too_long)
{
    struct feed_line line = {.seq = ++f->seq, .text = text, .len = len, .too_long = too_long};

    f->on_line(f->user, &line);
}

/* Keeps the head of a line that goes on beyond the chunk, up to the limit. */
static void carry_over(struct feed *f)
{
    size_t len = f->end - f->start;
    size_t room = f->max_line - f->carry.len;

    if (!f->skipping) {
        buffer_append(&f->carry, f->chunk + f->start, len < room ? len : room);
        f->skipping = len > room;
    }
    f->start = f->end = 0;
}

static void cut_line(struct feed *f, const char *newline)
{
    const char *text = f->chunk + f->start;
    size_t len = (size_t)(newline - text);

    f->start += len + 1;
    if (f->carry.len == 0 && !f->skipping) {
        hand_out(f, text, len < f->max_line ? len : f->max_line, len > f->max_line);
        return;
    }
    size_t room = f->max_line - f->carry.len;
    if (!f->skipping) {
        buffer_append(&f->carry, text, len < room ? len : room);
        f->skipping = len > room;
    }
    hand_out(f, f->carry.data, f->carry.len, f->skipping);
    buffer_clear(&f->carry);
    f->skipping = false;
}

/* Cuts what is in the chunk; false when the taker has enough for now. */
static bool cut_lines(struct feed *f)
{
    while (f->start < f->end) {
        if (!f->wants_more(f->user))
            return false;
        const char *newline = memchr(f->chunk + f->start, '\n', f->end - f->start);
        if (!newline) {
            carry_over(f);
            break;
        }
        cut_line(f, newline);
    }
    return f->wants_more(f->user);
}

static void finish(struct feed *f)
{
    /* The last line may lack its newline. What an error broke off is left for the run that goes on, if one can. */
    f->in_line = (f->carry.len || f->skipping) && !(f->failed && f->sums);
    if (f->in_line)
        hand_out(f, f->carry.data, f->carry.len, f->skipping);
    buffer_clear(&f->carry);
    f->ended = true;
}

/* What is in the chunk must not be used before more has come and shows that it is what it was. */
static bool unproven(const struct feed *f)
{
    return f->sums && !f->at_end && input_sums_missing(f->sums) > 0;
}

static void take_bytes(struct feed *f, size_t n)
{
    if (f->sums)
        input_sums_add(f->sums, f->chunk + f->end, n);
    f->end += n;
    f->bytes_read += n;
}

/* One read, behind what is unproven; a chunk has room for a whole block of sums. */
static void read_more(struct feed *f)
{
    if (!unproven(f))
        f->start = f->end = 0;
    ssize_t n = read(f->fd, f->chunk + f->end, sizeof f->chunk - f->end);
    if (n > 0) {
        take_bytes(f, (size_t)n);
    } else if (n == 0) {
        f->at_end = true;
        if (f->sums)
            input_sums_end(f->sums);
    } else if (errno != EINTR && errno != EAGAIN) {
        log_event(LOG_ERROR, "input-failed", "error=\"%s\" line=%llu", strerror(errno), (unsigned long long)f->seq);
        if (unproven(f))
            f->end = 0;
        f->at_end = f->failed = true;
    }
    if (f->sums && f->sums->differs) {
        f->ended = true;
        f->start = f->end = 0;
    }
}

bool feed_turn(struct feed *f)
{
    if (f->ended || (!unproven(f) && !cut_lines(f)))
        return false;
    if (f->at_end) {
        finish(f);
        return false;
    }
    if (f->waiting)
        return false;
    read_more(f);
    bool go_on = f->ended ? false : unproven(f) || cut_lines(f);
    /* One read a turn: the next comes when there is something, so that a slow pipe never blocks the loop. */
    if (f->readable && !f->at_end && !f->ended) {
        f->waiting = true;
        event_add(f->readable, NULL);
        return false;
    }
    return go_on;
}

bool feed_ended(const struct feed *f)
{
    return f->ended;
}

void feed_compare(struct feed *f, struct input_sums *sums)
{
    f->sums = sums;
}

bool feed_differs(const struct feed *f)
{
    return f->sums && f->sums->differs;
}

bool feed_ended_in_line(const struct feed *f)
{
    return f->ended && f->in_line;
}

bool feed_failed(const struct feed *f)
{
    return f->failed;
}

uint64_t feed_lines(const struct feed *f)
{
    return f->seq;
}

void feed_position(const struct feed *f, uint64_t *read_out, uint64_t *size_out)
{
    *read_out = f->bytes_read - (f->end - f->start);
    *size_out = f->size;
}
