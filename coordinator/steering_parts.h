#pragma once
/* What the actions that steer a fleet from outside work on. Everything is borrowed from the coordinator. */

#include <event2/event.h>

#include "coordinator/admin.h"
#include "coordinator/chores.h"
#include "coordinator/fleet.h"
#include "coordinator/frontier.h"
#include "coordinator/resolver.h"
#include "shm/region.h"

struct steering_parts {
    struct event_base *base;
    struct admin *admin;
    struct chores *chores;
    struct fleet *fleet;
    struct frontier *frontier;
    struct resolver *resolver;
    struct region *region;
    const struct options *options;
    struct stats_page *page;
};
