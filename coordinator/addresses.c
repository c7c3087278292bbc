/* Allocation in the shared address tables: a hash of the IPs, and runs in sizes of powers of two. */
#include "coordinator/addresses.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define RUN_CLASSES 17 /* 1, 2, 4 … 65536 references */
#define NONE        UINT32_MAX
#define FREE_NOT    (UINT32_MAX - 1)
#define FREE_TRIES  64

struct addresses {
    struct iptable *table;
    uint32_t *buckets, *next; /* IPs by hash, chained; those without users too, until their place is taken */
    uint32_t *next_free;      /* places without users, most of them: FREE_NOT says not in the list */
    uint32_t *bucket_of;      /* by IP, where it is chained: the address in the table could be scribbled on */
    uint32_t *users;          /* hosts that list the IP */
    uint32_t *refs;           /* the lists as they were written */
    uint8_t *learned;         /* by IP, while a list is replaced: enum access_state in the old one */
    uint32_t mask, ips_used, free_ip;
    uint32_t runs_used;
    uint32_t free_runs[RUN_CLASSES]; /* heads of lists threaded through refs */
};

struct addresses *addresses_new(struct iptable *table)
{
    struct addresses *a = calloc(1, sizeof *a);
    uint32_t buckets = 1;

    while (buckets < table->ips_max)
        buckets *= 2;
    if (a) {
        *a = (struct addresses){.table = table, .mask = buckets - 1, .free_ip = NONE};
        a->buckets = malloc(buckets * sizeof *a->buckets);
        a->next = malloc(table->ips_max * sizeof *a->next);
        a->next_free = malloc(table->ips_max * sizeof *a->next_free);
        a->bucket_of = malloc(table->ips_max * sizeof *a->bucket_of);
        a->users = calloc(table->ips_max, sizeof *a->users);
        a->refs = malloc(table->ip_refs_max * sizeof *a->refs);
        a->learned = calloc(table->ips_max, sizeof *a->learned);
    }
    if (!a || !a->buckets || !a->next || !a->next_free || !a->bucket_of || !a->users || !a->refs || !a->learned)
        die("out of memory: no room for %u addresses; a smaller --max-hosts needs less", table->ips_max);
    memset(a->buckets, 0xff, buckets * sizeof *a->buckets);
    memset(a->free_runs, 0xff, sizeof a->free_runs);
    return a;
}

void addresses_free(struct addresses *a)
{
    if (!a)
        return;
    free(a->buckets);
    free(a->next);
    free(a->next_free);
    free(a->bucket_of);
    free(a->users);
    free(a->refs);
    free(a->learned);
    free(a);
}

static uint32_t hash(const struct addresses *a, const struct address *address)
{
    uint64_t x, y;

    memcpy(&x, address->bytes, 8);
    memcpy(&y, address->bytes + 8, 8);
    x = (x ^ (y * 0x9e3779b97f4a7c15u) ^ address->family) * 0xff51afd7ed558ccdu;
    return (uint32_t)(x >> 32) & a->mask;
}

static void unhash(struct addresses *a, uint32_t ip)
{
    uint32_t *link = &a->buckets[a->bucket_of[ip]];

    while (*link != ip)
        link = &a->next[*link];
    *link = a->next[ip];
}

/* An unused place, or NONE. One with open connections is not reused: its cells still count. */
static uint32_t take_ip(struct addresses *a)
{
    uint32_t *link = &a->free_ip;

    if (a->ips_used < a->table->ips_max)
        return a->ips_used++;
    for (int tries = 0; *link != NONE && tries < FREE_TRIES;) {
        uint32_t ip = *link;
        bool in_use = a->users[ip] > 0;
        if (!in_use && iptable_ip_open(a->table, ip) > 0) {
            link = &a->next_free[ip];
            tries++;
            continue;
        }
        *link = a->next_free[ip];
        a->next_free[ip] = FREE_NOT;
        if (in_use)
            continue;
        unhash(a, ip);
        return ip;
    }
    return NONE;
}

uint32_t addresses_find(const struct addresses *a, const struct address *address)
{
    for (uint32_t ip = a->buckets[hash(a, address)]; ip != NONE; ip = a->next[ip]) {
        if (address_equal(&a->table->ips[ip], address))
            return ip;
    }
    return IP_NONE;
}

