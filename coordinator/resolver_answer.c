/* Reads the answer section of a DNS message. c-ares' own reader takes every alias for the next step of the chain and
 * passes over addresses that stand before their alias; answers of some servers are so ordered. */
#include "coordinator/resolver_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"
#include "shm/store.h"

#define HEADER_BYTES   12
#define NAME_BYTES_MAX 255 /* RFC 1035 2.3.4, on the wire */
#define ALIASES_MAX    16
#define POINTERS_MAX   64 /* in one name; an honest one has one or two */
#define RCODE_NXDOMAIN 3
#define TYPE_A         1
#define TYPE_CNAME     5
#define TYPE_AAAA      28
#define CLASS_IN       1
#define SEEN_SLOTS     ((size_t)2 * STORE_ADDRESSES_MAX)
#define SEEN_FROM      16 /* fewer addresses are compared one by one */

/* A name as on the wire (length bytes and labels), in lower case and without pointers. */
struct name {
    uint8_t len;
    uint8_t bytes[NAME_BYTES_MAX];
};

struct alias {
    struct name from, to;
    uint32_t ttl_s;
};

struct message {
    const uint8_t *bytes;
    size_t len;
    size_t answers_at; /* offset of the first answer */
    unsigned answers;
};

/* One answer; `data` is an offset. */
struct answer {
    struct name owner;
    unsigned type, class;
    uint32_t ttl_s;
    size_t data, data_len;
};

static unsigned read_u16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* Reads the name at *at_io and moves behind it. Pointers may only go back before all that was read of this name, which
 * ends every chain of them (RFC 1035 4.1.4). */
