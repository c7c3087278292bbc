#pragma once
/* A fetch: one attempt at one task, from the task ring to the record ring. It belongs to the worker; while on a
 * connection, the connection's exchange reports to it through the fetch_on_* calls. Fetches are kept and used again. */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/record.h"
#include "common/timers.h"
#include "common/url.h"
#include "shm/task.h"
#include "worker/worker.h"

enum fetch_state {
    FETCH_SPARE,
    FETCH_WAITING, /* for a connection */
    FETCH_DIALING, /* a chore whose own connection is being made */
    FETCH_ACTIVE,  /* on a connection */
    FETCH_UNSENT,  /* finished, waits for room in the record ring */
};

#define ANSWER_CODINGS_MAX 128 /* bytes of all Content-Encoding fields */

struct decoder;
struct pool_host;

/* Places in `meta`, where header values of the answer are kept; len 0: absent. */
struct meta_span {
    uint32_t offset, len;
    bool present;
};

struct fetch {
    TAILQ_ENTRY(fetch) link; /* host's waiters, connection's fetches, or the worker's unsent or spare ones */
    enum fetch_state state;
    struct worker *worker;
    struct task_message m;
    struct buffer text; /* the message's strings */
    struct url url, first_url;
    struct span input, method, headers, body, tag;
    uint64_t profiles; /* of the connections that it may go over */
    const uint16_t *chain;
    const uint32_t *avoid; /* addresses that have failed the task, m.avoid_count of them */
    struct pool_host *host;
    struct conn *conn;         /* while active */
    const struct conn *dialed; /* the connection that could not be made for it, within the failing call */
    int32_t stream_id;         /* HTTP/2 */
    uint32_t body_sent;
    struct timer timer;
    uint64_t arrived_us, deadline_us, sent_us, first_byte_us;
    uint64_t patience_until_us; /* while waiting: what acquire_timeout and the deadline allow */
    uint64_t started_us, first_attempt_wall_us;
    uint32_t attempts;
    uint32_t ip;           /* that the last attempt went to, or IP_NONE */
    struct conn *promised; /* while waiting: the connection that is kept, or being made, for it; NULL: any will do */
    struct buffer log;     /* struct task_log and the text of the attempts; empty without the option */
    unsigned validations;  /* tests of connections begun for it */
    bool validating;       /* its test is under way: what is sent is a HEAD without a body */
    bool validated;        /* the connection that is promised to it, or that it is on, has passed */
    const char *layer;     /* of the attempt last logged; NULL: none */
    uint64_t begun_us;     /* when it was put on its connection */
    unsigned stale_tries;  /* times a kept connection turned out to be closed */
    bool reused;           /* the connection had served a request before */
    bool unprocessed;      /* the server said that it did nothing with the request */
    /* The answer so far. */
    bool head_request, head_done, truncated;
    bool end_stream, reset_by_peer; /* HTTP/2 */
    unsigned status, interim;
    int64_t content_length;
    uint64_t head_bytes, wire_bytes, body_bytes; /* wire: as it came; body: decoded, as far as it was taken */
    char codings[ANSWER_CODINGS_MAX];            /* values of Content-Encoding, joined by commas */
    unsigned codings_len;
    struct decoder *decoder;  /* owned; from the first byte of a coded body to its end */
    enum outcome body_fault;  /* why the body is not to be had, or OUTCOME_OK */
    const char *fault_detail; /* constant */
    struct buffer meta;
    struct meta_span content_type, location, webserver;
    bool retry_after_given;
    uint32_t retry_after_ms;   /* 0: none, or at once */
    EVP_MD_CTX *digest;        /* kept for reuse; NULL before the first --hash */
    enum access_state learned; /* what it says of the address at learned_ip that is to be told */
    uint32_t learned_ip;
    /* While unsent. */
    struct result_message result;
    struct buffer payload;
};

/* Makes a fetch of a task message (`len` bytes, copied). NULL when it makes no sense. */
struct fetch *fetch_new(struct worker *w, const void *message, uint32_t len);
/* Starts its clocks and lets it wait for a connection. */
void fetch_submit(struct fetch *f);
/* A fetch to be filled; it belongs to the caller until outbox_put() or fetch_discard(). */
struct fetch *fetch_take_spare(struct worker *w);
/* Ends the task with a message of `kind`. Gone after this call. */
void fetch_send_result(struct fetch *f, enum result_kind kind, enum outcome outcome, const void *payload, size_t len);
/* Put on a connection: counts the attempt, starts the clock of the request. */
void fetch_begin(struct fetch *f, struct conn *conn, bool reused);

/* From the exchange. A final status, then fields (names in any case), then the head's end, body bytes, the end. */
void fetch_on_status(struct fetch *f, unsigned status);
void fetch_on_field(struct fetch *f, const char *name, size_t name_len, const char *value, size_t value_len);
void fetch_on_head(struct fetch *f, int64_t content_length);
/* False: enough was read (the body cap); the exchange ends the answer there and calls fetch_on_complete(). */
bool fetch_on_body(struct fetch *f, const char *data, size_t len);
/* The answer is whole, or cut at the cap: the fetch makes its result and is gone after this call. */
void fetch_on_complete(struct fetch *f);
/* The attempt failed: retried as the outcome table says, or recorded; gone after this call, or waiting again. `detail`:
 * a clause, or NULL. */
void fetch_fail(struct fetch *f, enum outcome outcome, const char *detail);
/* Ends it with its record: `conn` is the connection it was on last, or NULL. Gone after this call. */
void fetch_send_record(struct fetch *f, const struct conn *conn, enum outcome outcome, const char *detail);
/* A connection for it could not be made: `dialed`, or none could be begun, to `ip` or IP_NONE. Counts the attempt; then
 * as fetch_fail(). */
void fetch_dial_failed(struct fetch *f, const struct conn *dialed, uint32_t ip, enum outcome outcome,
                       const char *detail);
/* The address has failed the task before. */
bool fetch_avoids(const struct fetch *f, uint32_t ip);
/* No slot here and none to come, or a better chance elsewhere: the coordinator is to give the task to another worker.
 * Gone after this call. */
void fetch_hand_back(struct fetch *f);
/* The worker ends, and with it a fetch that is in no list. */
void fetch_discard(struct fetch *f);
/* Frees what a burst has left to be used again, but for some; once a second, not from within a callback. */
void fetch_trim_spare(struct worker *w);
void fetch_free_all(struct worker *w);
