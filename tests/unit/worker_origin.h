#pragma once
/* A scripted server on loopback, in the test's own process and turned by hand: plain HTTP, TLS with keys made at run
 * time, or HTTP/2 with a server session of nghttp2. What it says is up to its script; it does nothing by itself but
 * accept, shake hands and take bytes in. */

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"

#define ORIGIN_PEERS_MAX 128
#define PEER_STREAMS_MAX 1024

enum origin_kind { ORIGIN_PLAIN, ORIGIN_TLS, ORIGIN_H2 };

struct origin;

/* One accepted connection. It lives as long as its origin. */
struct peer {
    struct origin *origin;
    int fd; /* -1: closed by us */
    SSL *ssl;
    bool open;             /* TLS is up, or there is none */
    bool ended;            /* the client closed in order: close_notify, or plain FIN */
    bool broken;           /* the client closed otherwise */
    bool stopped;          /* reads nothing */
    struct buffer in, out; /* taken in and not consumed by the script; not yet taken by the socket */
    nghttp2_session *session;
    int32_t streams[PEER_STREAMS_MAX];    /* of requests whose head came, in order */
    uint64_t body_left[PEER_STREAMS_MAX]; /* of answers under way, by stream number */
    unsigned requests;
    unsigned resets, goaways, pongs; /* from the client */
};

struct origin {
    int fd;
    uint16_t port;
    enum origin_kind kind;
    SSL_CTX *tls;
    bool deaf; /* does not accept, nor answer what it accepted */
    struct peer *peers[ORIGIN_PEERS_MAX];
    unsigned peer_count;
    unsigned requests;    /* by all peers that count them */
    uint32_t streams_max; /* HTTP/2: announced; 0: not announced, ORIGIN_NO_STREAMS: none */
    void *user;
    /* The script; each may be NULL. */
    void (*on_open)(struct peer *p);                    /* accepted, TLS is up; the client has not heard of it yet */
    void (*on_bytes)(struct peer *p);                   /* p->in has grown */
    void (*on_request)(struct peer *p, int32_t stream); /* HTTP/2: a request's head is whole */
};

#define ORIGIN_NO_STREAMS UINT32_MAX

struct origin *origin_new(enum origin_kind kind);
/* TLS no newer than `version` (TLS1_2_VERSION): its last flight is the server's, and what follows may come with it. */
void origin_limit_tls(struct origin *o, int version);
/* It answers record_size_limit with a limit that no client can keep. */
void origin_spoil_extensions(struct origin *o);
void origin_free(struct origin *o);
/* Accepts, shakes hands, reads, writes; true when something happened. */
bool origin_turn(struct origin *o);
/* The connection last accepted; NULL: none. */
struct peer *origin_last(const struct origin *o);
unsigned origin_open_count(const struct origin *o);

void peer_send(struct peer *p, const void *data, size_t len);
void peer_say(struct peer *p, const char *text);
/* Closes: in order (close_notify on TLS), by a bare FIN, or by a reset. */
void peer_close(struct peer *p);
void peer_cut(struct peer *p);
void peer_reset(struct peer *p);
/* close_notify without closing. */
void peer_notify(struct peer *p);
/* How often `word` stands in what came and was not consumed. */
unsigned peer_heard(const struct peer *p, const char *word);

/* HTTP/2. Sends what the session has to say. */
void peer_flush(struct peer *p);
/* Answers a stream: status, fields as pairs of strings up to NULL, `body_len` bytes of 'x'. content-length only if
 * among the fields. */
void peer_answer(struct peer *p, int32_t stream, const char *status, const char *const *fields, uint64_t body_len);

/* Scripts. A short answer to each request without a body; the same over HTTP/2. */
void script_answer(struct peer *p);
void script_answer_h2(struct peer *p, int32_t stream);

/* The file of the certificate that every TLS origin shows: CN and SAN a.test, b.test, *.wild.test, 127.0.0.1. */
const char *origin_ca_file(void);
