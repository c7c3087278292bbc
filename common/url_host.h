#pragma once
/* The host of a URL: the WHATWG host parser for special schemes. Used by common/url alone. All functions that write
 * expect room for URL_HOST_MAX bytes in `out`; those that return a text return NULL for success, else a constant
 * clause. */

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/outcome.h"

/* Appends the canonical form of `host` (as it stands between "//" and ":port" or "/", not empty, any bytes) to `out`: a
 * lower-case ASCII name, a dotted IPv4 address, or an IPv6 address in brackets.
 * Returns OUTCOME_OK, or OUTCOME_INVALID_HOST and then *reason_out is a constant clause. */
must_check enum outcome url_host_write(const char *host, size_t len, struct buffer *out, bool *is_ip_out,
                                       const char **reason_out);

/* The standard's "ends in a number" check of a lower-case name: then it is an IPv4 address or not valid. One dot at the
 * very end does not count. */
bool url_ends_in_number(const char *name, size_t len);
/* Puts the dotted address in the place of the name at out->data + start. */
must_check const char *url_ipv4_rewrite(struct buffer *out, size_t start);
/* Appends the canonical form of "[…]", in RFC 5952's way but never dotted. */
must_check const char *url_ipv6_write(const char *host, size_t len, struct buffer *out);
/* 0..15, or -1 for what is no hexadecimal digit. */
int url_hex_value(char c);
