/* Text and sockaddr forms of IP addresses, and the table of those that are not public. */
#include "common/address.h"

#include <arpa/inet.h>
#include <string.h>

bool address_parse(const char *text, size_t len, struct address *out)
{
    char copy[ADDRESS_TEXT_MAX];
    bool in_brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';

    if (in_brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof copy || memchr(text, '\0', len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    *out = (struct address){.family = memchr(text, ':', len) ? 6 : 4};
    if (out->family == 4)
        return !in_brackets && inet_pton(AF_INET, copy, out->bytes) == 1;
    return inet_pton(AF_INET6, copy, out->bytes) == 1;
}

size_t address_format(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
    out[0] = '\0';
    inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->bytes, out, ADDRESS_TEXT_MAX);
    return strlen(out);
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

socklen_t address_to_sockaddr(const struct address *a, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (a->family == 4) {
        struct sockaddr_in *in4 = (struct sockaddr_in *)out;
        in4->sin_family = AF_INET;
        in4->sin_port = htons(port);
        memcpy(&in4->sin_addr, a->bytes, 4);
        return sizeof *in4;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, a->bytes, 16);
    return sizeof *in6;
}

bool address_from_sockaddr(const struct sockaddr *sa, struct address *out, uint16_t *port_out)
{
    *out = (struct address){0};
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, sa, sizeof in4);
        out->family = 4;
        memcpy(out->bytes, &in4.sin_addr, 4);
        *port_out = ntohs(in4.sin_port);
        return true;
    }
    if (sa->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 in6;
    memcpy(&in6, sa, sizeof in6);
    out->family = 6;
    memcpy(out->bytes, &in6.sin6_addr, 16);
    *port_out = ntohs(in6.sin6_port);
    return true;
}

enum verdict {
    PUBLIC,
    SPECIAL,
    INSIDE_2,  /* as the IPv4 address in the bytes from 2 */
    INSIDE_12, /* as the IPv4 address in the last four bytes */
    TEREDO     /* as both IPv4 addresses: the server's from byte 4, the client's inverted in the last four */
};

struct range {
    uint8_t prefix[16];
    uint8_t bits;
    enum verdict verdict;
};

/* The first row that matches decides, so exceptions stand before what they are taken from. */
static const struct range ranges_v4[] = {
    {{0}, 8, SPECIAL},             /* 0.0.0.0/8, this network (RFC 791) */
    {{10}, 8, SPECIAL},            /* private (RFC 1918) */
    {{100, 64}, 10, SPECIAL},      /* 100.64.0.0/10, shared (RFC 6598) */
    {{127}, 8, SPECIAL},           /* loopback (RFC 1122) */
    {{169, 254}, 16, SPECIAL},     /* link-local (RFC 3927) */
    {{172, 16}, 12, SPECIAL},      /* private (RFC 1918) */
    {{192, 0, 0}, 24, SPECIAL},    /* protocol assignments (RFC 6890); its two global anycast addresses lead to
                                    * gateways nearby */
    {{192, 0, 2}, 24, SPECIAL},    /* documentation (RFC 5737) */
    {{192, 88, 99}, 24, SPECIAL},  /* 6to4 relays (RFC 7526) */
    {{192, 168}, 16, SPECIAL},     /* private (RFC 1918) */
    {{198, 18}, 15, SPECIAL},      /* benchmarking (RFC 2544) */
    {{198, 51, 100}, 24, SPECIAL}, /* documentation (RFC 5737) */
    {{203, 0, 113}, 24, SPECIAL},  /* documentation (RFC 5737) */
    {{224}, 4, SPECIAL},           /* multicast (RFC 5771) */
    {{240}, 4, SPECIAL},           /* reserved, and broadcast (RFC 1112, RFC 8190) */
    {{0}, 0, PUBLIC},
};

/* Nothing outside of 2000::/3 is global unicast, so link-local, unique local, multicast and the like need no rows. */
static const struct range ranges_v6[] = {
    {{0}, 96, INSIDE_12},                               /* IPv4-compatible (RFC 4291), :: and ::1 */
    {{[10] = 0xff, 0xff}, 96, INSIDE_12},               /* ::ffff:0:0/96, IPv4-mapped (RFC 4291) */
    {{0x00, 0x64, 0xff, 0x9b}, 96, INSIDE_12},          /* 64:ff9b::/96, NAT64 (RFC 6052) */
    {{0x20, 0x01, 0x00, 0x00}, 32, TEREDO},             /* 2001::/32 (RFC 4380) */
    {{0x20, 0x01, 0x00, 0x03}, 32, PUBLIC},             /* 2001:3::/32, AMT (RFC 7450) */
    {{0x20, 0x01, 0x00, 0x04, 0x01, 0x12}, 48, PUBLIC}, /* 2001:4:112::/48, AS112 (RFC 7535) */
    {{0x20, 0x01, 0x00, 0x20}, 28, PUBLIC},             /* 2001:20::/28, ORCHIDv2 (RFC 7343) */
    {{0x20, 0x01, 0x00, 0x30}, 28, PUBLIC},             /* 2001:30::/28, drones (RFC 9374) */
    {{0x20, 0x01}, 23, SPECIAL},                        /* protocol assignments (RFC 2928) */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, SPECIAL},            /* documentation (RFC 3849) */
    {{0x20, 0x02}, 16, INSIDE_2},                       /* 6to4 (RFC 3056) */
    {{0x3f, 0xff}, 20, SPECIAL},                        /* 3fff::/20, documentation (RFC 9637) */
    {{0x20}, 3, PUBLIC},
    {{0}, 0, SPECIAL},
};

static bool matches(const uint8_t *bytes, const struct range *range)
{
    size_t whole = range->bits / 8;
    unsigned rest = range->bits % 8;

    if (memcmp(bytes, range->prefix, whole) != 0)
        return false;
    return rest == 0 || (bytes[whole] ^ range->prefix[whole]) >> (8 - rest) == 0;
}

/* The last row of both tables matches everything. */
static enum verdict judge(const uint8_t *bytes, const struct range *range)
{
    while (!matches(bytes, range))
        range++;
    return range->verdict;
}

static bool is_public_v4(const uint8_t bytes[4])
{
    return judge(bytes, ranges_v4) == PUBLIC;
}

static bool is_public_teredo(const uint8_t bytes[16])
{
    uint8_t client[4];

    for (size_t i = 0; i < 4; i++)
        client[i] = bytes[12 + i] ^ 0xff;
    return is_public_v4(bytes + 4) && is_public_v4(client);
}

bool address_is_public(const struct address *a)
{
    if (a->family == 4)
        return is_public_v4(a->bytes);
    if (a->family != 6)
        return false;
    switch (judge(a->bytes, ranges_v6)) {
    case PUBLIC:
        return true;
    case INSIDE_2:
        return is_public_v4(a->bytes + 2);
    case INSIDE_12:
        return is_public_v4(a->bytes + 12);
    case TEREDO:
        return is_public_teredo(a->bytes);
    case SPECIAL:
        break;
    }
    return false;
}
