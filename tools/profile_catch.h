#pragma once
/* One connection that a run of our own makes to a listener of our own: its ClientHello and the start of its HTTP/2. */

#include <stdbool.h>

#include "common/buffer.h"
#include "common/profile.h"

struct profile_catch {
    struct buffer hello; /* the handshake message */
    char http2[256];     /* the fingerprint; empty: no HTTP/2 came */
};

/* Starts `hotfleet run` under the profile and takes what it sends, within seconds. False: *reason_out says what failed.
 */
bool profile_catch(const struct profile *profile, const char *dir, struct profile_catch *caught_out,
                   const char **reason_out);
