#pragma once
/* All that a fleet does on its own account or on demand beside crawling: flushes, pre-warms, lists of connections,
 * refreshes of names. One object, so that the coordinator's wiring stays small. */

#include <stdbool.h>

#include "coordinator/steering_parts.h"

struct steering;

/* Registers the actions and begins what the options ask for. The parts are borrowed until steering_free(), which comes
 * after admin_close() and before frontier_free(). */
struct steering *steering_new(const struct steering_parts *parts);
void steering_free(struct steering *s);
/* Input is not to be read yet: a pre-warm comes first (option prewarm_wait). */
bool steering_holds_input(const struct steering *s);
