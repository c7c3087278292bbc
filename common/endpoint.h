#pragma once
/* An address with a port, as options name it. No names: what is listened on or asked must not depend on an answer from
 * elsewhere. */

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"

struct endpoint {
    struct address address;
    uint16_t port; /* host order, never 0 */
};

/* Reads "127.0.0.1:8080", "[::1]:8080" or "localhost:8080" (which is 127.0.0.1). False if it is none. */
bool endpoint_parse(const char *text, struct endpoint *out);
/* Whether only this machine can reach it: 127.0.0.0/8 and ::1. */
bool endpoint_is_loopback(const struct endpoint *e);
