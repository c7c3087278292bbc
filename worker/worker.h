#pragma once
/* One worker process: what all its parts share. Made by main, borrowed by everybody; nothing here outlives the process.
 */

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/options.h"
#include "common/profile_set.h"
#include "common/source.h"
#include "common/status_set.h"
#include "common/timers.h"
#include "shm/region.h"
#include "worker/request.h"

#define NET_IN_BYTES   65536
#define PLAIN_IN_BYTES 16384 /* a TLS record's plaintext at most (RFC 8446 5.1) */

struct browser;
struct conn;
struct fetch;
struct pool;
struct session_map;
struct verify_table;
TAILQ_HEAD(conn_list, conn);
TAILQ_HEAD(fetch_list, fetch);

struct worker {
    unsigned index;
    struct options options;
    uint64_t live_seen; /* of the region's live values, the set that `options` has */
    struct region region;
    struct region_worker *shared;
    struct stats_page *page;
    struct ring tasks;   /* consumer */
    struct ring records; /* producer */
    int wake_fd, coordinator_fd;
    struct event_base *base;
    struct event *wake, *tick;
    struct timers timers; /* their user is the worker */
    uint64_t now_us;      /* monotonic, of this turn or later */
    uint64_t turn;        /* counted each time the loop is about to wait */
    uint64_t tick_at_us;  /* when `tick` is set to fire */
    uint64_t tend_at_us;  /* when idle connections are next looked at */
    uint64_t swept_at_us; /* when they were last swept, or the worker began */
    SSL_CTX *tls;
    uint64_t profiles;                             /* that connections draw from, as in struct profile_set */
    uint64_t seed;                                 /* of all draws: the option's, or the system's */
    struct browser *browsers[PROFILE_MEMBERS_MAX]; /* by member; NULL: not made yet */
    bool hellos_tried, hellos_open;                /* the engine of hello.h */
    struct session_map *sessions;                  /* NULL: none are shared */
    struct verify_table *verified;
    struct request_defaults defaults;
    struct status_set blocking; /* of blacklist_status */
    struct source_list sources; /* of --bind-ip; whose turn it is stands in the region */
    struct status_set healthy;  /* of healthy_status */
    struct pool *pool;
    struct conn_list dirty;   /* have output to gather and send before the turn ends */
    struct conn_list dead;    /* to be freed when the turn ends */
    struct fetch_list unsent; /* finished, no room in the record ring */
    struct fetch_list spare;  /* to be used again */
    struct buffer line;       /* a record being formatted */
    struct buffer out;        /* a request, or gathered frames */
    struct buffer lower;      /* lower-cased header names */
    struct buffer location;   /* a redirect's target */
    char dial_detail[160];    /* why a connection could not even be begun */
    uint32_t conns_max;       /* that its descriptors are for; 0: not known yet */
    bool committed;           /* messages wait for ring_publish() */
    bool slot_freed;          /* a connection was closed since the pool was last tended */
    bool closing;
    uint64_t conns_made;
    char net_in[NET_IN_BYTES];
    char plain_in[PLAIN_IN_BYTES];
};
