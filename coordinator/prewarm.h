#pragma once
/* Connections made ahead of need: the option `prewarm` and `hotfleet ctl prewarm HOST N [--wait]`. A pre-warm is a
 * number of TASK_PREWARM orders for one host, given in batches to all workers in turn; each worker draws the next
 * address of the host, so that the connections are spread evenly. What was made stays in the workers' pools. */

#include <stdbool.h>

#include "coordinator/steering_parts.h"

struct prewarm;

/* Registers POST /prewarm and begins what the options ask for; the parts are borrowed until prewarm_free(), which comes
 * after admin_close() and before frontier_free(). */
struct prewarm *prewarm_new(const struct steering_parts *parts);
void prewarm_free(struct prewarm *p);
/* Some pre-warm that the options ask for has not ended. */
bool prewarm_is_starting(const struct prewarm *p);