static uint32_t use_ip(struct addresses *a, const struct address *address)
{
    uint32_t *bucket = &a->buckets[hash(a, address)];
    uint32_t ip = addresses_find(a, address);

    if (ip != IP_NONE) {
        a->users[ip]++;
        return ip;
    }
    ip = take_ip(a);
    if (ip == NONE)
        return NONE;
    iptable_ip_set(a->table, ip, address);
    a->bucket_of[ip] = hash(a, address);
    a->users[ip] = 1;
    a->next_free[ip] = FREE_NOT;
    a->next[ip] = *bucket;
    *bucket = ip;
    return ip;
}

/* The place keeps its address, and is found again by it, until another takes it: connections may still be counted
 * there. */
static void leave_ip(struct addresses *a, uint32_t ip)
{
    if (--a->users[ip] > 0 || a->next_free[ip] != FREE_NOT)
        return;
    a->next_free[ip] = a->free_ip;
    a->free_ip = ip;
}

static unsigned run_class(uint32_t count)
{
    unsigned class = 0;

    while ((1u << class) < count)
        class ++;
    return class;
}

static uint32_t take_run(struct addresses *a, uint32_t count)
{
    unsigned class = run_class(count);
    uint32_t first = a->free_runs[class];

    if (first != NONE) {
        a->free_runs[class] = a->refs[first];
        return first;
    }
    if ((1u << class) > a->table->ip_refs_max - a->runs_used)
        return NONE;
    first = a->runs_used;
    a->runs_used += 1u << class;
    return first;
}

static void leave_run(struct addresses *a, struct address_run run)
{
    for (uint32_t i = 0; i < run.count; i++)
        leave_ip(a, a->refs[run.first + i]);
    unsigned class = run_class(run.count);
    a->refs[run.first] = a->free_runs[class];
    a->free_runs[class] = run.first;
}

/* What the list that is replaced says of its addresses now, or nothing again. */
static void note_learned(struct addresses *a, struct address_run run, bool wanted)
{
    for (uint32_t i = 0; i < run.count; i++) {
        uint32_t ip = a->refs[run.first + i];
        a->learned[ip] = wanted ? (uint8_t)iptable_access_of(a->table, run.first + i, ip) : ACCESS_UNKNOWN;
    }
}

/* Lists replace each other within microseconds of a worker's 403: it counts although the coordinator has not heard of
 * it. */
static enum access_state joined_state(const struct addresses *a, uint32_t ip, const uint8_t *states, uint32_t i)
{
    enum access_state said = states ? (enum access_state)states[i] : ACCESS_UNKNOWN;
    enum access_state learned = (enum access_state)a->learned[ip];

    if (said == ACCESS_FIXED || said == ACCESS_BLACK || learned == ACCESS_FIXED || learned == ACCESS_UNKNOWN)
        return said;
    return learned;
}

uint32_t addresses_ip(const struct addresses *a, struct address_run run, uint32_t i)
{
    return a->refs[run.first + i];
}

enum outcome addresses_publish(struct addresses *a, uint32_t index, const struct address *list, const uint8_t *states,
                               uint32_t count, struct address_run *run_io)
{
    struct address_run run = {.first = take_run(a, count), .count = count};

    if (run.first == NONE)
        return OUTCOME_FULL;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ip = use_ip(a, &list[i]);
        if (ip == NONE) {
            for (uint32_t j = 0; j < i; j++)
                leave_ip(a, a->refs[run.first + j]);
            a->refs[run.first] = a->free_runs[run_class(count)];
            a->free_runs[run_class(count)] = run.first;
            return OUTCOME_FULL;
        }
        a->refs[run.first + i] = ip;
    }
    note_learned(a, *run_io, true);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ip = a->refs[run.first + i];
        uint32_t entry = ip_ref_pack(ip, joined_state(a, ip, states, i));
        __atomic_store_n(&a->table->ip_refs[run.first + i], entry, __ATOMIC_RELEASE);
    }
    note_learned(a, *run_io, false);
    iptable_host_publish(a->table, index, run.first, run.count);
    if (run_io->count)
        leave_run(a, *run_io);
    *run_io = run;
    return OUTCOME_OK;
}

void addresses_drop(struct addresses *a, uint32_t index, struct address_run *run_io)
{
    if (!run_io->count)
        return;
    iptable_host_publish(a->table, index, 0, 0);
    leave_run(a, *run_io);
    *run_io = (struct address_run){0};
}
