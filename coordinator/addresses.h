#pragma once
/* Room for addresses in the shared tables: each IP once, counted by the hosts that list it, and runs of references for
 * the lists. What they say is kept here too: a broken worker can scribble on the shared lists, not on these. The
 * coordinator alone calls this. */

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

/* Publishes `list` (`count` of 1..65535) for host `index` in place of *run_io, whose room is given back. `states`: an
 * enum access_state for each, or NULL for all unknown; what workers have learned of an address that stays goes before
 * an ACCESS_UNKNOWN or ACCESS_WHITE in it. OUTCOME_FULL: the tables have no room, nothing was changed. */
must_check enum outcome addresses_publish(struct addresses *a, uint32_t index, const struct address *list,
                                          const uint8_t *states, uint32_t count, struct address_run *run_io);
/* The index into ips of entry `i` of a list. */
uint32_t addresses_ip(const struct addresses *a, struct address_run run, uint32_t i);
/* Where an address stands in the shared table, also one that no host lists any more; IP_NONE: nowhere. */
uint32_t addresses_find(const struct addresses *a, const struct address *address);
/* Takes the list of a host away. */
void addresses_drop(struct addresses *a, uint32_t index, struct address_run *run_io);
