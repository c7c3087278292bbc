/* Reads pcap and pcapng files: frames of the usual link types, IPv4 and IPv6, TCP; the first stream whose segments, in
 * order, begin with a whole ClientHello gives it. */
#include <string.h>

#include "common/capture.h"
#include "common/cursor.h"

#define FLOWS_MAX      64
#define FLOW_BYTES_MAX 65536
#define INTERFACES_MAX 16
#define EXTENSIONS_MAX 8 /* of an IPv6 header, and VLAN tags */
#define ENDPOINTS_MAX  36

enum { LINK_NULL = 0, LINK_ETHERNET = 1, LINK_RAW_BSD = 12, LINK_RAW_OPENBSD = 14, LINK_RAW = 101, LINK_LOOP = 108 };
enum { LINK_COOKED = 113, LINK_IPV4 = 228, LINK_IPV6 = 229, LINK_COOKED2 = 276 };
enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_VLAN_OUTER = 0x88a8 };
enum { PROTOCOL_TCP = 6, FLAG_SYN = 2 };
enum { BLOCK_INTERFACE = 1, BLOCK_SIMPLE = 3, BLOCK_PACKET = 6 };

#define BLOCK_SECTION 0x0a0d0d0au
#define SECTION_MAGIC 0x1a2b3c4du

struct flow {
    uint8_t endpoints[ENDPOINTS_MAX]; /* both addresses and both ports */
    uint32_t next;                    /* sequence number of the byte after the last */
    bool dropped;                     /* what it began with was no ClientHello */
    struct buffer bytes;
};

struct reader {
    struct flow flows[FLOWS_MAX];
    size_t flow_count;
    struct buffer *hello_out;
    bool found;
};

/* A number of 2 or 4 bytes in the order of the machine that wrote the file. */
static uint32_t number(struct cursor *c, size_t size, bool little)
{
    uint32_t n = cursor_number(c, size);

    if (!little)
        return n;
    return size == 2 ? (n >> 8 | n << 8) & 0xffff : __builtin_bswap32(n);
}

static struct flow *flow_of(struct reader *r, const uint8_t endpoints[ENDPOINTS_MAX])
{
    for (size_t i = 0; i < r->flow_count; i++) {
        if (memcmp(r->flows[i].endpoints, endpoints, ENDPOINTS_MAX) == 0)
            return &r->flows[i];
    }
    return NULL;
}

/* A stream is followed from the first segment that begins as a record of a handshake does. */
static void take_segment(struct reader *r, const uint8_t endpoints[ENDPOINTS_MAX], uint32_t sequence, struct cursor c)
{
    struct flow *f = flow_of(r, endpoints);

    if (!f) {
        if (r->flow_count == FLOWS_MAX || *c.at != 22)
            return;
        f = &r->flows[r->flow_count++];
        memcpy(f->endpoints, endpoints, ENDPOINTS_MAX);
        f->next = sequence;
    }
    uint32_t known = f->next - sequence;
    if (f->dropped || known >= c.left)
        return;
    cursor_take(&c, known);
    size_t room = FLOW_BYTES_MAX - f->bytes.len;
    size_t taken = c.left < room ? c.left : room;
    buffer_append(&f->bytes, c.at, taken);
    f->next += (uint32_t)taken;
    enum capture_state state = capture_records(f->bytes.data, f->bytes.len, r->hello_out);
    r->found = state == CAPTURE_WHOLE;
    f->dropped = state == CAPTURE_BAD || f->bytes.len == FLOW_BYTES_MAX;
}

static void take_tcp(struct reader *r, uint8_t endpoints[ENDPOINTS_MAX], struct cursor c)
{
    const uint8_t *ports = cursor_take(&c, 4);
    uint32_t sequence = cursor_number(&c, 4);

    cursor_take(&c, 4);
    size_t header = (size_t)(cursor_u8(&c) >> 4) * 4;
    unsigned flags = cursor_u8(&c);
    cursor_take(&c, header >= 20 ? header - 14 : SIZE_MAX);
    if (c.bad || c.left == 0 || (flags & FLAG_SYN))
        return;
    memcpy(endpoints + 32, ports, 4);
    take_segment(r, endpoints, sequence, c);
}

/* Takes the length that a header tells; none where the sender's card was to cut the packet. */
static void limit(struct cursor *c, size_t len)
{
    if (len > 0 && len < c->left)
        c->left = len;
}

static void take_ipv4(struct reader *r, struct cursor c)
{
    uint8_t endpoints[ENDPOINTS_MAX] = {0};
    size_t header = (size_t)(cursor_u8(&c) & 15) * 4;

    cursor_u8(&c);
    size_t total = cursor_u16(&c);
    cursor_u16(&c);
    bool fragment = (cursor_u16(&c) & 0x3fff) != 0;
    cursor_u8(&c);
    unsigned protocol = cursor_u8(&c);
    cursor_u16(&c);
    const uint8_t *addresses = cursor_take(&c, 8);
    cursor_take(&c, header >= 20 ? header - 20 : SIZE_MAX);
    if (c.bad || fragment || protocol != PROTOCOL_TCP || (total > 0 && total < header))
        return;
    limit(&c, total ? total - header : 0);
    memcpy(endpoints, addresses, 8);
    if (total != header)
        take_tcp(r, endpoints, c);
}

