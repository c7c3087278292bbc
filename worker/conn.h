#pragma once
/* A connection: a socket, its TLS, its lease on an address, and the protocol spoken on it. Owned by the pool; every
 * connection is in exactly one of its host's lists, or dead. Nothing is freed inside a callback: dead ones are swept
 * when the turn ends. */

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/accept_language.h"
#include "common/address.h"
#include "common/draw.h"
#include "common/outcome.h"
#include "common/timers.h"
#include "worker/browser.h"
#include "worker/exchange.h"
#include "worker/worker.h"

/* X(state, mask of states it may move to) */
#define CONN_STATES(X)                                                      \
    X(CONNECTING, 1u << CONN_HANDSHAKE | 1u << CONN_OPEN | 1u << CONN_DEAD) \
    X(HANDSHAKE, 1u << CONN_OPEN | 1u << CONN_DEAD)                         \
    X(OPEN, 1u << CONN_RETIRING | 1u << CONN_DEAD)                          \
    X(RETIRING, 1u << CONN_DEAD)                                            \
    X(DEAD, 0u)

#define CONN_STATE_ID(state, moves) CONN_##state,
enum conn_state { CONN_STATES(CONN_STATE_ID) };
#undef CONN_STATE_ID

struct host_session;
struct pool_host;
struct h2;
struct h1;

struct conn {
    TAILQ_ENTRY(conn) link;  /* host's ready, busy or dialing list; the worker's dead list */
    TAILQ_ENTRY(conn) idle;  /* the pool's idle list, least recently used first */
    TAILQ_ENTRY(conn) dirty; /* the worker's list of connections with output to gather */
    struct conn_list *list;  /* that `link` is in */
    bool is_idle, is_dirty;
    bool pooled;            /* was handed to the pool: open, and in use or free for it */
    bool warm;              /* made ahead of need: its first request finds it open */
    struct fetch *intended; /* the chore that it is dialed for, while it is being made */
    bool suspect;           /* its last status was not a healthy one: used when no other is left */
    unsigned errors;        /* more than successes, see health.h */
    enum conn_state state;
    struct worker *worker;
    struct pool_host *host;
    const struct browser *browser; /* that it shows for all its life */
    struct draw draw;              /* its own */
    char language[ACCEPT_LANGUAGE_MAX];
    uint8_t language_len; /* 0: it says nothing of languages */
    uint32_t ip;          /* leased address */
    uint32_t ref;         /* where it stands in the host's list, as of pool_host.list_version; IP_REF_NONE: nowhere */
    bool told_white;      /* a 2xx was seen: its address is known to be good */
    struct address address, local;
    int fd;
    SSL *ssl; /* NULL on plain HTTP */
    struct event readable, writable;
    const struct exchange *exchange; /* once open */
    union {
        struct h1 *h1;
        struct h2 *h2;
    } protocol;
    struct timer timer; /* connect, handshake or idle limit, by state */
    uint64_t id, dialed_us, connected_us, opened_us, idle_since_us;
    uint64_t last_checked_us;  /* when the last probe began; 0: none was */
    struct fetch *probe;       /* under way; NULL: none */
    uint64_t checked_turn;     /* the turn in which its input was last read to the end */
    struct fetch_list fetches; /* that run on it */
    unsigned active, capacity; /* their number, and at most */
    bool unfit;                /* failed a test: no request more, retired at its next release */
    unsigned tests;            /* of it that run on it, see validate.h */
    unsigned promises;         /* waiting fetches that it is kept, or being made, for: their `promised` */
    uint64_t served;           /* requests begun */
    const char *net;           /* bytes read and not yet taken by TLS, in the worker's buffer */
    size_t net_len;
    bool net_eof;
    bool was_reset;    /* sending met it: reading then finds an end like any other */
    bool read_full;    /* the last read filled the buffer */
    struct buffer out; /* what the socket did not take */
    const char *tls_version, *tls_cipher;
    struct host_session *kept;  /* where the host's session for its browser is; NULL: not asked for yet */
    uint32_t session_number;    /* of that which the handshake offered; 0: none, or that is settled */
    bool exact;                 /* the browser's own hello, by the filter of hello.h */
    bool tls_resumed, tls_slim; /* slim: its buffers were given back while it is idle */
    struct buffer record;       /* its members of every record, formatted when it opens */
    char detail[160];           /* of a failure */
};

/* Dials `address`, which is leased, for a connection of one of `profiles`, which is drawn. OUTCOME_OK: under way
 * (`*conn_out`, state CONNECTING or later); else nothing was made, and *detail_out says why (until the next call) or
 * stays. */
must_check enum outcome conn_dial(struct pool_host *host, uint32_t ip, const struct address *address, uint64_t profiles,
                                  struct conn **conn_out, const char **detail_out);
/* Moves to `state`, checked against the table of moves. */
void conn_set_state(struct conn *conn, enum conn_state state);
/* Puts it into `list`, out of the one it is in. */
void conn_move(struct conn *conn, struct conn_list *list);
/* Puts a fetch on the connection, and takes it off. */
void conn_attach(struct conn *conn, struct fetch *f);
void conn_detach(struct conn *conn, struct fetch *f);
/* Sends plaintext: over TLS when there is TLS. What the socket does not take is kept and sent later. */
must_check enum outcome conn_send(struct conn *conn, const void *data, size_t len);
/* Bytes kept for want of room in the socket. */
static inline size_t conn_backlog(const struct conn *conn)
{
    return conn->out.len;
}
/* Marks it for exchange->flush before the turn ends. */
void conn_mark_dirty(struct conn *conn);
void conn_flush_dirty(struct worker *w);
/* Sends bytes to the socket, TLS done. For tls.c. */
void conn_send_raw(struct conn *conn, const void *data, size_t len);
/* Ends it: what runs on it fails with `outcome`. */
void conn_fail(struct conn *conn, enum outcome outcome, const char *detail);
/* Ends it in order; nothing runs on it, or what does is told CONNECTION_CLOSED. */
void conn_close(struct conn *conn);
/* A kept connection is still clean: no byte has come that belongs to no request, the peer has not closed. One system
 * call when it is; else it is read, and closed if need be. */
bool conn_is_fresh(struct conn *conn);
/* Frees the dead. */
void conn_sweep(struct worker *w);
