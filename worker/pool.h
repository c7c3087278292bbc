#pragma once
/* This worker's connections, grouped by host. The pool owns every connection; a connection owns its socket, its TLS
 * session and its lease on an address. Fetches wait here, first come first served, until a connection is free or may be
 * made. */

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/conn.h"
#include "worker/fetch.h"

/* The session that is kept of a host for one browser. Made when first asked for, freed with the host. */
struct host_session {
    struct pool_host *host;
    const struct browser *browser;
    struct host_session *next;
    SSL_SESSION *session;   /* owned; for resumption */
    uint32_t number, place; /* counted up with each new session; in the pool's list */
    bool is_shared;         /* it is out of the map */
    uint64_t ask_us;        /* when the map is next asked for one, and told of one, at the earliest */
    uint64_t tell_us;
};

struct pool_host {
    struct pool *pool;
    struct worker *worker;
    uint32_t index, generation; /* in the shared table */
    uint16_t port;
    bool tls;
    bool is_ip;     /* the name is an address literal */
    char name[256]; /* as in the URL */
    size_t name_len;
    char verify_name[256];           /* without brackets and trailing dot */
    struct conn_list ready, suspect; /* with room for a request; the same, but not to be trusted: the last choice */
    struct conn_list busy, dialing;  /* without room; not yet open */
    unsigned conns, dialing_count;   /* all of them; those being made */
    struct fetch_list waiters;
    unsigned waiting;
    bool dial_failed; /* since the last success: dial for each waiter, do not wait for the first */
    bool starving;    /* waits for a slot that another host's connection here holds */
    bool to_look_at;  /* a connection died: waiters may need another one */
    TAILQ_ENTRY(pool_host) starve_link, look_link;
    uint64_t list_version;         /* of the addresses when its connections were last held against them */
    struct host_session *sessions; /* owned */
    double response_us;            /* moving average over answers, see health.h */
    unsigned responses;            /* that it knows, as far as it matters */
};

struct pool *pool_new(struct worker *w);
void pool_free(struct pool *p);

/* Takes a fetch: it starts at once, waits, or ends. */
void pool_submit(struct pool *p, struct fetch *f);
/* The fetch waits at the head of its host's line again: its kept connection was closed under it. */
void pool_resubmit(struct pool *p, struct fetch *f);
/* Dials a connection for a chore, to the address that the chore names or to the next in turn, whatever line there is:
 * TASK_PREWARM leaves it in the pool, TASK_CHECK runs on it alone. It answers the chore, unless the outcome here is not
 * OUTCOME_OK: OUTCOME_AT_LIMIT, OUTCOME_IP_EXHAUSTED, OUTCOME_ADDRESS_DENIED or why the socket could not be made. */
must_check enum outcome pool_dial_for(struct fetch *f, const char **detail_out);
/* Closes all open connections, or the idle ones; returns how many. What runs on them fails as if the server had closed
 * them. */
unsigned pool_flush(struct pool *p, bool idle_only);
/* The same, but the line passes the fetch by: it waits for `conn`, which is released next. If that dies first, it is as
 * any other, and no longer validated. */
void pool_resubmit_on(struct conn *conn, struct fetch *f);
/* Of a fetch that waits: its host has connections at other workers, and none is being made here. */
bool pool_has_more_elsewhere(const struct fetch *f);
/* Takes a waiting fetch out of the line. */
void pool_forget(struct pool *p, struct fetch *f);
/* The host of the shared table's slot; NULL when the slot is no longer of this generation. */
struct pool_host *pool_host_get(struct pool *p, uint32_t index, uint32_t generation);

/* From conn: it is open; an exchange on it ended; it could not be made; it is gone. */
void pool_on_open(struct conn *conn);
void pool_on_release(struct conn *conn);
void pool_on_dial_failed(struct conn *conn, enum outcome outcome, const char *detail);
void pool_on_dead(struct conn *conn);
/* It stands where the next request may be put on it. */
static inline bool pool_can_lend(const struct conn *conn)
{
    return conn->list == &conn->host->ready || conn->list == &conn->host->suspect;
}
/* No new requests on it; it is closed when the last one ends. */
void pool_retire(struct conn *conn);
/* Calls for each connection that is not dead; `each` changes none of them. */
void pool_each(const struct pool *p, void (*each)(void *user, const struct conn *conn), void *user);
/* Fetches in all lines. */
unsigned pool_waiting(const struct pool *p);
/* Some connection is idle. */
bool pool_has_idle(const struct pool *p);
/* When the turn ends: hosts that lost a connection, or wait for a slot, are looked at again. */
void pool_tend(struct pool *p);
/* Where the host's session for a browser is kept; never NULL, and there as long as the pool. */
struct host_session *pool_session_of(struct pool_host *host, const struct browser *browser);
/* Keeps a session in place of the one that is there; takes it over. NULL: there is none any more. */
void pool_keep_session(struct host_session *kept, SSL_SESSION *session);
/* The options have changed while it runs: idle connections keep to the new idle_timeout, and whoever waits is looked at
 * again when the turn ends. */
void pool_follow_options(struct pool *p);
/* Closes everything in order, and makes nothing new: the worker ends. */
void pool_close_all(struct pool *p);
/* Closes idle connections above max_idle_conns, fleet-wide, least recently used first; called about once a second. */
void pool_trim_idle(struct pool *p);
