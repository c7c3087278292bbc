#pragma once
/* The pool's inside, shared by the files that make it up: pool.c (who gets which connection), pool_host.c (hosts and
 * their TLS sessions), pool_idle.c (what happens to connections that nobody needs now). */

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
/* Counts the connection as idle, from now, or as in use. */
void pool_set_idle(struct conn *conn, bool idle);
