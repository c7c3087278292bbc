/* Host and address tables in shared memory. Counting is done in cells, one a worker, which only their owner moves; the
 * sequentially consistent order of claim and sum is what makes the limits exact. */
#include "shm/iptable.h"

#include <assert.h>
#include <string.h>

/* Fewer only if the coordinator published that often during one read. */
#define READ_TRIES 1000
/* Rounds of stepping back before rivals, so that two racers for the last place seldom both go away empty. */
#define CLAIM_TRIES 8

/* address.bytes are copied as words: 5 loads, not 20. */
typedef uint32_t __attribute__((may_alias)) address_word;
_Static_assert(sizeof(struct address) % sizeof(address_word) == 0, "struct address is copied word by word");

struct offsets {
    size_t fleet_cells, reach, hosts, ips, ip_refs, host_cells, ip_cells, bytes;
};

static size_t take(size_t *at, size_t bytes)
{
    size_t here = *at;

    *at += (bytes + 63) & ~(size_t)63;
    return here;
}

static struct offsets offsets_of(uint32_t hosts_max, uint32_t ips_max, uint32_t ip_refs_max, uint32_t workers)
{
    size_t row_bytes = workers * sizeof(uint32_t);
    struct offsets o;
    size_t at = 0;

    o.fleet_cells = take(&at, row_bytes);
    o.reach = take(&at, workers * sizeof(struct iptable_reach));
    o.hosts = take(&at, hosts_max * sizeof(struct shm_host));
    o.ips = take(&at, ips_max * sizeof(struct address));
    o.ip_refs = take(&at, ip_refs_max * sizeof(uint32_t));
    o.host_cells = take(&at, hosts_max * row_bytes);
    o.ip_cells = take(&at, ips_max * row_bytes);
    o.bytes = at;
    return o;
}

size_t iptable_bytes(uint32_t hosts_max, uint32_t ips_max, uint32_t ip_refs_max, uint32_t workers)
{
    return offsets_of(hosts_max, ips_max, ip_refs_max, workers).bytes;
}

void iptable_attach(struct iptable *t, void *memory, uint32_t hosts_max, uint32_t ips_max, uint32_t ip_refs_max,
                    uint32_t workers)
{
    struct offsets o = offsets_of(hosts_max, ips_max, ip_refs_max, workers);
    uint8_t *base = memory;

    assert(ips_max < IP_REF_MASK);
    *t = (struct iptable){
        .hosts = (void *)(base + o.hosts),
        .ips = (void *)(base + o.ips),
        .ip_refs = (void *)(base + o.ip_refs),
        .host_cells = (void *)(base + o.host_cells),
        .ip_cells = (void *)(base + o.ip_cells),
        .fleet_cells = (void *)(base + o.fleet_cells),
        .reach = (void *)(base + o.reach),
        .hosts_max = hosts_max,
        .ips_max = ips_max,
        .ip_refs_max = ip_refs_max,
        .workers = workers,
    };
}

static _Atomic uint32_t *host_row(const struct iptable *t, uint32_t index)
{
    return t->host_cells + (size_t)index * t->workers;
}

static _Atomic uint32_t *ip_row(const struct iptable *t, uint32_t ip)
{
    return t->ip_cells + (size_t)ip * t->workers;
}

/* The address list in one word. */
static uint64_t list_pack(uint32_t first, uint32_t count, uint16_t version)
{
    return (uint64_t)first << 32 | (uint64_t)(count & 0xffff) << 16 | version;
}

static void list_replace(struct shm_host *h, uint32_t first, uint32_t count)
{
    uint64_t old = atomic_load_explicit(&h->addresses, memory_order_relaxed);

    atomic_exchange(&h->addresses, list_pack(first, count, (uint16_t)(old + 1)));
}

/* Rows up to `index` mean something from now on. */
static void use_rows(_Atomic uint32_t *cells, uint32_t workers, uint32_t index, uint32_t *used_io)
{
    for (; *used_io <= index; ++*used_io) {
        for (uint32_t w = 0; w < workers; w++)
            atomic_store_explicit(&cells[(size_t)*used_io * workers + w], 0, memory_order_relaxed);
    }
}

void iptable_ip_set(struct iptable *t, uint32_t ip, const struct address *address)
{
    assert(ip < t->ips_max);
    use_rows(t->ip_cells, t->workers, ip, &t->ips_used);
    t->ips[ip] = *address;
}

