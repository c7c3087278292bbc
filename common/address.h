#pragma once
/* IP addresses and the policy of which of them may be connected to. One function judges; everybody asks it, at connect
 * time, for every hop. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fixed layout: this struct stands in shared memory and in the LMDB map as it is. */
struct address {
    uint8_t family;    /* 4 or 6 */
    uint8_t bytes[16]; /* network order; IPv4 in the first four, the rest zero */
    uint8_t reserved[3];
};
_Static_assert(sizeof(struct address) == 20, "struct address is part of the shared layout");

#define ADDRESS_TEXT_MAX 46 /* INET6_ADDRSTRLEN, with the NUL */

/* Reads "192.0.2.1", "2001:db8::1" or "[2001:db8::1]" (`len` bytes, the whole of them). False if it is not one. */
bool address_parse(const char *text, size_t len, struct address *out);
/* Writes the canonical text (RFC 5952), NUL-terminated; returns its length. */
size_t address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]);
bool address_equal(const struct address *a, const struct address *b);
/* Fills a sockaddr for `port` (host order); returns its length. */
socklen_t address_to_sockaddr(const struct address *a, uint16_t port, struct sockaddr_storage *out);
/* Reads a sockaddr; false for a family other than AF_INET and AF_INET6. */
bool address_from_sockaddr(const struct sockaddr *sa, struct address *out, uint16_t *port_out);

/* True for addresses that are globally reachable unicast by the IANA special-purpose registries (RFC 6890 and its
 * updates). False for private, loopback, link-local, shared (100.64/10), multicast, broadcast, documentation,
 * benchmarking, 6to4 relay, reserved, unspecified, unique local; and for IPv4-mapped, IPv4-compatible, NAT64
 * (64:ff9b::/96, and 64:ff9b:1::/48), 6to4 and Teredo addresses according to the IPv4 address inside (when in doubt:
 * false). */
bool address_is_public(const struct address *a);
