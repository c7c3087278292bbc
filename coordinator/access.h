#pragma once
/* Access: what is known of addresses for hosts, kept in the map over runs. Workers learn, in shared memory, that an
 * address is black or white for a host, and tell; people make rules, in options and at run time, which go before what
 * was learned. A learned black address is checked again, on a schedule that is in the map too, and turns white with the
 * first 2xx. The coordinator alone calls this. */

#include <stdbool.h>
#include <stdint.h>

#include "common/ip_prefix.h"
#include "common/options.h"
#include "common/record.h"
#include "coordinator/chores.h"
#include "coordinator/frontier.h"
#include "shm/store_access.h"
#include "shm/task.h"

struct access;

struct access_parts {
    struct store *store;
    struct region *region;
    struct frontier *frontier; /* its hosts get their states from here until access_free() */
    struct chores *chores;
    struct timers *timers; /* the frontier's */
    const struct options *options;
};

/* Everything is borrowed. NULL: `fault_out` says what is wrong with the lists of the options. */
struct access *access_new(const struct access_parts *parts, char fault_out[IP_FAULT_MAX]);
/* After chores_free(): no check is answered any more. */
void access_free(struct access *a);

/* A worker's message says that the address at index `ip` is black or white for `host`; `path`: path and query that it
 * answered to. What makes no sense, or contradicts a rule, is passed over. */
void access_learn(struct access *a, struct host *host, uint32_t ip, enum access_state state, unsigned status,
                  struct span path);
/* A RESULT_NOTE. False: it makes no sense. */
bool access_on_note(struct access *a, const struct result_message *m);

/* A rule of people at run time. */
struct access_manual {
    struct span host; /* a name in lower case; absent: all */
    enum access_state state;
    struct span reason;
    uint64_t expires_wall_us; /* 0 never */
};
/* Adds rules for all of `list` (sorted), in place of earlier ones and of what was learned of these addresses; returns
 * their number. Holds from the next lease on, and is in the map when this returns. */
size_t access_add(struct access *a, const struct ip_prefix_list *list, const struct access_manual *manual);
/* Removes such rules, and what was learned of these addresses, for the host or for all; returns how many records are
 * gone. Lists of the options stay. */
size_t access_remove(struct access *a, const struct ip_prefix_list *list, struct span host);
