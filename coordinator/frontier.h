#pragma once
/* The frontier: decides when a task may be given out. Tasks wait in their host's queue until the host is resolved and
 * its turn comes; hosts that have something to give stand in one line (ready), so that each has its turn whatever its
 * share of the input. What can't go on for want of a connection slot waits in `blocked`. */

#include <event2/event.h>

#include "common/options.h"
#include "common/timers.h"
#include "coordinator/hosts.h"
#include "coordinator/resolver.h"

struct frontier;

/* Ends a task that never got to a worker. `detail`: a clause that says more, or NULL. */
typedef void (*frontier_on_failure)(void *user, struct task *task, enum outcome outcome, const char *detail);

/* Everything is borrowed. `timers` belongs to the frontier's deadlines alone: timers_run() gets the frontier as its
 * user. NULL: a --resolve or --bind-ip entry is wrong. */
struct frontier *frontier_new(struct region *region, struct resolver *resolver, const struct options *options,
                              struct timers *timers, frontier_on_failure on_failure, void *user,
                              struct options_error *error_out);
void frontier_free(struct frontier *f);

/* Who is told of hosts; each may be NULL. */
struct frontier_keeper {
    void *user;
    void (*on_new)(void *user, struct host *host);       /* before anything is known of it */
    void (*on_hold_over)(void *user, struct host *host); /* it may have tasks again, unless held anew */
    void (*on_forget)(void *user, struct host *host);    /* gone after this */
};

/* One keeper at a time. */
void frontier_set_keeper(struct frontier *f, const struct frontier_keeper *keeper);

/* Takes a task in with a new URL, after a redirect. */
void frontier_add(struct frontier *f, struct task *task);
/* The host that a line is for, made when new; nothing holds it yet. NULL: there is no room for a further host. */
struct host *frontier_host_of(struct frontier *f, const struct url *url, struct span ip);
/* Takes a new task of that host in. */
void frontier_add_new(struct frontier *f, struct task *task, struct host *host);
/* Who keeps further lines of hosts, and hears of those hosts alone. */
struct frontier_overflow {
    /* A task was taken from the host's queue. */
    void (*on_low)(void *user, struct host *host);
    /* The host's queue ends: frontier_end_queue(). */
    void (*on_end)(void *user, struct host *host, enum outcome outcome, const char *detail);
    void *user;
};
void frontier_set_overflow(struct frontier *f, const struct frontier_overflow *overflow);
/* A further host can be had. */
bool frontier_has_room(const struct frontier *f);
/* Back to the head of its host's queue: handed back, or its worker died. */
void frontier_put_back(struct frontier *f, struct task *task);
/* Back into its host's queue after `delay_ms`. */
void frontier_delay(struct frontier *f, struct task *task, uint32_t delay_ms);
/* The host wants no request for `wait_ms`. */
void frontier_hold_host(struct frontier *f, struct host *host, uint64_t wait_ms);
/* Ends a hold that lasts exactly until `until_us`; another one stays. */
void frontier_end_hold(struct frontier *f, struct host *host, uint64_t until_us);
/* All tasks that wait in the host's queue end, and what the overflow has for it. `detail`: as in frontier_on_failure.
 */
void frontier_end_queue(struct frontier *f, struct host *host, enum outcome outcome, const char *detail);
/* The host's addresses are out of date at once, and asked for anew. False: they are given by hand, or being asked for.
 */
bool frontier_ask_again(struct frontier *f, struct host *host);
/* A task leaves its host for good, or for another: after its record, before its redirect. Place must be TASK_NOWHERE.
 */
void frontier_leave(struct frontier *f, struct task *task);

/* The host of a URL's origin, made when new and held; its addresses are known, or being asked for (HOST_RESOLVING).
 * NULL: there is no room for a further host. */
struct host *frontier_host(struct frontier *f, const struct url *url);
/* Name servers have answered for a host with `outcome`; `before`: the addresses that it had, borrowed. */
typedef void (*frontier_on_answer)(void *user, struct host *host, enum outcome outcome, const struct address *before,
                                   uint32_t before_count);
/* Has `on_answer` called for each answer from now on; a few may ask for it. */
void frontier_watch(struct frontier *f, frontier_on_answer on_answer, void *user);

/* The host's addresses as they stand in the tables: a copy of host->run.count, which the caller frees; NULL: none. */
struct address *frontier_addresses(const struct frontier *f, const struct host *host);
/* Has the name asked for now, whatever is known; those who watch hear of it. False: there is nothing to ask, its
 * addresses were given by hand. */
bool frontier_refresh(struct frontier *f, struct host *host);
/* Calls for each host that is known; `each` may hold hosts and lets none go. */
void frontier_each_host(const struct frontier *f, void (*each)(void *user, struct host *host), void *user);

/* The host is needed for something that is no task: it keeps its slot until it is let go. */
void frontier_hold(struct frontier *f, struct host *host);
void frontier_let_go(struct frontier *f, struct host *host);

/* The next host in line, or NULL. The taker decides with one of the functions below. */
struct host *frontier_first(struct frontier *f);
/* Takes the first pending task off the host's queue (place: nowhere). */
struct task *frontier_take(struct frontier *f, struct host *host);
/* To the end of the line (or out of it, when nothing is pending). */
void frontier_rotate(struct frontier *f, struct host *host);
/* Out of the line until frontier_consider(): it has all that it may have, and an answer of its own brings it back. */
void frontier_park(struct frontier *f, struct host *host);
/* Out of the line until a connection slot may be free: frontier_unblock(). */
void frontier_block(struct frontier *f, struct host *host);
/* The host may have something to give again. */
void frontier_consider(struct frontier *f, struct host *host);
/* The first `count` blocked hosts go to the head of the line, in the order in which they came: they have waited. */
void frontier_unblock(struct frontier *f, unsigned count);
/* As hosts_walk(). */
void frontier_walk_hosts(struct frontier *f, uint32_t *hand, uint32_t parts,
                         void (*each)(void *user, struct host *host), void *user);
bool frontier_has_blocked(const struct frontier *f);
/* Where an address stands in the shared table; IP_NONE: no host has had it lately. */
uint32_t frontier_find_address(const struct frontier *f, const struct address *address);
uint64_t frontier_queued(const struct frontier *f);
/* Its hosts, for who must find them by their slots; the frontier's. */
struct hosts *frontier_host_table(const struct frontier *f);
