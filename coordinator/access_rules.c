/* Rules in one sorted array, searched once for each prefix length that occurs. */
#include "coordinator/access_rules.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "shm/iptable.h"

void access_rules_add(struct access_rules *r, const char *host, size_t host_len, const struct ip_prefix *prefix,
                      uint8_t state, bool manual)
{
    if (r->count == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 16;
        r->items = reallocarray(r->items, r->cap, sizeof *r->items);
    }
    char *name = r->items ? strndup(host, host_len) : NULL;
    if (!name)
        die("out of memory: no room for %zu rules about addresses", r->cap);
    r->items[r->count++] = (struct access_rule){.host = name, .prefix = *prefix, .state = state, .manual = manual};
    r->lengths[prefix->address.family == 6][prefix->len / 64] |= UINT64_C(1) << prefix->len % 64;
}

static int compare_place(const struct access_rule *a, const struct access_rule *b)
{
    int hosts = strcmp(a->host, b->host);

    return hosts ? hosts : ip_prefix_compare(&a->prefix, &b->prefix);
}

static int compare_rules(const void *left, const void *right)
{
    const struct access_rule *a = left;
    const struct access_rule *b = right;
    int places = compare_place(a, b);

    if (places)
        return places;
    if (a->manual != b->manual)
        return a->manual ? -1 : 1;
    return a->state == b->state ? 0 : a->state == ACCESS_BLACK ? -1 : 1;
}

void access_rules_sort(struct access_rules *r)
{
    if (r->count)
        qsort(r->items, r->count, sizeof *r->items, compare_rules);
}

/* The first rule of exactly this place. */
static const struct access_rule *find_place(const struct access_rules *r, const struct access_rule *wanted)
{
    size_t low = 0;
    size_t high = r->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_place(&r->items[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->count && compare_place(&r->items[low], wanted) == 0 ? &r->items[low] : NULL;
}

static const struct access_rule *find_for(const struct access_rules *r, char *host, const struct address *address)
{
    for (int len = ip_prefix_bits(address->family); len >= 0; len--) {
        if (!(r->lengths[address->family == 6][len / 64] >> len % 64 & 1))
            continue;
        struct access_rule wanted = {.host = host, .prefix = ip_prefix_of(address, (uint8_t)len)};
        const struct access_rule *rule = find_place(r, &wanted);
        if (rule)
            return rule;
    }
    return NULL;
}

const struct access_rule *access_rules_find(const struct access_rules *r, const char *host, size_t host_len,
                                            const struct address *address)
{
    char name[HOST_NAME_MAX_BYTES] = "";
    const struct access_rule *rule = NULL;

    if (r->count == 0)
        return NULL;
    if (host_len && host_len < sizeof name) {
        memcpy(name, host, host_len);
        rule = find_for(r, name, address);
    }
    name[0] = '\0';
    return rule ? rule : find_for(r, name, address);
}

void access_rules_clear(struct access_rules *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->items[i].host);
    free(r->items);
    *r = (struct access_rules){0};
}
