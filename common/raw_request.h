#pragma once
/* A request that was written by hand, as bytes in a file (--raw-request): read whole, never changed, looked at only as
 * far as the answer's reading and the choice of retries need it. */

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"

#define RAW_REQUEST_BYTES_MAX (64u << 20)
#define RAW_METHOD_MAX        64u

struct raw_request {
    struct buffer bytes;
    char method[RAW_METHOD_MAX];
    size_t method_len; /* 0: the file does not begin with a token (RFC 9112 3) */
    /* The file is exactly one request by its own Content-Length. If not, the server may take what is sent next for a
     * part of this one, and nothing must be sent next. */
    bool is_whole;
};

/* Reads the file. False: *reason_out says what is wrong (not readable, not a regular file, empty, too large), and
 * nothing is held. */
bool raw_request_read(struct raw_request *r, const char *path, const char **reason_out);
void raw_request_fini(struct raw_request *r);
/* Fills in method and is_whole from the bytes; raw_request_read() does so too. */
void raw_request_examine(struct raw_request *r);
