/* Comparing a name's old and new addresses, and orders for connections to the new ones. */
#include "coordinator/dns_follow.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"

#define UNDER_WAY_MAX 16   /* connections to new addresses that are being made */
#define WAITING_MAX   4096 /* further ones; beyond them a name's new addresses get theirs by their turn */

/* A new address that waits for its connection. */
struct newcomer {
    STAILQ_ENTRY(newcomer) link;
    struct host *host; /* held */
    struct address address;
};

struct dns_follow {
    struct steering_parts parts;
    STAILQ_HEAD(, newcomer) waiting;
    unsigned waiting_count, under_way;
    unsigned turn; /* the worker that is asked first */
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, offsetof(struct address, reserved));
}

/* Calls for each of `list` that is not in `other`, which is sorted; returns how many there are. */
static uint32_t each_missing(const struct address *list, uint32_t count, const struct address *other,
                             uint32_t other_count, void (*each)(void *user, const struct address *address), void *user)
{
    uint32_t missing = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (other_count && bsearch(&list[i], other, other_count, sizeof *other, compare))
            continue;
        missing++;
        if (each)
            each(user, &list[i]);
    }
    return missing;
}

static void on_done(void *user, const struct chore_answer *a);

/* The next worker in turn that has connections to the host; false: none has, or none takes an order. */
static bool give_to_a_user(struct dns_follow *d, const struct chore_order *order)
{
    unsigned workers = fleet_workers(d->parts.fleet);

    for (unsigned i = 0; i < workers; i++) {
        unsigned w = d->turn++ % workers;
        if (iptable_host_cell(&d->parts.region->table, order->host->index, w) > 0 &&
            chores_give(d->parts.chores, w, order))
            return true;
    }
    return false;
}

/* One whose host is no longer in use, or has lost the address again, needs no connection. */
static void give(struct dns_follow *d)
{
    struct newcomer *n;

    while (d->under_way < UNDER_WAY_MAX && (n = STAILQ_FIRST(&d->waiting))) {
        STAILQ_REMOVE_HEAD(&d->waiting, link);
        d->waiting_count--;
        struct chore_order order = {
            .kind = TASK_PREWARM,
            .host = n->host,
            .ip = frontier_find_address(d->parts.frontier, &n->address),
            .on_done = on_done,
            .user = d,
        };
        if (order.ip != IP_NONE && give_to_a_user(d, &order))
            d->under_way++;
        frontier_let_go(d->parts.frontier, n->host);
        free(n);
    }
}

static void on_done(void *user, const struct chore_answer *a)
{
    struct dns_follow *d = user;

    d->under_way--;
    STATS_ADD(d->parts.page, conns_from_dns, a->outcome == OUTCOME_OK);
    give(d);
}

struct welcome {
    struct dns_follow *follow;
    struct host *host;
};

static void on_new(void *user, const struct address *address)
{
    const struct welcome *welcome = user;
    struct dns_follow *d = welcome->follow;

    if (d->waiting_count >= WAITING_MAX)
        return;
    struct newcomer *n = calloc(1, sizeof *n);
    if (!n)
        die("out of memory: no room for a name's new address");
    n->host = welcome->host;
    n->address = *address;
    frontier_hold(d->parts.frontier, n->host);
    STAILQ_INSERT_TAIL(&d->waiting, n, link);
    d->waiting_count++;
}

static void on_answer(void *user, struct host *host, enum outcome outcome, const struct address *before,
                      uint32_t before_count)
{
    struct dns_follow *d = user;
    struct welcome welcome = {d, host};

    if (outcome != OUTCOME_OK || before_count == 0 || host->state != HOST_USABLE)
        return;
    uint32_t count = host->run.count;
    struct address *now = frontier_addresses(d->parts.frontier, host);
    struct address *old = malloc(before_count * sizeof *old);
    if (!now || !old)
        die("out of memory: no room for the addresses of a host");
    memcpy(old, before, before_count * sizeof *old);
    qsort(old, before_count, sizeof *old, compare);
    bool in_use = iptable_host_open(&d->parts.region->table, host->index) > 0;
    uint32_t gained = each_missing(now, count, old, before_count, in_use ? on_new : NULL, &welcome);
    qsort(now, count, sizeof *now, compare);
    uint32_t lost = each_missing(old, before_count, now, count, NULL, NULL);
    free(now);
    free(old);
    STATS_ADD(d->parts.page, dns_addresses_new, gained);
    STATS_ADD(d->parts.page, dns_addresses_gone, lost);
    if (gained || lost)
        log_event(LOG_INFO, "addresses-changed", "host=%.*s new=%u gone=%u", host->name_len, host->name, gained, lost);
    give(d);
}

struct dns_follow *dns_follow_new(const struct steering_parts *parts)
{
    struct dns_follow *d = calloc(1, sizeof *d);

    if (!d)
        die("out of memory: no room for what follows names");
    d->parts = *parts;
    STAILQ_INIT(&d->waiting);
    frontier_watch(parts->frontier, on_answer, d);
    return d;
}

void dns_follow_free(struct dns_follow *d)
{
    struct newcomer *n;

    if (!d)
        return;
    while ((n = STAILQ_FIRST(&d->waiting))) {
        STAILQ_REMOVE_HEAD(&d->waiting, link);
        free(n);
    }
    free(d);
}
