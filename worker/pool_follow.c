/* Connections and the list of the name's addresses, which changes while they live. */
#include "worker/access.h"
#include "worker/pool_parts.h"

static void retire_unlisted(struct pool_host *host, struct conn_list *list)
{
    struct conn *next;

    for (struct conn *conn = TAILQ_FIRST(list); conn; conn = next) {
        next = TAILQ_NEXT(conn, link);
        if (access_follow(conn) || conn->state != CONN_OPEN)
            continue;
        STATS_ADD(host->worker->page, conns_unlisted, 1);
        pool_retire(conn);
    }
}

void pool_follow_list(struct pool_host *host)
{
    uint64_t version = iptable_list_version(&host->worker->region.table, host->index);

    if (version == host->list_version)
        return;
    host->list_version = version;
    retire_unlisted(host, &host->ready);
    retire_unlisted(host, &host->suspect);
    retire_unlisted(host, &host->busy);
    retire_unlisted(host, &host->dialing);
}

bool pool_has_lost_address(struct conn *conn)
{
    if (access_follow(conn))
        return access_is_black(conn);
    STATS_ADD(conn->worker->page, conns_unlisted, 1);
    return true;
}
