#pragma once
/* Parts of the resolver that need no loop: what the options and the hosts file say, and what an answer says. For
 * coordinator/resolver*.c and their tests alone. */

#include <ares.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/options.h"
#include "common/outcome.h"
#include "coordinator/address_table.h"

/* Makes a c-ares channel for the name servers of the options, or the system's: by UDP (truncated answers are given as
 * they are) or by TCP, no search domains, each server in turn, and no question longer than dns_timeout. Socket events
 * go to `on_socket`. The caller ends it with resolver_channel_close(). OUTCOME_INVALID_HOST: *reason_out names the
 * entry (until the next call). */
must_check enum outcome resolver_channel_open(ares_channel *channel_out, const struct options *options, bool tcp,
                                              ares_sock_state_cb on_socket, void *user, const char **reason_out);
/* Open questions are called back with ARES_EDESTRUCTION. */
void resolver_channel_close(ares_channel channel);

/* The hosts file at `path`; one that cannot be read is empty. Lines that make no sense are passed over. The caller
 * frees it with address_table_free(). Port 0 in the table. */
struct address_table *resolver_hosts_open(const char *path);

/* The largest time to live that counts (RFC 2181 8: a number with its top bit set is zero). */
#define RESOLVER_TTL_MAX_S 0x7fffffffu

/* What an answer holds; `addresses` is the holder's to free. */
struct resolver_found {
    struct address *addresses;
    uint32_t count;
    uint32_t ttl_s; /* the least along the chain of aliases and over the addresses */
};

/* Reads a whole DNS message (RFC 1035 4.1) as the answer to a question for addresses of `family` (4 or 6); its id and
 * question are checked already. Follows aliases in whatever order they stand. At most STORE_ADDRESSES_MAX addresses,
 * duplicates removed. OUTCOME_OK: *found_out has one or more. OUTCOME_DNS_NXDOMAIN: no such name, or none of that
 * family. OUTCOME_DNS_SERVFAIL: any other code, or a message that makes no sense. */
must_check enum outcome resolver_answer_parse(const uint8_t *message, size_t len, uint8_t family,
                                              struct resolver_found *found_out);
