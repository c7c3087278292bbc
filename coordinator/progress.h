#pragma once
/* Progress for people: a line on a terminal that is drawn over itself, a line now and then elsewhere, and a summary at
 * the end; all on stderr. The numbers come from the shared pages. */

#include <event2/event.h>
#include <stdint.h>

#include "common/options.h"
#include "coordinator/feed.h"
#include "shm/region.h"

struct progress;

/* `total` is known once the input has ended. */
struct progress_view {
    uint64_t done, failed, read, in_flight, queued;
    bool input_ended;
};

typedef void (*progress_look)(void *user, struct progress_view *view_out);

/* Shows nothing when options->silent. Everything is borrowed. */
struct progress *progress_open(struct event_base *base, const struct region *region, const struct options *options,
                               progress_look look, void *user);
/* The options have changed: the next line comes after the interval as it is now. */
void progress_follow_options(struct progress *p);
/* Prints the summary; `left`: input lines that were read and have no record. */
void progress_close(struct progress *p, uint64_t left);
/* One line with the state of now (SIGUSR1). */
void progress_print(struct progress *p);
