/* Fetches that some addresses have failed already: they get a connection to another one. */
#include "worker/pool_parts.h"

/* At a limit a free connection to an address that the fetch avoids makes room for one to another address. True: one was
 * closed. */
static bool give_up_slot(struct pool_host *host, const struct fetch *f)
{
    struct conn *conn = TAILQ_FIRST(&host->ready);

    if (!conn)
        conn = TAILQ_FIRST(&host->suspect);

    if (!conn || conn->active || iptable_address_count(&host->worker->region.table, host->index) <= f->m.avoid_count)
        return false;
    conn_close(conn);
    return true;
}

bool pool_serve_avoider(struct pool_host *host, struct fetch *f)
{
    enum lease_refusal refusal;
    const char *detail = NULL;
    uint32_t ip = IP_NONE;
    struct conn *conn = pool_take_ready(host, f, f->profiles);

    /* The look at a connection that sat idle may have served the line. */
    if (f->state != FETCH_WAITING || f->promised)
        return true;
    if (conn) {
        pool_give(conn, f);
        return true;
    }
    enum outcome outcome = pool_dial(host, f, f, &refusal, &ip, &detail);
    if (outcome == OUTCOME_OK)
        return true;
    if (outcome == OUTCOME_AT_LIMIT && refusal != LEASE_IP_FULL && give_up_slot(host, f))
        return true;
    if (outcome == OUTCOME_AT_LIMIT || outcome == OUTCOME_IP_EXHAUSTED || outcome == OUTCOME_ADDRESS_DENIED)
        return false;
    pool_forget(host->pool, f);
    fetch_dial_failed(f, NULL, ip, outcome, detail);
    return true;
}
