/* From statuses to access states, and what they mean for connections. */
#include "worker/access.h"

#include "common/log.h"
#include "worker/conn.h"
#include "worker/outbox.h"
#include "worker/pool.h"

void access_open(struct worker *w)
{
    const char *entry;
    const char *reason;

    w->blocking = (struct status_set){0};
    if (w->options.blacklist_status.count &&
        !status_set_parse(&w->blocking, &w->options.blacklist_status, &entry, &reason))
        die_usage("blacklist_status \"%s\" %s", entry, reason);
}

bool access_policy_allows(const struct worker *w, const struct address *address)
{
    return w->options.allow_private || address_is_public(address);
}

bool access_is_black(const struct conn *conn)
{
    return iptable_access_of(&conn->worker->region.table, conn->ref, conn->ip) == ACCESS_BLACK;
}

bool access_follow(struct conn *conn)
{
    if (iptable_find(&conn->worker->region.table, conn->host->index, conn->ip, &conn->ref))
        return true;
    conn->ref = IP_REF_NONE;
    return false;
}

static enum access_state blacken(struct conn *conn, enum access_state *learned_out)
{
    struct worker *w = conn->worker;
    struct iptable *table = &w->region.table;

    if (iptable_set_access(table, conn->host->index, conn->ip, ACCESS_BLACK, ACCESS_LEARNS_BLACK)) {
        *learned_out = ACCESS_BLACK;
        STATS_ADD(w->page, blackened, 1);
    } else if (!access_follow(conn) || !access_is_black(conn)) {
        return ACCESS_UNKNOWN;
    }
    /* Closed when it is given back: the exchange that called still holds it. */
    if (conn->state == CONN_OPEN)
        conn_set_state(conn, CONN_RETIRING);
    return ACCESS_BLACK;
}

enum access_state access_judge(struct conn *conn, unsigned status, enum access_state *learned_out)
{
    *learned_out = ACCESS_UNKNOWN;
    if (status_set_has(&conn->worker->blocking, status))
        return blacken(conn, learned_out);
    if (!conn->told_white && status / 100 == 2) {
        conn->told_white = true;
        if (iptable_set_access(&conn->worker->region.table, conn->host->index, conn->ip, ACCESS_WHITE,
                               ACCESS_LEARNS_WHITE))
            *learned_out = ACCESS_WHITE;
    }
    return ACCESS_UNKNOWN;
}

enum access_state access_judge_probe(struct conn *conn, unsigned status)
{
    enum access_state learned;
    enum access_state state = access_judge(conn, status, &learned);

    if (learned == ACCESS_UNKNOWN)
        return state;
    struct fetch *carrier = fetch_take_spare(conn->worker);
    carrier->result = (struct result_message){
        .kind = RESULT_NOTE,
        .outcome = OUTCOME_OK,
        .status = status,
        .host = conn->host->index,
        .host_generation = conn->host->generation,
        .ip = conn->ip,
        .access = (uint32_t)learned,
    };
    outbox_put(carrier, NULL, 0);
    return state;
}

bool access_has_usable(const struct pool_host *host)
{
    const struct worker *w = host->worker;
    const struct iptable *table = &w->region.table;
    uint32_t count = iptable_address_count(table, host->index);
    struct iptable_entry entry;

    for (uint32_t i = 0; i < count; i++) {
        if (iptable_at(table, host->index, i, &entry) == OUTCOME_OK && entry.access != ACCESS_BLACK &&
            access_policy_allows(w, &entry.address))
            return true;
    }
    return false;
}