uint32_t iptable_host_set(struct iptable *t, uint32_t index, uint8_t scheme, const char *name, size_t name_len,
                          uint16_t port)
{
    assert(index < t->hosts_max && name_len < HOST_NAME_MAX_BYTES);
    struct shm_host *h = &t->hosts[index];
    uint32_t odd = atomic_load_explicit(&h->generation, memory_order_relaxed) | 1;
    uint32_t even = odd + 1 != 0 ? odd + 1 : 2;

    use_rows(t->host_cells, t->workers, index, &t->hosts_used);
    /* Release stores throughout: a reader that sees a new byte also sees that the generation was odd. */
    atomic_store_explicit(&h->generation, odd, memory_order_relaxed);
    for (size_t i = 0; i < HOST_NAME_MAX_BYTES; i++)
        __atomic_store_n(&h->name[i], (char)(i < name_len ? name[i] : 0), __ATOMIC_RELEASE);
    __atomic_store_n(&h->port, port, __ATOMIC_RELEASE);
    __atomic_store_n(&h->scheme, scheme, __ATOMIC_RELEASE);
    __atomic_store_n(&h->name_len, (uint8_t)name_len, __ATOMIC_RELEASE);
    list_replace(h, 0, 0);
    atomic_store(&h->turn, 0);
    atomic_store(&h->flags, 0);
    atomic_store(&h->streams_max, 0);
    atomic_store_explicit(&h->generation, even, memory_order_release);
    return even;
}

void iptable_host_publish(struct iptable *t, uint32_t index, uint32_t first, uint32_t count)
{
    assert(index < t->hosts_max && count <= UINT16_MAX);
    assert(first <= t->ip_refs_max && count <= t->ip_refs_max - first);
    list_replace(&t->hosts[index], first, count);
}

/* In 64 bits: a broken worker's cell must not wrap the sum to something small. */
static uint64_t row_sum(const _Atomic uint32_t *row, uint32_t workers)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < workers; i++)
        sum += atomic_load(&row[i]);
    return sum;
}

