/* Slots under the limits, and the dealing out of addresses. */
#include "worker/lease.h"

#include <sys/resource.h>

#include "common/pool_size.h"
#include "worker/access.h"
#include "worker/outbox.h"

#define FULL_TRIES 8 /* addresses asked for in one go, when some are at their limit */

void lease_return(struct worker *w, uint32_t index, uint32_t ip)
{
    iptable_return(&w->region.table, w->index, index, ip);
    _Atomic uint32_t *wanted = &w->region.header->slot_wanted;
    if (atomic_load_explicit(wanted, memory_order_relaxed) == REGION_SLOT_WANTED) {
        atomic_store(wanted, REGION_SLOT_FREED);
        outbox_wake_coordinator(w, REGION_DOZING);
    }
}

/* An address in its turn, or, after all have had theirs, the one at `looks`: others draw too, and might take the turn
 * of the only usable one each time. */
static enum outcome look(struct pool_host *host, uint32_t looks, uint32_t count, struct iptable_entry *entry_out)
{
    struct iptable *table = &host->worker->region.table;

    return looks < count ? iptable_next(table, host->index, entry_out)
                         : iptable_at(table, host->index, looks, entry_out);
}

/* The next address in turn that access, the policy and its own limit allow; claims its slot. Forbidden ones cost
 * nothing but the look, so all are looked at; of those that are full only some. */
static enum outcome draw_address(struct pool_host *host, const struct fetch *f, uint32_t *ip_out,
                                 struct address *address_out)
{
    struct worker *w = host->worker;
    const struct options *o = &w->options;
    uint32_t count = iptable_address_count(&w->region.table, host->index);
    enum outcome outcome = OUTCOME_IP_EXHAUSTED;
    uint32_t full_ip = IP_NONE;
    bool black = false;

    for (uint32_t looks = 0, full = 0; looks < 2 * count && full < FULL_TRIES; looks++) {
        struct iptable_entry entry;
        enum outcome drawn = look(host, looks, count, &entry);
        if (drawn != OUTCOME_OK)
            return drawn;
        if (entry.access == ACCESS_BLACK || !access_policy_allows(w, &entry.address)) {
            black = black || entry.access == ACCESS_BLACK;
            outcome = full ? outcome : black ? OUTCOME_IP_EXHAUSTED : OUTCOME_ADDRESS_DENIED;
            continue;
        }
        if (f && fetch_avoids(f, entry.ip))
            continue;
        if (iptable_lease_ip(&w->region.table, w->index, entry.ip, (uint32_t)o->max_conns_per_ip)) {
            *ip_out = entry.ip;
            *address_out = entry.address;
            return OUTCOME_OK;
        }
        outcome = OUTCOME_AT_LIMIT;
        full_ip = entry.ip;
        full++;
    }
    *ip_out = full_ip;
    return outcome;
}

void lease_follow_limit(struct worker *w)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = RLIM_INFINITY;
    uint64_t max = pool_descriptors_of(limit.rlim_cur, w->region.layout.workers).per_worker;
    w->conns_max = max < 1 ? 1 : max < UINT32_MAX ? (uint32_t)max : UINT32_MAX;
}

/* This worker has as many connections as it has descriptors for. */
static bool is_full(struct worker *w)
{
    if (!w->conns_max)
        lease_follow_limit(w);
    return iptable_fleet_cell(&w->region.table, w->index) >= w->conns_max;
}

/* A slot first and then an address: who finds no slot uses up no address's turn. */
enum outcome lease_take(struct pool_host *host, const struct fetch *f, uint32_t *ip_out, struct address *address_out,
                        enum lease_refusal *refusal_out)
{
    struct worker *w = host->worker;
    const struct options *o = &w->options;

    *refusal_out = is_full(w) ? LEASE_FLEET_FULL
                              : iptable_lease(&w->region.table, w->index, host->index, IP_NONE,
                                              (uint32_t)o->max_connections, (uint32_t)o->max_conns_per_host, 0);
    if (*refusal_out != LEASE_GRANTED)
        return OUTCOME_AT_LIMIT;
    enum outcome outcome = draw_address(host, f, ip_out, address_out);
    if (outcome == OUTCOME_AT_LIMIT)
        *refusal_out = LEASE_IP_FULL;
    if (outcome != OUTCOME_OK)
        lease_return(w, host->index, IP_NONE);
    return outcome;
}

enum outcome lease_take_at(struct pool_host *host, uint32_t ip, bool black_too, struct address *address_out,
                           enum lease_refusal *refusal_out)
{
    struct worker *w = host->worker;
    const struct options *o = &w->options;
    uint32_t ref;

    *refusal_out = LEASE_GRANTED;
    if (ip >= w->region.table.ips_max || !iptable_find(&w->region.table, host->index, ip, &ref))
        return OUTCOME_NOT_FOUND;
    if (!black_too && iptable_access_of(&w->region.table, ref, ip) == ACCESS_BLACK)
        return OUTCOME_IP_EXHAUSTED;
    *address_out = w->region.table.ips[ip];
    if (!access_policy_allows(w, address_out))
        return OUTCOME_ADDRESS_DENIED;
    *refusal_out = is_full(w) ? LEASE_FLEET_FULL
                              : iptable_lease(&w->region.table, w->index, host->index, ip, (uint32_t)o->max_connections,
                                              (uint32_t)o->max_conns_per_host, (uint32_t)o->max_conns_per_ip);
    return *refusal_out == LEASE_GRANTED ? OUTCOME_OK : OUTCOME_AT_LIMIT;
}