static bool read_name(const struct message *m, size_t *at_io, struct name *out)
{
    size_t at = *at_io;
    size_t back_before = at;
    unsigned jumps = 0;
    size_t used = 0;

    for (;;) {
        if (at >= m->len)
            return false;
        uint8_t length = m->bytes[at];
        if ((length & 0xc0) == 0xc0) {
            if (at + 2 > m->len)
                return false;
            size_t target = read_u16(m->bytes + at) & 0x3fff;
            if (jumps == 0)
                *at_io = at + 2;
            if (target >= back_before || ++jumps > POINTERS_MAX)
                return false;
            at = back_before = target;
            continue;
        }
        if (length > 63 || at + 1 + length > m->len || used + 1 + length > NAME_BYTES_MAX)
            return false;
        out->bytes[used++] = length;
        for (size_t i = 1; i <= length; i++) {
            uint8_t c = m->bytes[at + i];
            out->bytes[used++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
        }
        at += 1 + (size_t)length;
        if (length == 0)
            break;
    }
    out->len = (uint8_t)used;
    if (jumps == 0)
        *at_io = at;
    return true;
}

static bool name_equal(const struct name *a, const struct name *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static bool read_answer(const struct message *m, size_t *at_io, struct answer *out)
{
    if (!read_name(m, at_io, &out->owner) || *at_io + 10 > m->len)
        return false;
    const uint8_t *fixed = m->bytes + *at_io;
    out->type = read_u16(fixed);
    out->class = read_u16(fixed + 2);
    out->ttl_s = (uint32_t)read_u16(fixed + 4) << 16 | read_u16(fixed + 6);
    if (out->ttl_s > RESOLVER_TTL_MAX_S)
        out->ttl_s = 0;
    out->data_len = read_u16(fixed + 8);
    out->data = *at_io + 10;
    *at_io = out->data + out->data_len;
    return *at_io <= m->len;
}

/* Collects the aliases of the answer; false when it makes no sense. */
static bool read_aliases(const struct message *m, struct alias aliases[ALIASES_MAX], unsigned *count_out)
{
    size_t at = m->answers_at;
    struct answer a;

    *count_out = 0;
    for (unsigned i = 0; i < m->answers; i++) {
        if (!read_answer(m, &at, &a))
            return false;
        if (a.type != TYPE_CNAME || a.class != CLASS_IN)
            continue;
        size_t target_at = a.data;
        if (*count_out == ALIASES_MAX || !read_name(m, &target_at, &aliases[*count_out].to) ||
            target_at != a.data + a.data_len)
            return false;
        aliases[*count_out].from = a.owner;
        aliases[(*count_out)++].ttl_s = a.ttl_s;
    }
    return true;
}

/* Goes from the name asked for to the one that has the addresses. A loop ends where it is after ALIASES_MAX steps;
 * there are no addresses in a loop. */
static void follow_aliases(const struct alias aliases[ALIASES_MAX], unsigned count, struct name *name_io,
                           uint32_t *ttl_s_io)
{
    for (unsigned step = 0; step < count; step++) {
        unsigned i = 0;
        while (i < count && !name_equal(&aliases[i].from, name_io))
            i++;
        if (i == count)
            return;
        *name_io = aliases[i].to;
        if (aliases[i].ttl_s < *ttl_s_io)
            *ttl_s_io = aliases[i].ttl_s;
    }
}

static uint32_t hash_address(uint32_t seed, const struct address *a)
{
    uint32_t hash = seed;

    for (size_t i = 0; i < sizeof a->bytes; i++)
        hash = (hash ^ a->bytes[i]) * 16777619u;
    return hash;
}

/* Thousands of addresses would cost millions of comparisons on the loop: above SEEN_FROM a table of positions (plus
 * one) finds the duplicates. */
static uint32_t remove_duplicates(struct address *list, uint32_t count)
{
    uint16_t *seen = count > SEEN_FROM ? calloc(SEEN_SLOTS, sizeof *seen) : NULL;
    uint32_t kept = 0;
    uint32_t seed = 2166136261u;

    /* Or a zone could be made of addresses that all fall on one slot. */
    if (seen && getrandom(&seed, sizeof seed, GRND_NONBLOCK) < 0)
        seed ^= (uint32_t)(uintptr_t)list;
    for (uint32_t i = 0; i < count; i++) {
        bool duplicate = false;
        if (seen) {
            size_t slot = hash_address(seed, &list[i]) % SEEN_SLOTS;
            while (seen[slot] && !address_equal(&list[seen[slot] - 1], &list[i]))
                slot = (slot + 1) % SEEN_SLOTS;
            duplicate = seen[slot] != 0;
            if (!duplicate)
                seen[slot] = (uint16_t)(kept + 1);
        } else {
            for (uint32_t j = 0; j < kept && !duplicate; j++)
                duplicate = address_equal(&list[j], &list[i]);
        }
        if (!duplicate)
            list[kept++] = list[i];
    }
    free(seen);
    return kept;
}

static void collect_addresses(const struct message *m, uint8_t family, const struct name *name,
                              struct resolver_found *found)
{
    unsigned type = family == 4 ? TYPE_A : TYPE_AAAA;
    size_t bytes = family == 4 ? 4 : 16;
    uint32_t cap = m->answers < STORE_ADDRESSES_MAX ? m->answers : STORE_ADDRESSES_MAX;
    size_t at = m->answers_at;
    struct answer a;

    found->addresses = calloc(cap ? cap : 1, sizeof found->addresses[0]);
    if (!found->addresses)
        die("out of memory: no room for %u addresses", cap);
    for (unsigned i = 0; i < m->answers && found->count < cap && read_answer(m, &at, &a); i++) {
        if (a.type != type || a.class != CLASS_IN || a.data_len != bytes || !name_equal(&a.owner, name))
            continue;
        struct address *address = &found->addresses[found->count++];
        address->family = family;
        memcpy(address->bytes, m->bytes + a.data, bytes);
        if (a.ttl_s < found->ttl_s)
            found->ttl_s = a.ttl_s;
    }
    found->count = remove_duplicates(found->addresses, found->count);
}

enum outcome resolver_answer_parse(const uint8_t *message, size_t len, uint8_t family, struct resolver_found *found_out)
{
    struct message m = {.bytes = message, .len = len, .answers_at = HEADER_BYTES};
    struct alias aliases[ALIASES_MAX];
    unsigned aliases_count;
    struct name name;

    *found_out = (struct resolver_found){.ttl_s = RESOLVER_TTL_MAX_S};
    if (len < HEADER_BYTES)
        return OUTCOME_DNS_SERVFAIL;
    unsigned code = message[3] & 0x0f;
    if (code != 0)
        return code == RCODE_NXDOMAIN ? OUTCOME_DNS_NXDOMAIN : OUTCOME_DNS_SERVFAIL;
    m.answers = read_u16(message + 6);
    if (read_u16(message + 4) != 1 || !read_name(&m, &m.answers_at, &name) || m.answers_at + 4 > len)
        return OUTCOME_DNS_SERVFAIL;
    m.answers_at += 4;
    if (!read_aliases(&m, aliases, &aliases_count))
        return OUTCOME_DNS_SERVFAIL;
    follow_aliases(aliases, aliases_count, &name, &found_out->ttl_s);
    collect_addresses(&m, family, &name, found_out);
    if (found_out->count > 0)
        return OUTCOME_OK;
    free(found_out->addresses);
    found_out->addresses = NULL;
    return OUTCOME_DNS_NXDOMAIN;
}
