#pragma once
/* What follows from a name's new addresses: they are counted, and where the host is in use each new one gets a
 * connection at once, made by a worker that has connections to the host. Connections to addresses that are gone are the
 * workers' business (worker/pool.c). */

#include "coordinator/steering_parts.h"

struct dns_follow;

/* Watches the frontier; everything is borrowed until dns_follow_free(), which comes before frontier_free(). */
struct dns_follow *dns_follow_new(const struct steering_parts *parts);
void dns_follow_free(struct dns_follow *d);
