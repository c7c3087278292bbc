/* The table of hosts: found by hash, recycled when idle. */
#include "coordinator/hosts.h"

#include <stdlib.h>

#include "common/log.h"

#define IDLE_LOOKS 32 /* hosts that are looked at for room, when it is not plain that there is some */

struct hosts {
    struct region *region;
    struct addresses *addresses;
    struct host **buckets;
    uint32_t mask, count, max, held;
    uint32_t slots_used;  /* of the shared table, from the start */
    uint32_t *free_slots; /* stack of those given back */
    struct host **slots;  /* by slot */
    hosts_judge judge;    /* or NULL */
    void *judge_user;
    uint32_t free_count;
    struct host_queue idle; /* without tasks, longest first */
    void (*on_forget)(void *user, struct host *host);
    void *user;
};

struct hosts *hosts_new(struct region *region, uint32_t max)
{
    struct hosts *h = calloc(1, sizeof *h);
    uint32_t buckets = 16;

    while (buckets < max)
        buckets *= 2;
    if (h)
        h->buckets = calloc(buckets, sizeof(struct host *));
    if (!h || !h->buckets)
        die("out of memory: no room for %u hosts; a smaller --max-hosts needs less", max);
    h->free_slots = malloc(max * sizeof *h->free_slots);
    h->slots = calloc(max, sizeof(struct host *));
    if (!h->free_slots || !h->slots)
        die("out of memory: no room for %u hosts; a smaller --max-hosts needs less", max);
    h->region = region;
    h->mask = buckets - 1;
    h->max = max;
    h->addresses = addresses_new(&region->table);
    TAILQ_INIT(&h->idle);
    return h;
}

void hosts_free(struct hosts *h)
{
    if (!h)
        return;
    for (uint32_t i = 0; i <= h->mask; i++) {
        while (h->buckets[i]) {
            struct host *host = h->buckets[i];
            h->buckets[i] = host->chain;
            free(host);
        }
    }
    addresses_free(h->addresses);
    free(h->buckets);
    free(h->free_slots);
    free(h->slots);
    free(h);
}

