/* Raising the limit and fitting the fleet into it. */
#include "coordinator/descriptors.h"

#include <sys/resource.h>

#include "common/log.h"
#include "common/pool_size.h"

#define DESCRIPTORS_MAX (1u << 30) /* "unlimited" */

/* What one process may have, now. */
static uint64_t descriptors_now(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return DESCRIPTORS_MAX;
    return limit.rlim_cur < DESCRIPTORS_MAX ? limit.rlim_cur : DESCRIPTORS_MAX;
}

static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

bool descriptors_open(struct options *options)
{
    raise_limit();
    uint64_t limit = descriptors_now();
    struct pool_descriptors d = pool_descriptors_of(limit, options->workers);
    if (limit < d.needed) {
        log_event(LOG_ERROR, "too-few-descriptors",
                  "limit=%llu needed=%llu workers=%lld hint=\"raise the limit on open files (ulimit -n)%s\"",
                  (unsigned long long)limit, (unsigned long long)d.needed, (long long)options->workers,
                  limit >= pool_descriptors_of(limit, 1).needed ? ", or lower --workers" : "");
        return false;
    }
    descriptors_follow_options(options);
    return true;
}

bool descriptors_follow_options(struct options *options)
{
    uint64_t limit = descriptors_now();
    uint64_t per_worker = pool_descriptors_of(limit, options->workers).per_worker;
    uint64_t connections = per_worker ? per_worker * (uint64_t)options->workers : 1;

    if ((uint64_t)options->max_connections <= connections)
        return false;
    log_event(LOG_WARN, "descriptor-budget",
              "limit=%llu workers=%lld per_worker=%llu max_connections=%llu wanted=%lld hint=\"raise the limit on open "
              "files (ulimit -n), or --workers\"",
              (unsigned long long)limit, (long long)options->workers, (unsigned long long)per_worker,
              (unsigned long long)connections, (long long)options->max_connections);
    options->max_connections = (int64_t)connections;
    return true;
}