static uint32_t row_open(const struct iptable *t, const _Atomic uint32_t *row)
{
    uint64_t sum = row_sum(row, t->workers);

    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

uint32_t iptable_host_open(const struct iptable *t, uint32_t index)
{
    return index < t->hosts_max ? row_open(t, host_row(t, index)) : 0;
}

uint32_t iptable_ip_open(const struct iptable *t, uint32_t ip)
{
    return ip < t->ips_max ? row_open(t, ip_row(t, ip)) : 0;
}

uint32_t iptable_fleet_open(const struct iptable *t)
{
    return row_open(t, t->fleet_cells);
}

uint32_t iptable_ip_cell(const struct iptable *t, uint32_t ip, uint32_t worker)
{
    return ip < t->ips_max && worker < t->workers ? atomic_load(&ip_row(t, ip)[worker]) : 0;
}

uint32_t iptable_host_cell(const struct iptable *t, uint32_t index, uint32_t worker)
{
    return index < t->hosts_max && worker < t->workers ? atomic_load(&host_row(t, index)[worker]) : 0;
}

uint32_t iptable_fleet_cell(const struct iptable *t, uint32_t worker)
{
    return worker < t->workers ? atomic_load(&t->fleet_cells[worker]) : 0;
}

static void sweep(const struct iptable *t, _Atomic uint32_t *cells, uint32_t worker, _Atomic uint32_t *reach,
                  uint32_t used, uint32_t max)
{
    uint32_t told = atomic_load(reach);
    uint32_t end = told > used && told <= max ? told : used;

    for (uint32_t i = 0; i < end; i++) {
        _Atomic uint32_t *cell = &cells[(size_t)i * t->workers + worker];
        if (atomic_load_explicit(cell, memory_order_relaxed) != 0)
            atomic_store(cell, 0);
    }
    atomic_store(reach, 0);
}

void iptable_reclaim(struct iptable *t, uint32_t worker)
{
    if (worker >= t->workers)
        return;
    sweep(t, t->ip_cells, worker, &t->reach[worker].ips, t->ips_used, t->ips_max);
    sweep(t, t->host_cells, worker, &t->reach[worker].hosts, t->hosts_used, t->hosts_max);
    atomic_store(&t->fleet_cells[worker], 0);
}

/* Acquire loads: the caller's second look at the list word stays behind the copying. */
static struct address copy_address(const struct address *from)
{
    struct address copy;
    const address_word *source = (const void *)from;
    address_word words[sizeof copy / sizeof(address_word)];

    for (size_t i = 0; i < sizeof copy / sizeof(address_word); i++)
        words[i] = __atomic_load_n(&source[i], __ATOMIC_ACQUIRE);
    memcpy(&copy, words, sizeof copy);
    return copy;
}

/* The list that `word` says; false when it reaches out of the table. */
static bool list_unpack(const struct iptable *t, uint64_t word, uint32_t *first_out, uint32_t *count_out)
{
    *first_out = (uint32_t)(word >> 32);
    *count_out = (uint32_t)(word >> 16) & 0xffff;
    return *first_out <= t->ip_refs_max && *count_out <= t->ip_refs_max - *first_out;
}

/* One look at the list `word`; what it yields is void if the word has changed meanwhile. */
static enum outcome read_list(const struct iptable *t, uint64_t word, uint32_t turn, struct iptable_entry *entry_out)
{
    uint32_t first;
    uint32_t count;

    if (!list_unpack(t, word, &first, &count))
        return OUTCOME_CORRUPT;
    if (count == 0)
        return OUTCOME_IP_EXHAUSTED;
    uint32_t ref = first + turn % count;
    uint32_t entry = __atomic_load_n(&t->ip_refs[ref], __ATOMIC_ACQUIRE);
    uint32_t ip = entry & IP_REF_MASK;
    if (ip >= t->ips_max)
        return OUTCOME_CORRUPT;
    *entry_out = (struct iptable_entry){.ip = ip, .ref = ref, .access = (enum access_state)(entry >> IP_REF_SHIFT)};
    entry_out->address = copy_address(&t->ips[ip]);
    return OUTCOME_OK;
}

uint32_t iptable_address_count(const struct iptable *t, uint32_t index)
{
    if (index >= t->hosts_max)
        return 0;
    return (uint32_t)(atomic_load_explicit(&t->hosts[index].addresses, memory_order_relaxed) >> 16) & 0xffff;
}

uint64_t iptable_list_version(const struct iptable *t, uint32_t index)
{
    return index < t->hosts_max ? atomic_load_explicit(&t->hosts[index].addresses, memory_order_acquire) : 0;
}

bool iptable_find(const struct iptable *t, uint32_t index, uint32_t ip, uint32_t *ref_out)
{
    uint32_t first;
    uint32_t count;

    if (!list_unpack(t, iptable_list_version(t, index), &first, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if ((__atomic_load_n(&t->ip_refs[first + i], __ATOMIC_ACQUIRE) & IP_REF_MASK) == ip) {
            *ref_out = first + i;
            return true;
        }
    }
    return false;
}

enum access_state iptable_access_of(const struct iptable *t, uint32_t ref, uint32_t ip)
{
    if (ref >= t->ip_refs_max)
        return ACCESS_UNKNOWN;
    uint32_t entry = __atomic_load_n(&t->ip_refs[ref], __ATOMIC_ACQUIRE);
    return (entry & IP_REF_MASK) == ip ? (enum access_state)(entry >> IP_REF_SHIFT) : ACCESS_UNKNOWN;
}

/* False: it is none of `from`, or stands there no more. */
static bool change_entry(uint32_t *entry, uint32_t ip, enum access_state state, unsigned from)
{
    uint32_t seen = __atomic_load_n(entry, __ATOMIC_ACQUIRE);

    do {
        if ((seen & IP_REF_MASK) != ip || !(from & 1u << (seen >> IP_REF_SHIFT)) || seen == ip_ref_pack(ip, state))
            return false;
    } while (
        !__atomic_compare_exchange_n(entry, &seen, ip_ref_pack(ip, state), false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE));
    return true;
}

bool iptable_set_access(struct iptable *t, uint32_t index, uint32_t ip, enum access_state state, unsigned from)
{
    bool changed = false;
    uint32_t ref;

    /* A list that came in between was copied from the old one before or after the change: looked at again, it has it.
     */
    for (int tries = 0; tries < READ_TRIES; tries++) {
        uint64_t word = iptable_list_version(t, index);
        if (!iptable_find(t, index, ip, &ref))
            return changed;
        changed = change_entry(&t->ip_refs[ref], ip, state, from) || changed;
        if (iptable_list_version(t, index) == word)
            break;
    }
    return changed;
}

/* The entry of `turn`, of a list that did not change while it was read. */
static enum outcome read_entry(const struct iptable *t, uint32_t index, uint32_t turn, struct iptable_entry *entry_out)
{
    struct shm_host *h = &t->hosts[index];

    for (int tries = 0; tries < READ_TRIES; tries++) {
        uint64_t word = atomic_load_explicit(&h->addresses, memory_order_acquire);
        enum outcome outcome = read_list(t, word, turn, entry_out);
        if (atomic_load_explicit(&h->addresses, memory_order_relaxed) == word)
            return outcome;
    }
    return OUTCOME_CORRUPT;
}

enum outcome iptable_next(struct iptable *t, uint32_t index, struct iptable_entry *entry_out)
{
    if (index >= t->hosts_max)
        return OUTCOME_CORRUPT;
    uint32_t turn = atomic_fetch_add_explicit(&t->hosts[index].turn, 1, memory_order_relaxed);
    return read_entry(t, index, turn, entry_out);
}

enum outcome iptable_at(const struct iptable *t, uint32_t index, uint32_t position, struct iptable_entry *entry_out)
{
    return index < t->hosts_max ? read_entry(t, index, position, entry_out) : OUTCOME_CORRUPT;
}

enum outcome iptable_next_address(struct iptable *t, uint32_t index, uint32_t *ip_out, struct address *address_out)
{
    struct iptable_entry entry;
    enum outcome outcome = iptable_next(t, index, &entry);

    if (outcome == OUTCOME_OK) {
        *ip_out = entry.ip;
        *address_out = entry.address;
    }
    return outcome;
}

static bool claim(const struct iptable *t, _Atomic uint32_t *row, uint32_t worker, uint32_t max)
{
    for (int tries = 0; tries < CLAIM_TRIES; tries++) {
        atomic_fetch_add(&row[worker], 1);
        if (max == 0 || row_sum(row, t->workers) <= max)
            return true;
        atomic_fetch_sub(&row[worker], 1);
        /* Of racers for the last place the last to step back finds it free. */
        if (row_sum(row, t->workers) >= max)
            return false;
    }
    return false;
}

static void give_back(_Atomic uint32_t *cell)
{
    uint32_t held = atomic_load_explicit(cell, memory_order_relaxed);

    if (held > 0)
        atomic_store(cell, held - 1);
}

/* Before the claim, so that a kill between the two leaves nothing out of the sweep's reach. */
static void reach_extend(_Atomic uint32_t *reach, uint32_t index)
{
    if (atomic_load_explicit(reach, memory_order_relaxed) <= index)
        atomic_store(reach, index + 1);
}

enum lease_refusal iptable_lease(struct iptable *t, uint32_t worker, uint32_t index, uint32_t ip, uint32_t fleet_max,
                                 uint32_t host_max, uint32_t ip_max)
{
    if (worker >= t->workers)
        return LEASE_FLEET_FULL;
    if (index >= t->hosts_max)
        return LEASE_HOST_FULL;
    if (ip != IP_NONE && ip >= t->ips_max)
        return LEASE_IP_FULL;
    reach_extend(&t->reach[worker].hosts, index);
    if (!claim(t, t->fleet_cells, worker, fleet_max))
        return LEASE_FLEET_FULL;
    if (!claim(t, host_row(t, index), worker, host_max)) {
        give_back(&t->fleet_cells[worker]);
        return LEASE_HOST_FULL;
    }
    if (ip == IP_NONE)
        return LEASE_GRANTED;
    reach_extend(&t->reach[worker].ips, ip);
    if (!claim(t, ip_row(t, ip), worker, ip_max)) {
        give_back(&host_row(t, index)[worker]);
        give_back(&t->fleet_cells[worker]);
        return LEASE_IP_FULL;
    }
    return LEASE_GRANTED;
}

bool iptable_lease_ip(struct iptable *t, uint32_t worker, uint32_t ip, uint32_t ip_max)
{
    if (worker >= t->workers || ip >= t->ips_max)
        return false;
    reach_extend(&t->reach[worker].ips, ip);
    return claim(t, ip_row(t, ip), worker, ip_max);
}

void iptable_return(struct iptable *t, uint32_t worker, uint32_t index, uint32_t ip)
{
    if (worker >= t->workers || index >= t->hosts_max || (ip != IP_NONE && ip >= t->ips_max))
        return;
    if (ip != IP_NONE)
        give_back(&ip_row(t, ip)[worker]);
    give_back(&host_row(t, index)[worker]);
    give_back(&t->fleet_cells[worker]);
}
