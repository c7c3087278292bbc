#pragma once
/* Options that change while the worker runs: looked for once a turn, by one load of the region's counter. */

#include "worker/worker.h"

/* Takes a newer set of LIVE values into w->options, whole, and tells the pool. */
void live_follow(struct worker *w);
