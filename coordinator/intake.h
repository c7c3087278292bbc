#pragma once
/* Intake: makes a task of an input line, or its record at once when the line is not a valid request. */

#include "common/input.h"
#include "coordinator/feed.h"
#include "coordinator/results.h"

struct intake {
    struct results *results;
    const struct options *options;
    struct input_line line;
    struct buffer url_text;
    size_t bytes_max; /* of tasks held */
};

void intake_init(struct intake *i, struct results *results, const struct options *options);
void intake_fini(struct intake *i);
void intake_line(struct intake *i, const struct feed_line *line);
/* One more line may come: the window has room, in tasks and in bytes. */
bool intake_has_room(const struct intake *i);
