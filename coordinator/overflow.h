#pragma once
/* The overflow: lines of hosts that have more of them than their share of the window, kept on disk in the order of the
 * input until the host has need of them. So the input is read on for all the others, however slow one host is, and
 * memory stays what the options say. The disk is read and written by a thread of its own. */

#include <event2/event.h>

#include "coordinator/frontier.h"

struct overflow;

/* An input line that was found to be valid. The text is borrowed. */
struct overflow_line {
    uint64_t seq;
    const char *text;
    size_t len;
    struct url_shape shape; /* of the text, when that is a canonical URL and nothing else */
};

/* How a line ends that waited here when its host's queue did. `detail`: as in frontier_on_failure. */
struct overflow_end {
    enum outcome outcome;
    const char *detail;
};

/* A line comes back. `end`: NULL, or it is to end so, without a place in the host's queue. */
typedef void (*overflow_on_line)(void *user, struct host *host, const struct overflow_line *line,
                                 const struct overflow_end *end);

/* Who is served, and where lines are kept. */
struct overflow_parts {
    struct event_base *base;
    struct frontier *frontier;
    const struct task_table *tasks; /* the window */
    const struct options *options;
    const char *dir;
    overflow_on_line on_line;
    void *user;
};

/* Everything is borrowed. NULL: *reason_out says why lines can't be kept there. */
struct overflow *overflow_open(const struct overflow_parts *parts, const char **reason_out);
/* What is still kept is dropped. */
void overflow_close(struct overflow *o);

/* A new line of the host is not for the window: the host has its share there, or lines that come before it here. */
bool overflow_wants(const struct overflow *o, const struct host *host);
/* Keeps the line behind the host's others. Copies. */
void overflow_add(struct overflow *o, struct host *host, const struct overflow_line *line);
/* Brings lines back for hosts that run low, as far as the window has room. */
void overflow_turn(struct overflow *o);
/* Another turn could bring some at once. */
bool overflow_is_due(const struct overflow *o);
/* Further lines may come: what is on the way to the disk is bounded, and so is what it holds. */
bool overflow_has_room(const struct overflow *o);
/* Lines kept, all hosts together, and in all since the start; bytes on disk. */
uint64_t overflow_lines(const struct overflow *o);
uint64_t overflow_lines_total(const struct overflow *o);
uint64_t overflow_bytes(const struct overflow *o);
