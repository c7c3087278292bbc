#pragma once
/* Asking for names anew on demand: `hotfleet dns refresh [HOST]`. */

#include "coordinator/steering_parts.h"

struct dns_refresh;

/* Registers POST /dns/refresh, with `host` in the query; everything is borrowed until dns_refresh_free(), which comes
 * after admin_close() and before frontier_free(). */
struct dns_refresh *dns_refresh_new(const struct steering_parts *parts);
void dns_refresh_free(struct dns_refresh *d);
