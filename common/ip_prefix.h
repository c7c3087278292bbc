#pragma once
/* Ranges of addresses by prefix, as lists of allowed and blocked ones are written: "192.0.2.1", "192.0.2.0/24",
 * "2001:db8::/32", or "@FILE" with one of these a line. Plain values; a list owns its array. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"

#define IP_PREFIX_TEXT_MAX (ADDRESS_TEXT_MAX + 4) /* with "/128" and the NUL */
#define IP_FAULT_MAX       400                    /* bytes of a message, with its NUL */

struct ip_prefix {
    struct address address; /* its bits behind the prefix are zero */
    uint8_t len;            /* bits, 0..32 or 0..128 */
};

struct ip_prefix_list {
    struct ip_prefix *items;
    size_t count, cap;
};

/* Reads `len` bytes of text. Returns what is wrong with it, as a clause, NULL if nothing is. */
const char *ip_prefix_parse(const char *text, size_t len, struct ip_prefix *out);
/* Writes it as it is read, a single address without its length; NUL-terminated; returns the length. */
size_t ip_prefix_format(const struct ip_prefix *p, char out[IP_PREFIX_TEXT_MAX]);
/* The range of `len` bits (at most the family's) that `a` lies in. */
struct ip_prefix ip_prefix_of(const struct address *a, uint8_t len);
/* Bits of an address of this family. */
static inline uint8_t ip_prefix_bits(uint8_t family)
{
    return family == 4 ? 32 : 128;
}
/* Order: family, length, address. For qsort() and bsearch() over struct ip_prefix. */
int ip_prefix_compare(const void *left, const void *right);

/* Appends an entry, or all of an "@FILE": empty lines, and what follows a '#', are left out. False: `fault_out` says
 * what is wrong and where; the list keeps what it has got. */
bool ip_prefix_list_add(struct ip_prefix_list *list, const char *entry, char fault_out[IP_FAULT_MAX]);
/* Sorts, and drops all but one of equal ones. */
void ip_prefix_list_sort(struct ip_prefix_list *list);
/* For a sorted list. */
bool ip_prefix_list_has(const struct ip_prefix_list *list, const struct ip_prefix *prefix);
void ip_prefix_list_free(struct ip_prefix_list *list);
