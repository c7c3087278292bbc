#pragma once
/* The list of this worker's connections, as `hotfleet conn` shows it: one JSON line each. */

#include "worker/fetch.h"

/* Sends the lines of all connections as parts of the chore `f` (TASK_LIST), those to the address m.ip alone unless that
 * is IP_NONE, and those to the host of its URL alone when it has one. Returns how many lines. */
uint32_t conn_list_send(struct fetch *f);
