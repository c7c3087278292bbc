#pragma once
/* Whether a page of statistics can be what its worker has counted since the page was last seen. */

#include <stdbool.h>

#include "shm/stats.h"

/* Counters have not gone back or leapt, gauges are numbers of things there can be. Takes the page over into `seen_io`
 * when it makes sense. */
bool patrol_page_check(const struct stats_page *page, struct stats_page *seen_io);
/* The page becomes what was last seen. */
void patrol_page_restore(struct stats_page *page, const struct stats_page *seen);
