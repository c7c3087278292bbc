#pragma once
/* Options that change while the fleet runs: the actions /set, /get and /reload of the admin face, and SIGHUP. A change
 * is made whole or not at all: in the coordinator's own options, which its modules borrow, and in the region, where
 * workers find it. Only LIVE rows ever change. */

#include "common/options.h"
#include "coordinator/admin.h"
#include "coordinator/fleet.h"
#include "shm/region.h"

struct live;

/* Puts the values of `options` into the region, before workers run, and adds the actions. argc and argv are what the
 * options were loaded from, for reload. on_change is called after each change. Everything is borrowed. */
struct live *live_open(struct admin *admin, struct region *region, struct fleet *fleet, struct options *options,
                       int argc, char **argv, void (*on_change)(void *user), void *user);
/* Before admin_close(), or right after it; NULL is none. */
void live_close(struct live *l);
/* Puts the values of the options in force everywhere; on_change is called. */
void live_publish(struct live *l);
/* Reads all layers again and takes over what may change; the log tells what did, what needs a restart, or why nothing
 * was changed. */
void live_reload(struct live *l);
