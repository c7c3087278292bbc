#pragma once
/* Source addresses: what connections are made from (--bind-ip), read from single addresses and CIDR ranges, and whose
 * turn it is. Pure: who counts the turns, and over how many processes, is the caller's affair. A list owns its ranges;
 * it is filled once and then only read. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/options.h"

struct source_range {
    struct address first; /* the lowest that is drawn; of an IPv6 subnet its prefix */
    uint64_t count;       /* IPv4: addresses that are drawn */
    uint8_t prefix_len;   /* bits */
};

/* The entries of one family, in the order in which they were given. */
struct source_family {
    struct source_range *ranges;
    size_t count;
    uint64_t turns; /* after so many all have been drawn: IPv4 addresses, or IPv6 entries */
};

struct source_list {
    struct source_family v4, v6;
};

struct source {
    struct address address;
    bool from_subnet; /* made up within an IPv6 subnet: this machine need not know it as one of its own */
};

/* Reads "192.0.2.1", "192.0.2.0/24", "2001:db8::1" or "2001:db8::/64" entry by entry. IPv4 ranges leave out the
 * network's and the broadcast address up to /30. False: *entry_out (borrowed from `entries`) is what is wrong with
 * *reason_out, and the list is empty. */
bool source_list_open(struct source_list *list_out, const struct option_list *entries, const char **entry_out,
                      const char **reason_out);
void source_list_close(struct source_list *list);
/* No entry at all: connections are not bound. */
bool source_list_is_empty(const struct source_list *list);
/* Whether addresses of `family` (4 or 6) can be connected to: the list is empty, or has an entry of the family. */
bool source_list_reaches(const struct source_list *list, uint8_t family);
/* The source of turn number `turn` of this family, false when the list has none. In any run of turns the IPv4 addresses
 * are used equally often within one, and so are the IPv6 entries; an entry that is given twice has two turns. A subnet
 * gives a new address at each of its turns, picked by `key`: it repeats none before its 2^n - 1 addresses (2^64 of a
 * larger one; the subnet-router anycast address of RFC 4291 2.6.1 is left out, except of a /127, RFC 6164) are used up.
 */
bool source_list_draw(const struct source_list *list, uint8_t family, uint64_t turn, const uint64_t key[2],
                      struct source *source_out);
