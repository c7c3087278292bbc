/* Batching lines and writing them. */
#include "coordinator/records.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define BATCH_BYTES  65536
#define FULL_BYTES   (4u << 20)
#define LAST_LINE_US 500000 /* how long the end of a line waits for its reader when all else is given up */

struct records {
    int fd;
    bool own_fd, is_file, is_socket, is_pipe;
    bool broken, waiting;
    struct event *writable; /* NULL for a regular file */
    records_on_writable on_writable;
    void *user;
    struct buffer buffer;
    size_t start; /* of what is not yet written, in buffer */
    unsigned long long written;
};

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct records *r = arg;

    (void)fd;
    (void)what;
    r->waiting = false;
    r->on_writable(r->user);
}

/* Pipes and terminals are opened anew, so that O_NONBLOCK is ours alone: the flag would otherwise be set for everybody
 * who shares the descriptor, the shell included. */
static int open_again(int fd, mode_t mode)
{
    char path[64];

    if (!S_ISFIFO(mode) && !isatty(fd))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

enum outcome records_open(struct records **records_out, struct event_base *base, const char *path, bool keep,
                          records_on_writable on_writable_call, void *user)
{
    struct stat st;
    int fd = *path ? open(path, O_WRONLY | O_CREAT | (keep ? 0 : O_TRUNC) | O_CLOEXEC, 0666) : STDOUT_FILENO;

    if (fd < 0 || fstat(fd, &st) != 0)
        return OUTCOME_SYSTEM;
    struct records *r = calloc(1, sizeof *r);
    if (!r)
        die("out of memory: no room for the output buffer");
    *r = (struct records){.fd = fd, .own_fd = *path != '\0', .on_writable = on_writable_call, .user = user};
    r->is_file = S_ISREG(st.st_mode);
    r->is_socket = S_ISSOCK(st.st_mode);
    r->is_pipe = S_ISFIFO(st.st_mode);
    int again = open_again(fd, st.st_mode);
    if (again >= 0) {
        if (r->own_fd)
            close(fd);
        r->fd = again;
        r->own_fd = true;
    }
    /* epoll refuses regular files and devices like /dev/null and /dev/full; they take what they get. */
    if (r->is_socket || again >= 0) {
        r->writable = event_new(base, r->fd, EV_WRITE, on_writable, r);
        if (!r->writable)
            die("out of memory: no room for the output's event");
    }
    *records_out = r;
    return OUTCOME_OK;
}

static size_t unwritten(const struct records *r)
{
    return r->buffer.len - r->start;
}

/* A line that is partly out gets its end, when the reader takes it within a moment. */
static void finish_line(struct records *r)
{
    uint64_t until = clock_us() + LAST_LINE_US;
    const char *newline = r->start > 0 && unwritten(r) > 0 && r->buffer.data[r->start - 1] != '\n'
                              ? memchr(r->buffer.data + r->start, '\n', unwritten(r))
                              : NULL;

    while (newline && r->buffer.data + r->start <= newline) {
        uint64_t now = clock_us();
        struct pollfd fd = {.fd = r->fd, .events = POLLOUT};
        if (now >= until || poll(&fd, 1, (int)((until - now) / 1000 + 1)) <= 0)
            return;
        ssize_t n = write(r->fd, r->buffer.data + r->start, (size_t)(newline + 1 - (r->buffer.data + r->start)));
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return;
        r->start += n > 0 ? (size_t)n : 0;
    }
}

void records_close(struct records *r)
{
    if (!r)
        return;
    if (records_flush(r) == OUTCOME_SYSTEM)
        log_event(LOG_ERROR, "output-failed", "error=\"%s\"", strerror(errno));
    finish_line(r);
    if (r->writable)
        event_free(r->writable);
    if (r->own_fd)
        close(r->fd);
    buffer_fini(&r->buffer);
    free(r);
}

struct buffer *records_buffer(struct records *r)
{
    return &r->buffer;
}

void records_added(struct records *r)
{
    /* Once the output is gone there is nowhere to keep a line for. */
    if (r->broken)
        r->buffer.len = r->start = 0;
}

bool records_full(const struct records *r)
{
    return unwritten(r) >= FULL_BYTES;
}

bool records_due(const struct records *r)
{
    return unwritten(r) >= BATCH_BYTES && !r->waiting;
}

bool records_empty(const struct records *r)
{
    return unwritten(r) == 0;
}

/* A write that stopped inside a line: a regular file is cut back to the last whole one. */
static void cut_torn_line(struct records *r)
{
    size_t start = r->start;

    if (!r->is_file)
        return;
    while (start > 0 && r->buffer.data[start - 1] != '\n')
        start--;
    off_t end = lseek(r->fd, 0, SEEK_CUR);
    if (start < r->start && end >= (off_t)(r->start - start) && ftruncate(r->fd, end - (off_t)(r->start - start)) != 0)
        log_event(LOG_ERROR, "torn-line", "the output ends within a record and could not be cut back");
}

static enum outcome give_up(struct records *r)
{
    int error = errno;

    cut_torn_line(r);
    r->broken = true;
    r->buffer.len = r->start = 0;
    errno = error;
    return OUTCOME_SYSTEM;
}

/* Drops whole lines that are out, so that a slow reader does not make the buffer grow; a line partly out stays. */
static void compact(struct records *r)
{
    size_t start = r->start;

    if (start < FULL_BYTES)
        return;
    while (start > 0 && r->buffer.data[start - 1] != '\n')
        start--;
    buffer_consume(&r->buffer, start);
    r->start -= start;
}

static enum outcome wait_writable(struct records *r)
{
    compact(r);
    if (r->writable && !r->waiting) {
        r->waiting = true;
        event_add(r->writable, NULL);
    }
    return OUTCOME_AGAIN;
}

enum outcome records_flush(struct records *r)
{
    if (r->waiting)
        return OUTCOME_AGAIN;
    while (unwritten(r) > 0) {
        const char *data = r->buffer.data + r->start;
        ssize_t n = r->is_socket ? send(r->fd, data, unwritten(r), MSG_DONTWAIT | MSG_NOSIGNAL)
                                 : write(r->fd, data, unwritten(r));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return wait_writable(r);
        if (n < 0)
            return give_up(r);
        r->start += (size_t)n;
        r->written += (unsigned long long)n;
        /* The torn-line search needs the start of a line that is partly written: lines before it may go. */
        if (r->start == r->buffer.len)
            r->buffer.len = r->start = 0;
    }
    return OUTCOME_OK;
}

unsigned long long records_bytes_written(const struct records *r)
{
    return r->written;
}

unsigned long long records_bytes_taken(const struct records *r)
{
    int in_pipe = 0;

    if (!r->is_pipe || ioctl(r->fd, FIONREAD, &in_pipe) != 0 || in_pipe <= 0)
        return r->written;
    /* Others may write to the same pipe: which of the bytes are theirs nobody knows. */
    return (unsigned)in_pipe < r->written ? r->written - (unsigned)in_pipe : 0;
}

unsigned long long records_bytes_added(const struct records *r)
{
    return r->written + unwritten(r);
}

bool records_broken(const struct records *r)
{
    return r->broken;
}

bool records_reader_gone(const struct records *r)
{
    struct pollfd fd = {.fd = r->fd, .events = POLLOUT};

    return (r->is_pipe || r->is_socket) && poll(&fd, 1, 0) > 0 && (fd.revents & (POLLERR | POLLHUP | POLLNVAL));
}

int records_fd(const struct records *r)
{
    return r->fd;
}

bool records_to_file(const struct records *r)
{
    return r->is_file;
}

/* Whoever appends (>>) writes at the end, wherever the position is. */
static bool appends(const struct records *r)
{
    int flags = fcntl(r->fd, F_GETFL);

    return flags >= 0 && (flags & O_APPEND);
}

uint64_t records_position(const struct records *r)
{
    off_t at = lseek(r->fd, 0, appends(r) ? SEEK_END : SEEK_CUR);

    return at > 0 ? (uint64_t)at : 0;
}

/* Where the last whole line of a file of `size` bytes ends. A file that can't be read is taken for whole. */
static uint64_t end_of_lines(const struct records *r, uint64_t size)
{
    char path[64];
    char block[4096];

    snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint64_t end = fd >= 0 ? size : 0; end > 0;) {
        size_t len = end < sizeof block ? (size_t)end : sizeof block;
        ssize_t n = pread(fd, block, len, (off_t)(end - len));
        if (n != (ssize_t)len)
            break;
        const char *newline = memrchr(block, '\n', len);
        size = newline ? end - len + (size_t)(newline - block) + 1 : 0;
        end = newline ? 0 : end - len;
    }
    if (fd >= 0)
        close(fd);
    return size;
}

bool records_cut_torn(struct records *r)
{
    struct stat st;

    return fstat(r->fd, &st) == 0 && records_cut(r, end_of_lines(r, (uint64_t)st.st_size));
}

bool records_cut(struct records *r, uint64_t bytes)
{
    struct stat st;

    errno = 0;
    if (fstat(r->fd, &st) != 0 || (uint64_t)st.st_size < bytes || ftruncate(r->fd, (off_t)bytes) != 0)
        return false;
    return lseek(r->fd, (off_t)bytes, SEEK_SET) == (off_t)bytes;
}
