#pragma once
/* The dry run: lines are read, checked and queued as ever, and instead of being fetched they end as records that say
 * so. Queues are filled as far as they go before the first is emptied, as by a network that is slower than the disk. */

#include "coordinator/results.h"

/* Ends some tasks, in the order in which hosts have their turns. True when it could go on at once, as
 * what fills the queues may. */
bool dry_run_turn(struct results *r);
