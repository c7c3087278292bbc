#pragma once
/* The fleet: worker processes, started by fork and exec with only what they need, watched, reaped and replaced. The
 * fleet owns their rings' ends on this side, the eventfds, and the list of tasks that each worker has. */

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/outcome.h"
#include "coordinator/task.h"
#include "shm/region.h"

struct fleet_worker {
    pid_t pid; /* 0: not running */
    int wake_fd;
    struct ring tasks;   /* producer */
    struct ring records; /* consumer */
    struct task_list given;
    uint32_t given_count;
    uint32_t deaths_in_row; /* without an answer in between */
    uint64_t started_us;    /* monotonic, while it runs */
    uint64_t start_at_us;   /* when to start it again, while not running */
    bool condemned;         /* killed by us, not yet reaped */
    bool to_wake;           /* tasks were written that it has not been woken for */
};

struct fleet;

/* A worker is dead: its rings may still be read; when this returns they are made anew. */
typedef void (*fleet_on_death)(void *user, unsigned worker);
/* Called in the loop when a worker woke the coordinator. */
typedef void (*fleet_on_wake)(void *user);

/* `base` and `region` are borrowed. OUTCOME_SYSTEM with *reason_out: no worker executable, no descriptors. */
must_check enum outcome fleet_open(struct fleet **fleet_out, struct event_base *base, struct region *region,
                                   fleet_on_death on_death, fleet_on_wake on_wake, void *user, const char **reason_out);
/* Workers that are started from now on hold `fd` open: a lock (flock) that stands as long as any of them lives. */
void fleet_share_lock(struct fleet *f, int fd);
/* Ends all workers: asks them to close, kills them after `grace_ms`; returns when the last is reaped. */
void fleet_close(struct fleet *f, unsigned grace_ms);
/* Starts the workers whose time has come; returns when the next is due (monotonic µs; UINT64_MAX: none). */
uint64_t fleet_start_due(struct fleet *f, uint64_t now_us);
unsigned fleet_workers(const struct fleet *f);
/* A worker has ended with EXIT_USAGE: it said why, and no other would do better. */
bool fleet_is_unfit(const struct fleet *f);
/* Every worker has died many times in a row, each soon after its start, without an answer in between: no further start
 * would do better. */
bool fleet_is_hopeless(const struct fleet *f);
/* How many of them run. */
unsigned fleet_running(const struct fleet *f);
struct fleet_worker *fleet_worker(struct fleet *f, unsigned worker);
/* Wakes those with to_wake set that sleep. */
void fleet_wake(struct fleet *f);
/* Wakes one, whatever it has written about its sleep. */
void fleet_nudge(struct fleet *f, unsigned worker);
/* Ends one worker that broke the rules; it is replaced like one that died. */
void fleet_kill(struct fleet *f, unsigned worker, const char *why);
