#pragma once
/* How large the shared region is for a run's options. */

#include <stdbool.h>

#include "common/options.h"
#include "shm/region.h"

/* Makes the region, with the options in it. False, with a message in the log, when memory or descriptors are short. */
bool layout_open_region(struct region *region, const struct options *options);
