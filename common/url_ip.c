/* Addresses as hosts of URLs: the WHATWG IPv4 and IPv6 parsers and their canonical forms. */
#include <stdint.h>
#include <string.h>

#include "common/url_host.h"

int url_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The WHATWG IPv4 number parser: decimal, 0x hexadecimal, 0 octal. False if it is not a number; what is too large for
 * any address comes out as UINT64_MAX. */
static bool parse_ipv4_number(const char *text, size_t len, uint64_t *value_out)
{
    int base = 10;

    if (len == 0)
        return false;
    if (len >= 2 && text[0] == '0') {
        base = (text[1] | 0x20) == 'x' ? 16 : 8;
        text += base == 16 ? 2 : 1;
        len -= base == 16 ? 2 : 1;
    }
    *value_out = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = url_hex_value(text[i]);
        if (digit < 0 || digit >= base)
            return false;
        *value_out = *value_out >> 32 ? UINT64_MAX : *value_out * (uint64_t)base + (uint64_t)digit;
    }
    return true;
}

bool url_ends_in_number(const char *name, size_t len)
{
    uint64_t ignored;

    if (len > 1 && name[len - 1] == '.')
        len--;
    const char *dot = memrchr(name, '.', len);
    const char *last = dot ? dot + 1 : name;
    size_t last_len = len - (size_t)(last - name);
    if (last_len == 0 || *last < '0' || *last > '9')
        return false;
    for (size_t i = 0; i < last_len; i++) {
        if (last[i] < '0' || last[i] > '9')
            return parse_ipv4_number(last, last_len, &ignored);
    }
    return true;
}

/* Reads one to four parts; the last one fills the bytes that are left. */
static const char *parse_ipv4(const char *name, size_t len, uint32_t *address_out)
{
    uint64_t address = 0;
    unsigned parts = 0;
    const char *end = name + len - (name[len - 1] == '.');

    for (const char *part = name; part <= end; parts++) {
        const char *dot = memchr(part, '.', (size_t)(end - part));
        const char *part_end = dot ? dot : end;
        uint64_t value;
        if (parts == 4)
            return "the IPv4 address has more than four parts";
        if (!parse_ipv4_number(part, (size_t)(part_end - part), &value))
            return "the host ends in a number but is not an IPv4 address";
        if (value > (dot ? UINT8_MAX : UINT32_MAX >> 8 * parts))
            return "a part of the IPv4 address is too large";
        address |= dot ? value << 8 * (3 - parts) : value;
        part = part_end + 1;
    }
    *address_out = (uint32_t)address;
    return NULL;
}

static void write_ipv4(uint32_t address, struct buffer *out)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned byte = address >> shift & 0xff;
        if (byte >= 100)
            out->data[out->len++] = (char)('0' + byte / 100);
        if (byte >= 10)
            out->data[out->len++] = (char)('0' + byte / 10 % 10);
        out->data[out->len++] = (char)('0' + byte % 10);
        if (shift)
            out->data[out->len++] = '.';
    }
}

const char *url_ipv4_rewrite(struct buffer *out, size_t start)
{
    uint32_t address = 0;
    const char *reason = parse_ipv4(out->data + start, out->len - start, &address);

    out->len = start;
    if (!reason)
        write_ipv4(address, out);
    return reason;
}

/* Reads the dotted IPv4 address that ends an IPv6 one into two pieces. Leading zeros are refused. */
static bool parse_ipv6_tail(const char *at, const char *end, uint16_t piece[2])
{
    for (unsigned part = 0; part < 4; part++) {
        unsigned value = 0;
        if (part > 0 && (at == end || *at++ != '.'))
            return false;
        const char *start = at;
        for (; at < end && *at >= '0' && *at <= '9'; at++) {
            if (at - start == 3 || (at > start && value == 0))
                return false;
            value = value * 10 + (unsigned)(*at - '0');
        }
        if (at == start || value > 255)
            return false;
        piece[part / 2] = (uint16_t)((unsigned)piece[part / 2] << 8 | value);
    }
    return at == end;
}

/* Moves the pieces read after "::" to the end. */
static void spread_pieces(uint16_t piece[8], unsigned count, unsigned gap)
{
    unsigned tail = count - gap;

    for (unsigned i = 0; i < tail; i++) {
        uint16_t moved = piece[count - 1 - i];
        piece[count - 1 - i] = 0;
        piece[7 - i] = moved;
    }
}

/* The WHATWG IPv6 parser, on what stands between the brackets. */
static const char *parse_ipv6(const char *at, const char *end, uint16_t piece[8])
{
    static const char not_valid[] = "the IPv6 address is not valid";
    unsigned count = 0;
    unsigned gap = UINT8_MAX; /* the index of the first piece after "::" */

    memset(piece, 0, 8 * sizeof *piece);
    if (at < end && *at == ':') {
        if (end - at < 2 || at[1] != ':')
            return not_valid;
        at += 1;
    }
    while (at < end) {
        const char *start = at;
        unsigned value = 0;
        if (count == 8)
            return "the IPv6 address has more than eight pieces";
        if (*at == ':') {
            if (gap != UINT8_MAX)
                return "the IPv6 address has more than one \"::\"";
            gap = count;
            at++;
            continue;
        }
        for (; at < end && at - start < 4 && url_hex_value(*at) >= 0; at++)
            value = value << 4 | (unsigned)url_hex_value(*at);
        if (at < end && *at == '.') {
            if (count > 6 || !parse_ipv6_tail(start, end, piece + count))
                return "the IPv4 address inside the IPv6 address is not valid";
            count += 2;
            break;
        }
        if (at == start || (at < end && (*at != ':' || end - at == 1)))
            return not_valid;
        piece[count++] = (uint16_t)value;
        at += at < end;
    }
    if (gap != UINT8_MAX)
        spread_pieces(piece, count, gap);
    else if (count != 8)
        return "the IPv6 address has fewer than eight pieces";
    return NULL;
}

/* The first of the longest runs of two or more zero pieces, which "::" stands for; 8 and 0 if there is none. */
static unsigned find_zeros(const uint16_t piece[8], unsigned *len_out)
{
    unsigned best = 8;
    unsigned run = 0;

    *len_out = 0;
    for (unsigned i = 0; i < 8; i++) {
        run = piece[i] ? 0 : run + 1;
        if (run > 1 && run > *len_out) {
            *len_out = run;
            best = i + 1 - run;
        }
    }
    return best;
}

static void write_ipv6(const uint16_t piece[8], struct buffer *out)
{
    static const char hex[] = "0123456789abcdef";
    unsigned zeros_len;
    unsigned zeros = find_zeros(piece, &zeros_len);

    out->data[out->len++] = '[';
    for (unsigned i = 0; i < 8; i++) {
        if (i == zeros) {
            out->data[out->len++] = ':';
            out->data[out->len++] = ':';
            i += zeros_len;
            if (i == 8)
                break;
        } else if (i > 0) {
            out->data[out->len++] = ':';
        }
        for (int shift = 12; shift >= 0; shift -= 4) {
            if (piece[i] >> shift || shift == 0)
                out->data[out->len++] = hex[piece[i] >> shift & 15];
        }
    }
    out->data[out->len++] = ']';
}

const char *url_ipv6_write(const char *host, size_t len, struct buffer *out)
{
    uint16_t piece[8];

    if (len < 2 || host[len - 1] != ']')
        return "the IPv6 address has no closing bracket";
    const char *reason = parse_ipv6(host + 1, host + len - 1, piece);
    if (!reason)
        write_ipv6(piece, out);
    return reason;
}
