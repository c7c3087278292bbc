#pragma once
/* The pool's inside, shared by the files that make it up: pool.c (who gets which connection), pool_host.c (hosts and
 * their TLS sessions), pool_idle.c (what happens to connections that nobody needs now), pool_promise.c (connections
 * that are kept for one fetch), pool_avoid.c (fetches that some addresses have failed), pool_follow.c (what a new list
 * of addresses means for connections), pool_profile.c (fetches that name a profile). */

#include "shm/iptable.h"
#include "worker/pool.h"

#define SESSIONS_MAX 512 /* TLS sessions that this worker keeps */

TAILQ_HEAD(host_list, pool_host);

struct pool {
    struct worker *worker;
    struct pool_host **hosts; /* by index in the shared table; made when first used */
    uint32_t hosts_max;
    struct conn_list idle; /* of all hosts, least recently used first */
    struct host_list starving, to_look_at;
    struct host_session *with_session[SESSIONS_MAX];
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
/* The first in the line whom this connection is promised to; whom none is, and whom some profile outside `without`
 * would suit. NULL: nobody. */
struct fetch *pool_first_promised(const struct conn *conn);
struct fetch *pool_first_unpromised(const struct pool_host *host, uint64_t without);
/* The first whom none is promised to and this one would suit, address and all. NULL: nobody. */
struct fetch *pool_first_served_by(const struct conn *conn);

/* The free connection that has waited longest, so that all stay in use and every address has its turn; NULL: none is
 * free. `avoider`: not one to an address that it avoids; NULL: any. It is of one of `profiles`. */
struct conn *pool_take_ready(struct pool_host *host, const struct fetch *avoider, uint64_t profiles);
/* Starts a fetch of the line on a connection with room. */
void pool_give(struct conn *conn, struct fetch *f);
/* Dials an address that `avoider` does not avoid (NULL: any), for `f` alone and of its profiles; NULL: for whoever is
 * first. What refused it is in *refusal_out, the address in *ip_out if there was one. */
must_check enum outcome pool_dial(struct pool_host *host, const struct fetch *avoider, struct fetch *f,
                                  enum lease_refusal *refusal_out, uint32_t *ip_out, const char **detail_out);
/* For a fetch that some addresses have failed: a connection to another one, or one is dialed. False: there is no other
 * address, or no slot for it now; then any will do. */
bool pool_serve_avoider(struct pool_host *host, struct fetch *f);

/* Closes the least recently used idle connection to make room: with an address one to it, with a host one of its own.
 */
bool pool_close_idle_one(struct pool *p, const struct pool_host *of, uint32_t ip);
/* No slot for a further connection. With one of its own the host waits for it; else a connection here that stands in
 * the way is closed as soon as it is free; with none here at all the tasks are better off with another worker. */
void pool_at_limit(struct pool_host *host, enum lease_refusal refusal, uint32_t ip);
/* For a fetch that names profiles: a connection of those, or one is dialed, or at a limit one of another profile makes
 * room. False: it has to wait, or was handed back. */
bool pool_serve_picky(struct pool_host *host, struct fetch *f);
/* NULL is fine. */
void pool_free_sessions(struct pool_host *host);
