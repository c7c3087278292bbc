/* Taking over what the coordinator has changed. */
#include "worker/live.h"

#include "worker/pool.h"

void live_follow(struct worker *w)
{
    const struct region_live *live = &w->region.header->live;

    if (live_has_moved(live, w->live_seen) && live_read(live, &w->live_seen, &w->options))
        pool_follow_options(w->pool);
}
