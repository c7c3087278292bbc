#pragma once
/* Room for addresses in the shared tables: each IP once, counted by the hosts that list it, and runs of references for
 * the lists. The coordinator alone calls this. */

#include <stdint.h>

#include "common/address.h"
#include "common/outcome.h"
#include "shm/iptable.h"

struct addresses;

/* `table` is borrowed. */
struct addresses *addresses_new(struct iptable *table);
void addresses_free(struct addresses *a);

/* A list as it stands in the tables; count 0: none. */
struct address_run {
    uint32_t first, count;
};

/* Publishes `list` (`count` of 1..65535) for host `index` in place of *run_io, whose room is given back. OUTCOME_FULL:
 * the tables have no room, nothing was changed. */
must_check enum outcome addresses_publish(struct addresses *a, uint32_t index, const struct address *list,
                                          uint32_t count, struct address_run *run_io);
/* Takes the list of a host away. */
void addresses_drop(struct addresses *a, uint32_t index, struct address_run *run_io);
