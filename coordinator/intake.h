#pragma once
/* Intake: what becomes of an input line: a task in its host's queue, a line of the overflow while the host has its
 * share of the window, or its record at once when the line is not a valid request. */

#include "common/input.h"
#include "common/shard.h"
#include "coordinator/feed.h"
#include "coordinator/overflow.h"
#include "coordinator/results.h"

struct intake {
    struct results *results;
    struct overflow *overflow; /* NULL: the window is all there is */
    const struct options *options;
    struct shard shard;
    uint64_t others; /* lines that are another shard's */
    struct input_line line;
    struct buffer url_text;
};

void intake_init(struct intake *i, struct results *results, const struct options *options);
void intake_fini(struct intake *i);
void intake_line(struct intake *i, const struct feed_line *line);
/* A line comes back from the overflow: as overflow_on_line, with the intake as its user. */
void intake_again(void *user, struct host *host, const struct overflow_line *line, const struct overflow_end *end);
/* One more line may come: there is room in the window, in the overflow, and for one more host. */
bool intake_has_room(const struct intake *i);
