#pragma once
/* The socket of a new connection: where it comes from and where it goes. */

#include <stdint.h>

#include "common/address.h"
#include "common/outcome.h"
#include "worker/worker.h"

/* Begins to connect to `to`, from the source address whose turn it is if the option bind_ip names any. OUTCOME_OK:
 * *fd_out is under way, and the caller's. Else *detail_out says why, until the next call: OUTCOME_RESOURCE_EXHAUSTED
 * (no descriptor, no port, a source address that this machine lacks), OUTCOME_IP_EXHAUSTED (no source of this family),
 * OUTCOME_CONNECTION_REFUSED, OUTCOME_CONNECTION_TIMEOUT. */
must_check enum outcome dial_start(struct worker *w, const struct address *to, uint16_t port, int *fd_out,
                                   const char **detail_out);
/* What an error of connect() means. */
enum outcome dial_outcome(int error);
