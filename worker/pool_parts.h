#pragma once
/* The pool's inside, shared by the files that make it up: pool.c (who gets which connection), pool_host.c (hosts and
 * their TLS sessions), pool_idle.c (what happens to connections that nobody needs now), pool_promise.c (connections
 * that are kept for one fetch), pool_avoid.c (fetches that some addresses have failed), pool_follow.c (what a new list
 * of addresses means for connections). */

#include "shm/iptable.h"
#include "worker/pool.h"

#define SESSIONS_MAX 512 /* hosts of this worker that a TLS session is kept for */

TAILQ_HEAD(host_list, pool_host);

struct pool {
    struct worker *worker;
    struct pool_host **hosts; /* by index in the shared table; made when first used */
    uint32_t hosts_max;
    struct conn_list idle; /* of all hosts, least recently used first */
    struct host_list starving, to_look_at;
    struct pool_host *with_session[SESSIONS_MAX];
    unsigned session_turn;
    unsigned waiting;     /* fetches in all lines */
    unsigned holes;       /* connections slimmed since pages were last given back */
    uint64_t holes_at_us; /* not again before */
};

/* Files an open connection by the room that is left on it. */
void pool_file(struct conn *conn);
/* The host's line is looked at when the turn ends: within a callback of a protocol library nothing may be started. */
void pool_look_at(struct pool_host *host);
/* Connections to addresses that the name no longer has finish what runs on them and go. */
void pool_follow_list(struct pool_host *host);
/* Of one that has just opened, which the call above left alone while it was being made: the name has its address no
 * more, or it was blocked. */
bool pool_has_lost_address(struct conn *conn);
/* Counts the connection as idle, from now, or as in use. */
void pool_set_idle(struct conn *conn, bool idle);

/* Keeps `conn`, or the making of it, for a fetch that waits: the line passes it by until it is served or the promise is
 * released. A dead connection's are broken. */
void pool_promise(struct conn *conn, struct fetch *f);
void pool_release_promise(struct fetch *f);
void pool_break_promises(struct conn *conn);
/* The first in the line whom this connection is promised to; whom none is. NULL: nobody. */
struct fetch *pool_first_promised(const struct conn *conn);
struct fetch *pool_first_unpromised(const struct pool_host *host);

/* The free connection that has waited longest, so that all stay in use and every address has its turn; NULL: none is
 * free. `avoider`: not one to an address that it avoids; NULL: any. */
struct conn *pool_take_ready(struct pool_host *host, const struct fetch *avoider);
/* Starts a fetch of the line on a connection with room. */
void pool_give(struct conn *conn, struct fetch *f);
/* Dials an address that `avoider` does not avoid, for it alone; NULL: any, for whoever is first. What refused it is in
 * *refusal_out, the address in *ip_out if there was one. */
must_check enum outcome pool_dial(struct pool_host *host, struct fetch *avoider, enum lease_refusal *refusal_out,
                                  uint32_t *ip_out, const char **detail_out);
/* For a fetch that some addresses have failed: a connection to another one, or one is dialed. False: there is no other
 * address, or no slot for it now; then any will do. */
bool pool_serve_avoider(struct pool_host *host, struct fetch *f);
