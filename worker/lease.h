#pragma once
/* Leases: a connection's place under the fleet-wide limits, and the address that is its turn. */

#include "common/address.h"
#include "shm/iptable.h"
#include "worker/pool.h"

/* Takes a slot for one more connection to `host` and the next address in turn that policy and limits allow, and that
 * `f` does not avoid (NULL: any). OUTCOME_OK; OUTCOME_AT_LIMIT with *refusal_out, and the address in *ip_out when that
 * is full; OUTCOME_ADDRESS_DENIED; OUTCOME_IP_EXHAUSTED. */
must_check enum outcome lease_take(struct pool_host *host, const struct fetch *f, uint32_t *ip_out,
                                   struct address *address_out, enum lease_refusal *refusal_out);
/* The same for the address `ip` alone, whatever its turn; `black_too`: a blocked one as well. OUTCOME_NOT_FOUND when
 * the host no longer lists it. */
must_check enum outcome lease_take_at(struct pool_host *host, uint32_t ip, bool black_too, struct address *address_out,
                                      enum lease_refusal *refusal_out);
/* Gives it back; the coordinator is told when it waits for a slot. `ip` may be IP_NONE. */
void lease_return(struct worker *w, uint32_t index, uint32_t ip);
/* Asks how many connections this worker's descriptors are for: the limit may have become another one. Above it a lease
 * is refused like one that the fleet is full for. */
void lease_follow_limit(struct worker *w);
