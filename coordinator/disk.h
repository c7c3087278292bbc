#pragma once
/* A thread for work that may wait for a disk, so that the loop never does: pieces of work run there one after another,
 * and are told of in the loop when they are done. Whoever gives a piece owns it again from then on. */

#include <event2/event.h>
#include <sys/queue.h>

struct disk;

/* Embedded in what the work is about. */
struct disk_work {
    void (*run)(struct disk_work *work);  /* in the thread, which touches nothing else of the loop's */
    void (*done)(struct disk_work *work); /* in the loop, in the order in which they were given */
    STAILQ_ENTRY(disk_work) link;
};

/* Starts the thread; `name` (15 bytes at most) is what ps -L shows. All signals stay the loop's. */
struct disk *disk_open(struct event_base *base, const char *name);
/* As disk_wait(), and ends the thread. NULL is none. */
void disk_close(struct disk *d);
void disk_give(struct disk *d, struct disk_work *work);
/* Waits until all that was given is done, and tells of it, also of what is given meanwhile: for the end of a run. */
void disk_wait(struct disk *d);
