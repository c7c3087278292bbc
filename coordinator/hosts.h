#pragma once
/* Hosts: everything the coordinator knows of one origin (scheme, name, port, and addresses given by hand), with the
 * queue of its tasks. A host without tasks and connections may make room for another. Each has one slot in the shared
 * table. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/options.h"
#include "common/timers.h"
#include "coordinator/addresses.h"
#include "coordinator/breaker.h"
#include "coordinator/task.h"
#include "shm/region.h"

enum host_state {
    HOST_NEW,       /* addresses unknown */
    HOST_RESOLVING, /* asked for */
    HOST_USABLE,    /* has addresses */
    HOST_FAILED,    /* has none until expires_wall_us */
};

/* Which of the frontier's lists it is in. */
enum host_list { HOST_UNLISTED, HOST_READY, HOST_BLOCKED, HOST_IDLE };

TAILQ_HEAD(host_queue, host);

struct frontier;

struct host {
    struct host *chain; /* in the hash */
    TAILQ_ENTRY(host) link;
    struct frontier *frontier; /* whose query is under way; borrowed */
    enum host_list list;
    enum host_state state;
    bool refreshing;     /* has addresses, and new ones are asked for */
    uint32_t index;      /* in the shared table */
    uint32_t generation; /* of the slot */
    uint64_t hash;
    struct task_list pending;
    uint32_t pending_count, given_count, held_count; /* held: pending, given or delayed tasks */
    struct address_run run;
    enum outcome failure;       /* while HOST_FAILED */
    const char *failure_detail; /* says more, or NULL; static */
    uint64_t expires_wall_us;
    uint32_t dns_us;
    uint64_t not_before_us;            /* monotonic: the server asked to be left alone (Retry-After) */
    struct timer wait;                 /* until not_before_us */
    struct breaker breaker;            /* see health.h, as the next two */
    uint64_t asked_again_us;           /* monotonic: addresses asked for because none answered; 0 never */
    uint64_t probe_at_us;              /* monotonic: when its connections are next looked after; 0 not known yet */
    uint64_t probed_wall_us;           /* connections last looked after; 0 never */
    uint32_t slot, done_in_slot, pace; /* answers per slot of time lately: how many tasks to give ahead */
    struct overflow_queue *overflow;   /* its lines that the window has no room for, see overflow.h; NULL: none */
    bool refused;                      /* its last task was handed back, */
    uint32_t refused_by;               /* by this worker */
    uint32_t answered_by;              /* the worker that has made its last record */
    uint32_t wanted;                   /* connections that its given tasks keep busy, as planned by dispatch */
    uint16_t port;
    uint8_t scheme;
    uint8_t name_len;
    uint32_t ip_len;
    char *name;                         /* as in the URL; into text */
    char *ip;                           /* addresses given by hand, "a,b", or NULL; into text */
    uint32_t given[REGION_WORKERS_MAX]; /* tasks now with each worker */
    uint32_t given_in_turn;             /* since it last had no connection wanted */
    uint32_t round;                     /* tasks of this round, see dispatch.c; below the number of its connections */
    char text[];
};

struct hosts;

struct hosts *hosts_new(struct region *region, uint32_t max);
void hosts_free(struct hosts *h);
/* The host of a task's current URL, made when new. NULL: all slots are taken by hosts with tasks or connections. */
struct host *hosts_get(struct hosts *h, const struct task *task);
/* The same for a URL's origin, with addresses given by hand ("a,b") or none. */
struct host *hosts_get_origin(struct hosts *h, const struct url *url, struct span ip);
/* A task came to it or left it; a host that holds none may be recycled. */
void hosts_hold(struct hosts *h, struct host *host);
void hosts_let_go(struct hosts *h, struct host *host);
/* As addresses_find(). */
uint32_t hosts_find_address(const struct hosts *h, const struct address *address);
/* Calls for each host; `each` must not make or forget any. */
void hosts_each(const struct hosts *h, void (*each)(void *user, struct host *host), void *user);
uint32_t hosts_count(const struct hosts *h);
/* A further host can be had, or nearly all slots are free for those that hold nothing. */
bool hosts_have_room(const struct hosts *h);
/* Calls `each` for the hosts in one part of the table, of `parts` in all; `*hand` remembers which is next. `each` must
 * neither add nor forget hosts. */
void hosts_walk(struct hosts *h, uint32_t *hand, uint32_t parts, void (*each)(void *user, struct host *host),
                void *user);
/* Calls `on_forget` for each host that is recycled from now on; NULL: nobody. */
void hosts_watch(struct hosts *h, void (*on_forget)(void *user, struct host *host), void *user);
/* Gives the host `count` addresses; OUTCOME_FULL as in addresses_publish(). */
must_check enum outcome hosts_set_addresses(struct hosts *h, struct host *host, const struct address *list,
                                            uint32_t count);
/* Who knows the access states of a host's addresses: sets states_out[count], ACCESS_UNKNOWN before. NULL: nobody. */
typedef void (*hosts_judge)(void *user, const struct host *host, const struct address *list, uint32_t count,
                            uint8_t *states_out);
void hosts_use_judge(struct hosts *h, hosts_judge judge, void *user);
/* The host in a slot of the shared table, NULL when it is free; false when no slot from `index` on was ever used. */
bool hosts_at(const struct hosts *h, uint32_t index, struct host **host_out);
/* The index into the shared ips of the host's address `i`, below host->run.count. */
uint32_t hosts_ip(const struct hosts *h, const struct host *host, uint32_t i);
