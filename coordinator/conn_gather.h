#pragma once
/* What connections there are: `hotfleet conn list [--host H]` and `hotfleet conn show IP`, gathered from all workers.
 */

#include "coordinator/steering_parts.h"

struct conn_gather;

/* Registers GET /connections, with `host` or `ip` in the query; everything is borrowed until conn_gather_free(), which
 * comes after admin_close(). */
struct conn_gather *conn_gather_new(const struct steering_parts *parts);
void conn_gather_free(struct conn_gather *g);
