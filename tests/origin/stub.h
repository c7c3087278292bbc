#pragma once
/* The stub origin: an HTTP server that answers from memory, for tests and benchmarks in which the server must not be
 * what they wait for. One process, one thread. The parts are stub_origin.c (listeners, name server, the loop),
 * stub_conn.c (a connection's bytes, plain or TLS, and HTTP/1.1), stub_h2.c (HTTP/2) and stub_ledger.c (who is
 * connected, and who ever was). A listener lives as long as the process; it owns its connections, and a connection the
 * answers that it owes. */

#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/buffer.h"

#define STUB_REQUEST_MAX 16384 /* bytes of a request's head */
#define STUB_BODY        "ok\n"
#define STUB_BODY_LEN    3u

/* One address and port of the server. */
struct stub_host {
    uint32_t address; /* IPv4, host order */
    uint16_t port;
    uint64_t accepted, requests;
    unsigned open, peak;
    uint64_t slow_us, free_at_us; /* its requests are answered one by one, so long after each other */
    LIST_HEAD(, stub_conn) conns;
    struct stub_host *next;
};

/* All addresses with the same second octet: what one fleet under test is given. */
struct stub_group {
    uint64_t accepted, requests;
    unsigned open, peak;
    LIST_HEAD(, stub_conn) conns;
};

struct stub_listener {
    const char *name;
    struct event_base *base;
    struct event *event;
    int fd;
    uint16_t port;
    SSL_CTX *tls; /* NULL: plain */
    bool counted; /* its sockets are looked at one by one to find the peaks */
    bool control; /* it answers questions about the ledger */
};

/* An answer that is owed, now or later. */
struct stub_answer {
    struct stub_conn *conn;
    struct event *timer; /* NULL: at once */
    int32_t stream;      /* HTTP/2 */
    unsigned status;
    bool head, close, cut;
    LIST_ENTRY(stub_answer) entry;
};

struct stub_conn {
    struct stub_listener *listener;
    struct stub_host *host;
    struct stub_group *group;
    int fd;
    struct event *readable, *writable;
    SSL *ssl;
    nghttp2_session *h2;
    bool shaking;    /* in the TLS handshake */
    bool busy;       /* HTTP/1.1: owes an answer, and reads no further request before it */
    bool last;       /* ends when `out` is sent */
    bool dead;       /* on its way out: to be freed by whoever holds it last */
    unsigned nested; /* callbacks that still hold it */
    uint64_t skip;   /* bytes of a request's body still to come */
    struct buffer in, out;
    LIST_HEAD(, stub_answer) answers;
    LIST_ENTRY(stub_conn) of_host, of_group;
};

uint64_t stub_clock_us(void);

/* --- stub_conn.c --- */

/* Takes over an accepted socket. NULL: it is gone already, and closed. */
struct stub_conn *stub_conn_new(struct stub_listener *listener, int fd);
/* Puts bytes to `out` and sends what can be sent. */
void stub_conn_send(struct stub_conn *c, const void *data, size_t len);
/* Marks it dead; it is freed once nobody holds it. */
void stub_conn_end(struct stub_conn *c);
/* Reads what a request's target asks for (see stub_origin.c) and owes the answer to `stream`, 0 with HTTP/1.1. */
void stub_conn_owe(struct stub_conn *c, int32_t stream, bool head, const char *target, size_t target_len);
/* The answer is given or no longer wanted. */
void stub_answer_free(struct stub_answer *a);

/* --- stub_h2.c --- */

/* False when the session can't be made. */
bool stub_h2_open(struct stub_conn *c);
/* Takes what was read, and sends what there is to send. False: the connection is over. */
bool stub_h2_take(struct stub_conn *c, const uint8_t *data, size_t len);
/* Readies the answer, which stays its stream's until that closes. */
void stub_h2_answer(struct stub_conn *c, const struct stub_answer *a);
/* Sends what is ready. Not while stub_h2_take() runs, which does it itself. False: the connection is over. */
bool stub_h2_flush(struct stub_conn *c);

/* --- stub_ledger.c --- */

/* Finds or makes the host. */
struct stub_host *stub_ledger_host(uint32_t address, uint16_t port);
/* Notes a slow address, for whichever port it is asked at. */
void stub_ledger_slow(uint32_t address, uint64_t slow_us);
void stub_ledger_enter(struct stub_conn *c, uint32_t address, uint16_t port);
void stub_ledger_leave(struct stub_conn *c);
/* Takes the peaks around a connection just accepted: sockets that the kernel calls established. One whose peer has
 * closed does not count, even before that is read. */
void stub_ledger_count(const struct stub_conn *c);
/* Answers GET /group?N, /reset?N in JSON. */
void stub_ledger_tell(const char *target, size_t len, struct buffer *out);
