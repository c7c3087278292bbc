/* Makes and ends the parts of steering. */
#include "coordinator/steering.h"

#include <stdlib.h>

#include "common/log.h"
#include "coordinator/conn_gather.h"
#include "coordinator/dns_follow.h"
#include "coordinator/dns_refresh.h"
#include "coordinator/flush.h"
#include "coordinator/prewarm.h"

struct steering {
    const struct options *options;
    struct flush *flush;
    struct prewarm *prewarm;
    struct conn_gather *conn_gather;
    struct dns_follow *dns_follow;
    struct dns_refresh *dns_refresh;
};

struct steering *steering_new(const struct steering_parts *parts)
{
    struct steering *s = calloc(1, sizeof *s);

    if (!s)
        die("out of memory: no room for what steers the fleet");
    s->options = parts->options;
    s->flush = flush_new(parts->admin, parts->chores, parts->fleet);
    s->prewarm = prewarm_new(parts);
    s->conn_gather = conn_gather_new(parts);
    s->dns_follow = dns_follow_new(parts);
    s->dns_refresh = dns_refresh_new(parts);
    return s;
}

void steering_free(struct steering *s)
{
    if (!s)
        return;
    flush_free(s->flush);
    prewarm_free(s->prewarm);
    conn_gather_free(s->conn_gather);
    dns_follow_free(s->dns_follow);
    dns_refresh_free(s->dns_refresh);
    free(s);
}

bool steering_holds_input(const struct steering *s)
{
    return s->options->prewarm_wait && prewarm_is_starting(s->prewarm);
}
