#pragma once
/* Names to addresses: the one place in the fleet that asks name servers (c-ares, on the coordinator's loop). Looks into
 * the map first, writes answers and failures back with their TTL, asks A and AAAA side by side, falls to TCP when an
 * answer is truncated, and asks each name once however many wait for it. */

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/options.h"
#include "common/outcome.h"
#include "shm/stats.h"
#include "shm/store.h"

struct resolver;

/* The answer: borrowed for the callback's time. outcome OK has count >= 1 (A first, then AAAA, duplicates removed, as
 * the servers ordered them); else OUTCOME_DNS_NXDOMAIN (also: the name exists without an address of the asked
 * families), OUTCOME_DNS_SERVFAIL (also: refused, malformed), OUTCOME_DNS_TIMEOUT, or OUTCOME_RESOURCE_EXHAUSTED when
 * this process had no descriptor left to ask with (never kept in the map). */
struct resolver_answer {
    enum outcome outcome;
    const struct address *addresses;
    uint32_t count;
    uint32_t took_us; /* 0 from the map */
    /* When to ask again: now + TTL within dns_ttl_min..dns_update_interval; failures: now + dns_negative_ttl. */
    uint64_t expires_wall_us;
};

typedef void (*resolver_on_answer)(void *user, const struct resolver_answer *answer);

/* Starts: resolvers, timeouts and families from the options. A bad entry in `resolvers` ends in OUTCOME_INVALID_HOST
 * with *reason_out naming it. Base, store, options and page are borrowed until resolver_close(). */
must_check enum outcome resolver_open(struct resolver **resolver_out, struct event_base *base, struct store *store,
                                      const struct options *options, struct stats_page *page, const char **reason_out);
/* Cancels what is under way; its callbacks are not called. Not from within one of them. */
void resolver_close(struct resolver *r);
/* Asks for `name` (lower case, no trailing dot needed). The callback comes exactly once, never before this returns,
 * unless the resolver is closed first. */
void resolver_query(struct resolver *r, const char *name, size_t name_len, resolver_on_answer on_answer, void *user);
/* The same, but what the map knows does not count: name servers are asked. */
void resolver_query_anew(struct resolver *r, const char *name, size_t name_len, resolver_on_answer on_answer,
                         void *user);
