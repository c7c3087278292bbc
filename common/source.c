/* Reading ranges of source addresses, and turning a number into the address whose turn it is. */
#include "common/source.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define MIX_ROUNDS 4
#define MIX_ODD    0x9e3779b97f4a7c15u

static unsigned width(const struct address *a)
{
    return a->family == 4 ? 32 : 128;
}

/* "/24": 1..max, in plain decimal. */
static bool prefix_parse(const char *text, unsigned max, uint8_t *prefix_len_out)
{
    size_t len = strlen(text);
    unsigned value = 0;

    if (len == 0 || len > 3 || text[0] == '0')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *prefix_len_out = (uint8_t)value;
    return value <= max;
}

static bool is_clear_from(const struct address *a, unsigned bit)
{
    for (unsigned i = bit; i < width(a); i++) {
        if (a->bytes[i / 8] & 0x80 >> i % 8)
            return false;
    }
    return true;
}

/* What keeps an address from being anybody's source, NULL if nothing does. */
static const char *source_fault(const struct address *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

    if (a->family == 4)
        return a->bytes[0] == 0 || a->bytes[0] >= 224 ? "cannot be the source of a connection" : NULL;
    if (memcmp(a->bytes, mapped, sizeof mapped) == 0)
        return "is an IPv4 address in IPv6 form; write it as IPv4";
    if (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80)
        return "is link-local and would need a zone, which cannot be given";
    return a->bytes[0] == 0xff || is_clear_from(a, 0) ? "cannot be the source of a connection" : NULL;
}

/* What is wrong with the entry, NULL if nothing is. */
static const char *range_parse(const char *entry, struct source_range *range_out)
{
    static const char form[] = "is neither an address nor a range; write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or "
                               "2001:db8::/64, one an entry";
    size_t len = strcspn(entry, "/");
    struct source_range r = {0};

    if (!address_parse(entry, len, &r.first) || entry[0] == '[')
        return form;
    r.prefix_len = (uint8_t)width(&r.first);
    if (entry[len] && !prefix_parse(entry + len + 1, width(&r.first), &r.prefix_len))
        return "has a prefix length out of range; it must be 1..32 for IPv4, 1..128 for IPv6";
    if (!is_clear_from(&r.first, r.prefix_len))
        return "has bits set behind its prefix; write the first address of the range, or the one address without /";
    const char *fault = source_fault(&r.first);
    if (fault)
        return fault;
    if (r.first.family == 4) {
        r.count = UINT64_C(1) << (32 - r.prefix_len);
        if (r.prefix_len <= 30) {
            r.first.bytes[3] |= 1;
            r.count -= 2;
        }
    }
    *range_out = r;
    return NULL;
}

static void family_add(struct source_family *f, const struct source_range *range)
{
    struct source_range *ranges = reallocarray(f->ranges, f->count + 1, sizeof *ranges);

    if (!ranges)
        die("out of memory: no room for %zu source addresses", f->count);
    f->ranges = ranges;
    f->ranges[f->count++] = *range;
    f->turns += range->first.family == 4 ? range->count : 1;
}

bool source_list_open(struct source_list *list_out, const struct option_list *entries, const char **entry_out,
                      const char **reason_out)
{
    struct source_range range;

    *list_out = (struct source_list){0};
    for (size_t i = 0; i < entries->count; i++) {
        const char *fault = range_parse(entries->items[i], &range);
        if (fault) {
            *entry_out = entries->items[i];
            *reason_out = fault;
            source_list_close(list_out);
            return false;
        }
        family_add(range.first.family == 4 ? &list_out->v4 : &list_out->v6, &range);
    }
    return true;
}

void source_list_close(struct source_list *list)
{
    free(list->v4.ranges);
    free(list->v6.ranges);
    *list = (struct source_list){0};
}

bool source_list_is_empty(const struct source_list *list)
{
    return list->v4.count == 0 && list->v6.count == 0;
}

bool source_list_reaches(const struct source_list *list, uint8_t family)
{
    return source_list_is_empty(list) || (family == 4 ? list->v4.count : list->v6.count) > 0;
}

static void draw_v4(const struct source_family *f, uint64_t turn, struct source *out)
{
    const struct source_range *r = f->ranges;
    uint32_t number;

    for (turn %= f->turns; turn >= r->count; r++)
        turn -= r->count;
    memcpy(&number, r->first.bytes, 4);
    number = htonl(ntohl(number) + (uint32_t)turn);
    out->address = (struct address){.family = 4};
    memcpy(out->address.bytes, &number, 4);
}

/* A number below 2^bits from another: every step can be undone, so no two give the same. It looks random, and keeps no
 * secret. */
static uint64_t mix(uint64_t x, unsigned bits, const uint64_t key[2])
{
    uint64_t mask = UINT64_MAX >> (64 - bits);

    for (unsigned round = 0; round < MIX_ROUNDS; round++) {
        x = (x + key[round % 2] * (2 * round + 1)) & mask;
        x = x * MIX_ODD & mask;
        x ^= x >> (bits + 1) / 2;
    }
    return x;
}

static void or_bits(uint8_t bytes[8], uint64_t bits)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] |= (uint8_t)(bits >> (56 - 8 * i));
}

/* The lower 64 bits alone keep draws apart; those of a larger subnet's upper half are for looks. */
static void draw_in_subnet(const struct source_range *r, uint64_t nth, const uint64_t key[2], struct address *out)
{
    unsigned host_bits = 128u - r->prefix_len;
    unsigned low_bits = host_bits < 64 ? host_bits : 64;
    uint64_t most = UINT64_MAX >> (64 - low_bits);
    uint64_t low = low_bits == 1 ? nth % 2 : nth % most + 1;

    do
        low = mix(low, low_bits, key);
    while (low == 0 && low_bits > 1);
    *out = r->first;
    or_bits(out->bytes + 8, low);
    if (host_bits > 64)
        or_bits(out->bytes, mix(low ^ key[1], 64, key) >> (128 - host_bits));
}

static void draw_v6(const struct source_family *f, uint64_t turn, const uint64_t key[2], struct source *out)
{
    size_t entry = (size_t)(turn % f->turns);
    const struct source_range *r = &f->ranges[entry];
    /* Two subnets must not give the same host part side by side. */
    uint64_t own_key[2] = {key[0] ^ entry * MIX_ODD, key[1]};

    out->from_subnet = r->prefix_len < 128;
    if (out->from_subnet)
        draw_in_subnet(r, turn / f->turns, own_key, &out->address);
    else
        out->address = r->first;
}

bool source_list_draw(const struct source_list *list, uint8_t family, uint64_t turn, const uint64_t key[2],
                      struct source *source_out)
{
    const struct source_family *f = family == 4 ? &list->v4 : &list->v6;

    *source_out = (struct source){0};
    if (f->count == 0)
        return false;
    if (family == 4)
        draw_v4(f, turn, source_out);
    else
        draw_v6(f, turn, key, source_out);
    return true;
}
