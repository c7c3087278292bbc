#pragma once
/* The budget of descriptors: each connection takes one of its worker's. max_connections is kept within what the limit
 * on open files is for, so that no worker runs out of them in normal work; worker/lease.h keeps each within its own
 * share. */

#include <stdbool.h>

#include "common/options.h"

/* Raises this process's limit as far as it goes, which workers inherit, and lowers options->max_connections to what
 * they can hold, with a warning. False, with a message in the log: it is too low for this fleet at all. */
bool descriptors_open(struct options *options);
/* The same lowering after options were changed; true when it changed max_connections. */
bool descriptors_follow_options(struct options *options);
