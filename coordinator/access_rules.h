#pragma once
/* Rules that people made for addresses, for all hosts or for one by name, and which of them holds: those for the host
 * before those for all, then the longer prefix, then what was said at run time before the options' lists, then black.
 * Owned by access, filled and sorted, then only read. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ip_prefix.h"

struct access_rule {
    char *host; /* owned; "": all */
    struct ip_prefix prefix;
    uint8_t state; /* ACCESS_WHITE or ACCESS_BLACK */
    bool manual;
};

struct access_rules {
    struct access_rule *items;
    size_t count, cap;
    uint64_t lengths[2][3]; /* by family, a bit for each prefix length that occurs */
};

/* Adds a rule; access_rules_sort() before the next look. */
void access_rules_add(struct access_rules *r, const char *host, size_t host_len, const struct ip_prefix *prefix,
                      uint8_t state, bool manual);
void access_rules_sort(struct access_rules *r);
/* The rule that holds for `address` of the host of this name; NULL: none. Rules for all hosts alone when the name is
 * empty. */
const struct access_rule *access_rules_find(const struct access_rules *r, const char *host, size_t host_len,
                                            const struct address *address);
void access_rules_clear(struct access_rules *r);
