#pragma once
/* Sets of HTTP statuses, read once from single numbers and ranges ("200-399", "204,301"). Plain values: copied freely,
 * nothing to free. */

#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"

#define STATUS_MIN 100
#define STATUS_MAX 999

struct status_set {
    uint64_t bits[STATUS_MAX / 64 + 1]; /* one for each status, by number */
};

/* Reads all entries; each is a number, a range, or several of them with commas between. False: *entry_out (borrowed
 * from `entries`; "" when there is none at all) is what is wrong with the clause *reason_out, and the set is empty. */
bool status_set_parse(struct status_set *set_out, const struct option_list *entries, const char **entry_out,
                      const char **reason_out);
/* Whether `status` is in the set; any number may be asked. */
static inline bool status_set_has(const struct status_set *set, unsigned status)
{
    return status <= STATUS_MAX && (set->bits[status / 64] >> status % 64 & 1);
}
