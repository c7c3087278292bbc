#pragma once
/* URLs of http and https, read and written as the WHATWG URL Standard says (basic URL parser, special schemes only),
 * host names as UTS 46 non-transitional (libidn2). The caller gives the room; nothing is allocated on the way of a
 * plain ASCII URL. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"

#define URL_LEN_MAX  65535 /* bytes of a canonical URL; longer ones are invalid */
#define URL_HOST_MAX 253   /* bytes of a host name (RFC 1035 2.3.4); a bracketed IPv6 address is shorter */

enum url_scheme { URL_HTTP, URL_HTTPS };

/* A canonical URL: offsets into `text`, which is not NUL-terminated. Layout: scheme "://" host [":" port] path ["?"
 * query]. The fragment is dropped: it is never sent. `user:password@` is parsed, kept out of `text`, and told by
 * has_credentials. */
struct url {
    const char *text; /* borrowed from the buffer given to url_parse() */
    uint32_t len;
    uint16_t host_offset, host_len; /* as in the URL: an IPv6 address with its brackets */
    uint16_t port;                  /* effective: 80 or 443 when the URL names none */
    uint16_t path_offset;           /* of "/"; the request target is text[path_offset .. len) */
    uint32_t path_len;              /* of the path without the query */
    enum url_scheme scheme;
    bool port_is_default;
    bool host_is_ip; /* an IPv4 address or a bracketed IPv6 one */
    bool has_credentials;
};

/* What url_parse() found in a text that was canonical already, small enough to be kept beside it. */
struct url_shape {
    uint32_t path_len;
    uint16_t port, path_offset;
    uint8_t host_len;
    uint8_t marks; /* 0: no shape */
};

/* The shape of `url`, and the URL of which `text` (`len` bytes, as they were then) has that shape. */
struct url_shape url_shape(const struct url *url);
struct url url_of_shape(const struct url_shape *shape, const char *text, uint32_t len);

/* Parses `input` (any bytes, `len` of them), relative to `base` if not NULL (a redirect's Location), and writes the
 * canonical form into `out` (cleared first, so `base` must not borrow from it); *url_out borrows from out->data.
 * A scheme other than http and https, a missing scheme without a base, NUL bytes inside the host and so on are refused.
 * Leading and trailing C0 controls and spaces are stripped, tabs and newlines removed, backslashes read as slashes,
 * dot segments resolved, bytes percent-encoded with the standard's sets.
 * Returns OUTCOME_OK, OUTCOME_INVALID_URL or, when only the host is wrong, OUTCOME_INVALID_HOST, and then *reason_out
 * is a constant clause without capital or full stop, e.g. "the port is above 65535". */
must_check enum outcome url_parse(const char *input, size_t len, const struct url *base, struct buffer *out,
                                  struct url *url_out, const char **reason_out);
