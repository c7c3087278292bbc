#pragma once
/* The feed: reads the input, cuts it into lines and numbers them. Works with pipes, terminals, sockets and files;
 * starts with the first line. It reads only while it is asked to (feed_turn) and never holds more than one chunk and
 * one line. */

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/input_sums.h"

struct feed;

struct feed_line {
    uint64_t seq; /* from 1 */
    const char *text;
    size_t len;    /* without the newline; at most max_line */
    bool too_long; /* the line went on beyond `text` */
};

/* Takes a line; the text is borrowed. */
typedef void (*feed_on_line)(void *user, const struct feed_line *line);
/* True while more lines are wanted; asked between lines. */
typedef bool (*feed_wants_more)(void *user);

/* `fd` stays the caller's. on_ready is called from the loop when bytes may be read after a turn that found none. */
struct feed *feed_open(struct event_base *base, int fd, size_t max_line, feed_on_line on_line,
                       feed_wants_more wants_more, void *user);
void feed_close(struct feed *f);
/* Sums up what is read from now on, and uses no line before its bytes are known to be those of an earlier run, as far
 * as that had read. `sums` is borrowed. */
void feed_compare(struct feed *f, struct input_sums *sums);
/* It ended because the input is not the one of the earlier run. */
bool feed_differs(const struct feed *f);
/* Reads and hands out lines as long as they are wanted, at most about one chunk. True when it could go on at once. */
bool feed_turn(struct feed *f);
/* The input is at its end and every line was handed out. */
bool feed_ended(const struct feed *f);
/* Its last line came without a newline. */
bool feed_ended_in_line(const struct feed *f);
/* It ended because it could not be read further. */
bool feed_failed(const struct feed *f);
uint64_t feed_lines(const struct feed *f);
/* Size of the input when it is a regular file, and how far it was read; 0 when unknown. */
void feed_position(const struct feed *f, uint64_t *read_out, uint64_t *size_out);
