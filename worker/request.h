#pragma once
/* What is sent: the header fields of a request from options, task and defaults, own ones winning, for HTTP/1.1 and
 * HTTP/2. */

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/options.h"
#include "common/profile.h"
#include "common/raw_request.h"
#include "common/record.h"

struct fetch;

#define REQUEST_FIELDS_MAX 512 /* more than options and a line together may name */

struct request_field {
    struct span name, lower, value; /* name as written, and in lower case */
    bool secret;                    /* Authorization, Cookie: not to another origin */
    bool of_connection;             /* HTTP/1.1 only */
};

/* Made once from the options. Each field's text is one allocation of its own, from name.data on. */
struct request_defaults {
    struct request_field *fields; /* owned */
    unsigned count, room;
    const struct profile *profile; /* NULL: none */
    bool borrows;                  /* body and raw are another's */
    struct span method;            /* without data: GET; absent when a raw request has none */
    struct buffer body;            /* the option `data`, read from its file when it starts with @ */
    bool has_body;
    struct raw_request raw;                 /* of --raw-request: stands for all of the above; no bytes: there is none */
    struct buffer h1_tail, h1_tail_crossed; /* all default fields in HTTP/1.1 form, ready; without secrets */
    /* The field whose value is the connection's own, at most `count` (there is none), and where that value stands in
     * the two above. */
    unsigned language;
    size_t language_at, language_at_crossed;
};

/* False: *reason_out says what is wrong (a file that can't be read). */
bool request_defaults_init(struct request_defaults *d, const struct options *options, const char **reason_out);
/* The same under a profile: what is read from files is borrowed from `base`. */
void request_defaults_for(struct request_defaults *d, const struct request_defaults *base,
                          const struct options *options, const struct profile *profile);
void request_defaults_fini(struct request_defaults *d);

/* Method and body in force for a fetch. */
struct span request_method(const struct request_defaults *d, const struct fetch *f);
struct span request_body(const struct request_defaults *d, const struct fetch *f);

/* The bytes of every request, as they are; absent when there is no raw request. */
struct span request_raw(const struct request_defaults *d);
/* Whether a connection may serve another request after this one. */
bool request_can_be_followed(const struct request_defaults *d);
/* Appends the whole request, body included (RFC 9112 3). */
void request_put_h1(const struct request_defaults *d, const struct fetch *f, struct buffer *out);
/* Fills header fields for HTTP/2 (RFC 9113 8.3.1), at most REQUEST_FIELDS_MAX + 6; returns their number. Values borrow
 * from defaults, fetch and `scratch`. */
size_t request_fill_h2(const struct request_defaults *d, const struct fetch *f, struct buffer *scratch,
                       nghttp2_nv *fields_out);