static uint64_t hash_bytes(uint64_t hash, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_origin(const struct url *url, struct span ip)
{
    uint64_t hash = 0xcbf29ce484222325u ^ ((uint64_t)url->port << 1) ^ (uint64_t)url->scheme;

    hash = hash_bytes(hash, url->text + url->host_offset, url->host_len);
    return hash_bytes(hash, ip.data, ip.len) * 0x9e3779b97f4a7c15u;
}

static bool host_matches(const struct host *host, uint64_t hash, const struct url *url, struct span ip)
{
    return host->hash == hash && host->port == url->port && host->scheme == (uint8_t)url->scheme &&
           host->name_len == url->host_len && memcmp(host->name, url->text + url->host_offset, url->host_len) == 0 &&
           host->ip_len == ip.len && (ip.len == 0 || memcmp(host->ip, ip.data, ip.len) == 0);
}

static struct host **bucket_of(struct hosts *h, uint64_t hash)
{
    return &h->buckets[(hash >> 32) & h->mask];
}

static void forget(struct hosts *h, struct host *host)
{
    struct host **link = bucket_of(h, host->hash);

    if (h->on_forget)
        h->on_forget(h->user, host);
    while (*link != host)
        link = &(*link)->chain;
    *link = host->chain;
    TAILQ_REMOVE(&h->idle, host, link);
    addresses_drop(h->addresses, host->index, &host->run);
    h->free_slots[h->free_count++] = host->index;
    h->slots[host->index] = NULL;
    h->count--;
    free(host);
}

/* Forgets the longest idle host that no connection is open to. No more than the fleet's open connections can stand in
 * the way of the search. */
static bool recycle(struct hosts *h)
{
    struct iptable *table = &h->region->table;
    uint32_t in_the_way = iptable_fleet_open(table);

    for (struct host *host = TAILQ_FIRST(&h->idle); host; host = TAILQ_NEXT(host, link)) {
        /* The analyzer does not see that TAILQ_REMOVE() took a forgotten host out of this list. */
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        bool asked = host->state == HOST_RESOLVING || host->refreshing;
        if (!asked && iptable_host_open(table, host->index) == 0) {
            forget(h, host);
            return true;
        }
        if (!asked && in_the_way-- == 0)
            return false;
    }
    return false;
}

static bool take_slot(struct hosts *h, uint32_t *index_out)
{
    if (h->slots_used < h->max) {
        *index_out = h->slots_used++;
        return true;
    }
    if (h->free_count == 0 && !recycle(h))
        return false;
    *index_out = h->free_slots[--h->free_count];
    return true;
}

static struct host *host_new(struct hosts *h, uint64_t hash, const struct url *url, struct span ip)
{
    uint32_t index;

    if (!take_slot(h, &index))
        return NULL;
    struct host *host = calloc(1, sizeof *host + url->host_len + ip.len);
    if (!host)
        die("out of memory: no room for host %u; a smaller --max-hosts needs less", h->count);
    host->index = index;
    host->hash = hash;
    host->port = url->port;
    host->scheme = (uint8_t)url->scheme;
    host->name = host->text;
    host->name_len = (uint8_t)url->host_len;
    memcpy(host->name, url->text + url->host_offset, url->host_len);
    if (ip.len) {
        host->ip = host->text + url->host_len;
        host->ip_len = (uint32_t)ip.len;
        memcpy(host->ip, ip.data, ip.len);
    }
    TAILQ_INIT(&host->pending);
    host->generation = iptable_host_set(&h->region->table, index, host->scheme, host->name, host->name_len, host->port);
    host->chain = *bucket_of(h, hash);
    *bucket_of(h, hash) = host;
    h->slots[index] = host;
    h->count++;
    return host;
}

struct host *hosts_get_origin(struct hosts *h, const struct url *url, struct span ip)
{
    uint64_t hash = hash_origin(url, ip);

    for (struct host *host = *bucket_of(h, hash); host; host = host->chain) {
        if (host_matches(host, hash, url, ip))
            return host;
    }
    return host_new(h, hash, url, ip);
}

struct host *hosts_get(struct hosts *h, const struct task *task)
{
    return hosts_get_origin(h, &task->url, task->ip);
}

void hosts_hold(struct hosts *h, struct host *host)
{
    h->held += host->held_count == 0;
    if (host->held_count++ == 0 && host->list == HOST_IDLE) {
        TAILQ_REMOVE(&h->idle, host, link);
        host->list = HOST_UNLISTED;
    }
}

void hosts_let_go(struct hosts *h, struct host *host)
{
    h->held -= host->held_count == 1;
    if (--host->held_count == 0 && host->list == HOST_UNLISTED) {
        TAILQ_INSERT_TAIL(&h->idle, host, link);
        host->list = HOST_IDLE;
    }
}

uint32_t hosts_find_address(const struct hosts *h, const struct address *address)
{
    return addresses_find(h->addresses, address);
}

void hosts_each(const struct hosts *h, void (*each)(void *user, struct host *host), void *user)
{
    for (uint32_t i = 0; i <= h->mask; i++) {
        for (struct host *host = h->buckets[i]; host; host = host->chain)
            each(user, host);
    }
}

void hosts_walk(struct hosts *h, uint32_t *hand, uint32_t parts, void (*each)(void *user, struct host *host),
                void *user)
{
    for (uint32_t n = h->mask / parts + 1; n > 0; n--) {
        for (struct host *host = h->buckets[*hand & h->mask]; host; host = host->chain)
            each(user, host);
        *hand = (*hand + 1) & h->mask;
    }
}

void hosts_watch(struct hosts *h, void (*on_forget)(void *user, struct host *host), void *user)
{
    h->on_forget = on_forget;
    h->user = user;
}

uint32_t hosts_count(const struct hosts *h)
{
    return h->count;
}

/* Hosts that hold nothing make room for new ones, unless a connection is open to them: of so many as there are open
 * connections that is not known without a look. A few slots are kept for what redirects lead to, as long as waiting for
 * them helps. */
bool hosts_have_room(const struct hosts *h)
{
    uint32_t kept = h->held ? h->max / 16 : 0;
    uint32_t unused = h->max - h->count;
    uint32_t idle = h->count - h->held;
    uint32_t looks = IDLE_LOOKS;

    if (unused > kept)
        return true;
    uint32_t open = iptable_fleet_open(&h->region->table);
    if (idle > open && unused + idle - open > kept)
        return true;
    for (struct host *host = TAILQ_FIRST(&h->idle); host && unused <= kept && looks > 0; looks--) {
        bool asked = host->state == HOST_RESOLVING || host->refreshing;
        unused += !asked && iptable_host_open(&h->region->table, host->index) == 0;
        host = TAILQ_NEXT(host, link);
    }
    return unused > kept;
}

void hosts_use_judge(struct hosts *h, hosts_judge judge, void *user)
{
    h->judge = judge;
    h->judge_user = user;
}

bool hosts_at(const struct hosts *h, uint32_t index, struct host **host_out)
{
    if (index >= h->slots_used)
        return false;
    *host_out = h->slots[index];
    return true;
}

uint32_t hosts_ip(const struct hosts *h, const struct host *host, uint32_t i)
{
    return addresses_ip(h->addresses, host->run, i);
}

enum outcome hosts_set_addresses(struct hosts *h, struct host *host, const struct address *list, uint32_t count)
{
    uint8_t *states = h->judge ? calloc(count, 1) : NULL;
    enum outcome outcome;

    if (h->judge && !states)
        die("out of memory: no room for %u addresses of a host", count);
    count = count < 65535 ? count : 65535;
    if (states)
        h->judge(h->judge_user, host, list, count, states);
    /* Idle hosts hold addresses too: they give way to one that is in use. */
    do {
        outcome = addresses_publish(h->addresses, host->index, list, states, count, &host->run);
    } while (outcome == OUTCOME_FULL && recycle(h));
    free(states);
    return outcome;
}
