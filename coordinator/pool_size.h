#pragma once
/* The option adaptive_pool at work: once a second the load is looked at, and max_connections of all processes follows
 * what pool_size_adapt.h decides. The base is what the user has set, at the start or since. */

#include <stdint.h>

#include "common/options.h"
#include "shm/region.h"

struct live;
struct pool_size;

/* Logs what an automatic max_connections came to. */
void pool_size_tell(const struct options *options);
/* Everything is borrowed; `options` are the coordinator's own. */
struct pool_size *pool_size_new(struct region *region, struct options *options, struct live *live);
void pool_size_free(struct pool_size *p);
/* Options were changed by the user. */
void pool_size_follow_options(struct pool_size *p);
/* Looks when it is time; returns when it next wants to be called (monotonic µs; UINT64_MAX: not before options change).
 */
uint64_t pool_size_turn(struct pool_size *p, uint64_t now_us);
