#pragma once
/* The record: one JSON line per input line, as users script against it. This is its schema in code: whoever finishes a
 * line, worker or coordinator, fills a struct record and formats it here. Keys follow ProjectDiscovery httpx. */

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buffer.h"
#include "common/outcome.h"

struct span {
    const char *data; /* NULL: absent */
    size_t len;
};

/* Borrowed for the time of record_format(). */
struct record {
    uint64_t seq;
    struct span input;
    bool input_truncated;
    /* The first URL, canonical; absent when it did not parse. */
    struct span url, host, path;
    const char *scheme;
    uint16_t port;
    uint64_t timestamp_wall_us;
    enum outcome outcome; /* OUTCOME_OK: answered */
    bool dry_run;         /* nothing was asked for */
    const char *detail;   /* of a failure: a clause that says more than the outcome's own; NULL: none */
    struct span method;
    /* The answer; status 0: none. */
    unsigned status;
    struct span content_type, location, webserver;
    int64_t content_length; /* -1: unknown */
    struct span final_url;  /* after redirects */
    const uint16_t *chain;
    unsigned chain_count;
    struct span connection;       /* members made by record_format_connection(); absent: never connected */
    const struct address *dialed; /* the address that did not answer; NULL: none */
    unsigned worker;
    uint64_t conn_id;
    bool reused;
    unsigned attempts; /* 0: never sent */
    uint64_t total_us;
    bool with_timings;
    uint64_t dns_us, connect_us, tls_us, ttfb_us;
    uint64_t bytes_wire, bytes_body;
    bool truncated;
    const uint8_t *sha256;   /* 32 bytes, or NULL */
    struct span attempt_log; /* made by record_format_attempt(); absent: not asked for */
    struct span tag;         /* JSON text, put as it is */
};

/* What is the same in every record of one connection. */
struct record_connection {
    const struct address *host_ip, *local_ip; /* NULL: unknown */
    const char *http_version;                 /* "1.1", "2" */
    const char *tls_version, *tls_cipher;     /* NULL: no TLS */
    bool tls_resumed;
    struct span sni;
    const char *profile; /* NULL: none */
};

/* One attempt, for the log of them. */
struct record_attempt {
    const char *layer;             /* "pool", "connection", "address", "cache", "retry" */
    const struct address *host_ip; /* NULL: it came to none */
    uint64_t conn_id;              /* 0: no connection */
    bool reused;
    bool validation;      /* a test of the connection, no attempt of its own */
    unsigned status;      /* 0: `outcome` says why there is none */
    enum outcome outcome; /* of an attempt without answer */
    uint64_t took_us, waited_us;
};

/* Appends an attempt to a log of them; `start` is where the log's text begins in `out`. */
void record_format_attempt(struct buffer *out, size_t start, const struct record_attempt *a);
/* Appends the members of a connection, to be given to record_format() each time. */
void record_format_connection(struct buffer *out, const struct record_connection *c);
/* What a record tells of an answer that was kept earlier and stands in for a failure. */
struct record_stale {
    struct span members; /* of the kept answer: JSON members without braces */
    uint64_t since_wall_us;
    enum outcome reason;
};

/* Appends the record as one line with its newline; request, times, attempts, log and tag are of `r`, all else is the
 * kept answer's. */
void record_format_stale(struct buffer *out, const struct record *r, const struct record_stale *stale);
/* Appends the record as one line with its newline. */
void record_format(struct buffer *out, const struct record *r);
