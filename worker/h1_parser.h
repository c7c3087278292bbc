#pragma once
/* A strict, incremental parser of HTTP/1.1 responses (RFC 9112). Pure: bytes in, callbacks out; no socket, no
 * allocation but the head's buffer. One parser serves one connection, request after request. Everything it reads is
 * hostile. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"

struct h1_limits {
    size_t head_bytes_max; /* status line and fields of one answer, all 1xx of a request together; trailers and chunk
                            * extensions as well */
    unsigned fields_max;   /* 256; of the whole answer, counted like the bytes */
    unsigned interim_max;  /* 1xx answers to one request; 16 */
};

/* How an answer's body is delimited (RFC 9112 6.3). */
enum h1_framing { H1_NO_BODY, H1_LENGTH, H1_CHUNKED, H1_UNTIL_CLOSE };

/* Spans are borrowed for the callback's time. A callback may not destroy the parser. */
struct h1_callbacks {
    /* Final (not 1xx) status line. */
    void (*on_status)(void *user, unsigned status);
    /* One field of the final head: name as sent, value trimmed of OWS. Trailers are checked but not reported. */
    void (*on_field)(void *user, const char *name, size_t name_len, const char *value, size_t value_len);
    /* The head is complete. content_length is -1 unless framing is H1_LENGTH. */
    void (*on_head)(void *user, enum h1_framing framing, int64_t content_length);
    /* Body bytes, transfer coding removed. */
    void (*on_body)(void *user, const char *data, size_t len);
    /* The answer is complete (not called when h1_eof() reports an error). */
    void (*on_complete)(void *user);
};

struct h1_parser {
    const struct h1_callbacks *callbacks;
    void *user;
    struct h1_limits limits;
    struct buffer head; /* owned: holds an incomplete line when a read ends inside the head */
    uint64_t remaining; /* body or chunk bytes still to come */
    size_t head_bytes;
    unsigned fields, interim, status, state;
    enum h1_framing framing;
    bool head_request; /* the request was HEAD: no body follows whatever the fields say */
    bool keep_alive;   /* after completion: the connection may serve another request */
    bool complete;
    const char *reason; /* after an error: a constant clause for people */
    /* private to h1_parser.c from here on; its author may add fields */
    int64_t content_length;
    bool has_length, has_chunked, has_close, has_keep_alive, is_http10;
    bool is_odd;          /* the framing is legible but not what a sound server sends: no further request */
    enum outcome failure; /* what every feed after an error gives again */
};

void h1_parser_init(struct h1_parser *p, const struct h1_callbacks *callbacks, const struct h1_limits *limits);
void h1_parser_fini(struct h1_parser *p);
/* Before each request is sent. */
void h1_parser_begin(struct h1_parser *p, void *user, bool head_request);
/* Feeds bytes. *consumed_out bytes were taken; fewer than len only when the answer is complete (what is left belongs to
 * no request of ours: the caller closes the connection) or on an error. OUTCOME_OK, OUTCOME_PROTOCOL_ERROR or
 * OUTCOME_TOO_LARGE (a row of struct h1_limits), both with the reason set. Bytes fed after completion are an error of
 * the caller: they are refused as OUTCOME_PROTOCOL_ERROR and keep_alive is withdrawn.
 * Strict: bare CR, obs-fold, space before the colon, empty or non-token names, control bytes in values, several
 * differing Content-Length, Content-Length beside Transfer-Encoding, Transfer-Encoding other than one final "chunked",
 * chunk sizes that overflow or are followed by anything but an extension, missing CRLF after a chunk, status outside
 * 100-999, a version other than HTTP/1.0 and 1.1, 101 (never asked for) are protocol errors. A bare LF as line end is
 * accepted only where RFC 9112 2.2 permits a recipient to (the head's lines), never in chunk framing or trailers. A
 * list of equal Content-Length values is accepted as one. */
must_check enum outcome h1_parser_feed(struct h1_parser *p, const char *data, size_t len, size_t *consumed_out);
/* The peer closed. `clean`: orderly (TLS: with close_notify; plain TCP: FIN). OUTCOME_OK only for an H1_UNTIL_CLOSE
 * body with a clean end (on_complete is called); otherwise OUTCOME_CONNECTION_CLOSED, keep_alive is withdrawn and, if
 * an answer was open, the reason is set. */
must_check enum outcome h1_parser_eof(struct h1_parser *p, bool clean);