static void take_ipv6(struct reader *r, struct cursor c)
{
    uint8_t endpoints[ENDPOINTS_MAX] = {0};

    cursor_number(&c, 4);
    size_t payload = cursor_u16(&c);
    unsigned next = cursor_u8(&c);
    cursor_u8(&c);
    const uint8_t *addresses = cursor_take(&c, 32);
    if (c.bad)
        return;
    limit(&c, payload);
    memcpy(endpoints, addresses, 32);
    /* Hop-by-hop, routing and destination options stand in between. */
    for (size_t i = 0; i < EXTENSIONS_MAX && (next == 0 || next == 43 || next == 60); i++) {
        next = cursor_u8(&c);
        cursor_take(&c, 6 + (size_t)cursor_u8(&c) * 8);
    }
    if (next == PROTOCOL_TCP)
        take_tcp(r, endpoints, c);
}

static void take_typed(struct reader *r, unsigned type, struct cursor c)
{
    for (size_t i = 0; i < EXTENSIONS_MAX && (type == TYPE_VLAN || type == TYPE_VLAN_OUTER); i++) {
        cursor_u16(&c);
        type = cursor_u16(&c);
    }
    if (!c.bad && type == TYPE_IPV4)
        take_ipv4(r, c);
    else if (!c.bad && type == TYPE_IPV6)
        take_ipv6(r, c);
}

static void take_frame(struct reader *r, unsigned link, struct cursor c)
{
    unsigned type = 0;

    switch (link) {
    case LINK_ETHERNET:
        cursor_take(&c, 12);
        type = cursor_u16(&c);
        break;
    case LINK_COOKED:
        cursor_take(&c, 14);
        type = cursor_u16(&c);
        break;
    case LINK_COOKED2:
        type = cursor_u16(&c);
        cursor_take(&c, 18);
        break;
    case LINK_NULL:
    case LINK_LOOP:
        cursor_take(&c, 4);
        break;
    case LINK_RAW_BSD:
    case LINK_RAW_OPENBSD:
    case LINK_RAW:
    case LINK_IPV4:
    case LINK_IPV6:
        break;
    default:
        return;
    }
    if (c.bad || c.left == 0)
        return;
    /* Where the link tells no type, or one of its own, the version in the header does. */
    if (type == 0)
        type = *c.at >> 4 == 4 ? TYPE_IPV4 : *c.at >> 4 == 6 ? TYPE_IPV6 : 0;
    take_typed(r, type, c);
}

static void read_pcap(struct reader *r, struct cursor c)
{
    uint32_t magic = cursor_number(&c, 4);
    bool little = magic == 0xd4c3b2a1u || magic == 0x4d3cb2a1u;

    cursor_take(&c, 16);
    unsigned link = number(&c, 4, little) & 0xffff;
    while (!c.bad && c.left > 0 && !r->found) {
        cursor_take(&c, 8);
        size_t len = number(&c, 4, little);
        cursor_number(&c, 4);
        const uint8_t *frame = cursor_take(&c, len);
        if (frame)
            take_frame(r, link, cursor_of(frame, len));
    }
}

struct section {
    bool little;
    unsigned links[INTERFACES_MAX];
    size_t link_count;
};

static void take_block(struct reader *r, struct section *s, unsigned type, struct cursor c)
{
    unsigned interface = 0;

    if (type == BLOCK_INTERFACE && s->link_count < INTERFACES_MAX) {
        s->links[s->link_count++] = (unsigned)number(&c, 2, s->little);
        return;
    }
    if (type != BLOCK_PACKET && type != BLOCK_SIMPLE)
        return;
    if (type == BLOCK_PACKET) {
        interface = number(&c, 4, s->little);
        cursor_take(&c, 8);
    }
    size_t len = number(&c, 4, s->little);
    if (type == BLOCK_PACKET)
        cursor_number(&c, 4);
    else if (len > c.left)
        len = c.left;
    const uint8_t *frame = cursor_take(&c, len);
    if (frame && interface < s->link_count)
        take_frame(r, s->links[interface], cursor_of(frame, len));
}

static void read_pcapng(struct reader *r, struct cursor c)
{
    struct section s = {0};

    while (c.left >= 12 && !r->found) {
        struct cursor begin = c;
        uint32_t type = number(&c, 4, s.little);
        struct cursor magic = c;
        cursor_number(&magic, 4);
        if (type == BLOCK_SECTION)
            s = (struct section){.little = cursor_number(&magic, 4) != SECTION_MAGIC};
        size_t len = number(&c, 4, s.little);
        if (len < 12 || len % 4 || len > begin.left)
            return;
        const uint8_t *body = cursor_take(&c, len - 12);
        cursor_number(&c, 4);
        take_block(r, &s, type, cursor_of(body, len - 12));
    }
}

bool capture_is_packets(const void *data, size_t len)
{
    struct cursor c = cursor_of(data, len);
    uint32_t magic = cursor_number(&c, 4);

    return magic == BLOCK_SECTION || magic == 0xa1b2c3d4u || magic == 0xa1b23c4du || magic == 0xd4c3b2a1u ||
           magic == 0x4d3cb2a1u;
}

bool capture_packets(const void *data, size_t len, struct buffer *hello_out, const char **reason_out)
{
    struct reader r = {.hello_out = hello_out};
    struct cursor c = cursor_of(data, len);
    struct cursor magic = c;

    if (cursor_number(&magic, 4) == BLOCK_SECTION)
        read_pcapng(&r, c);
    else
        read_pcap(&r, c);
    for (size_t i = 0; i < r.flow_count; i++)
        buffer_fini(&r.flows[i].bytes);
    *reason_out = "no TCP stream in it begins with a whole ClientHello whose segments are in order";
    return r.found;
}
