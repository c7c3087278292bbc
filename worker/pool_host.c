/* This worker's hosts: made when first used, renamed when the coordinator reuses their slot; and the sessions kept for
 * them. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "worker/pool_parts.h"

static void name_host(struct pool_host *host, const struct shm_host *shared, uint32_t generation)
{
    struct address literal;

    host->generation = generation;
    host->port = shared->port;
    host->tls = shared->scheme == URL_HTTPS;
    host->name_len = shared->name_len;
    memcpy(host->name, shared->name, sizeof host->name - 1);
    host->name[host->name_len] = '\0';
    host->is_ip = address_parse(host->name, host->name_len, &literal);
    const char *from = host->name;
    size_t len = host->name_len;
    if (len > 1 && from[0] == '[') {
        from++;
        len -= 2;
    } else if (len > 1 && from[len - 1] == '.') {
        len--;
    }
    memcpy(host->verify_name, from, len);
    host->verify_name[len] = '\0';
    host->dial_failed = false;
    for (struct host_session *kept = host->sessions; kept; kept = kept->next) {
        pool_keep_session(kept, NULL);
        kept->ask_us = 0;
        kept->tell_us = 0;
    }
    host->response_us = 0;
    host->responses = 0;
}

struct pool_host *pool_host_get(struct pool *p, uint32_t index, uint32_t generation)
{
    if (index >= p->hosts_max)
        return NULL;
    const struct shm_host *shared = &p->worker->region.table.hosts[index];
    struct pool_host *host = p->hosts[index];
    if (atomic_load_explicit(&shared->generation, memory_order_acquire) != generation)
        return NULL;
    if (host && host->generation == generation)
        return host;
    if (!host) {
        host = calloc(1, sizeof *host);
        if (!host)
            die("out of memory: no room for a host's connections");
        host->pool = p;
        host->worker = p->worker;
        host->index = index;
        TAILQ_INIT(&host->ready);
        TAILQ_INIT(&host->suspect);
        TAILQ_INIT(&host->busy);
        TAILQ_INIT(&host->dialing);
        TAILQ_INIT(&host->waiters);
        p->hosts[index] = host;
    } else if (host->conns) {
        /* The coordinator reuses a slot only when no connection is counted on it. */
        return NULL;
    }
    name_host(host, shared, generation);
    return host;
}

void pool_free_sessions(struct pool_host *host)
{
    while (host && host->sessions) {
        struct host_session *kept = host->sessions;
        host->sessions = kept->next;
        SSL_SESSION_free(kept->session);
        free(kept);
    }
}

struct host_session *pool_session_of(struct pool_host *host, const struct browser *browser)
{
    struct host_session *kept = host->sessions;

    while (kept && kept->browser != browser)
        kept = kept->next;
    if (kept)
        return kept;
    kept = calloc(1, sizeof *kept);
    if (!kept)
        die("out of memory: no room for a host's TLS session");
    kept->host = host;
    kept->browser = browser;
    kept->next = host->sessions;
    host->sessions = kept;
    return kept;
}

void pool_keep_session(struct host_session *kept, SSL_SESSION *session)
{
    struct pool *p = kept->host->pool;

    if (session && p->with_session[kept->place] != kept) {
        kept->place = p->session_turn++ % SESSIONS_MAX;
        struct host_session **place = &p->with_session[kept->place];
        if (*place) {
            SSL_SESSION_free((*place)->session);
            (*place)->session = NULL;
        }
        *place = kept;
    }
    SSL_SESSION_free(kept->session);
    kept->session = session;
    kept->number++;
    kept->is_shared = false;
}

void pool_each(const struct pool *p, void (*each)(void *user, const struct conn *conn), void *user)
{
    const struct conn *conn;

    for (uint32_t i = 0; i < p->hosts_max; i++) {
        const struct pool_host *host = p->hosts[i];
        const struct conn_list *const lists[] = {host ? &host->ready : NULL, host ? &host->suspect : NULL,
                                                 host ? &host->busy : NULL, host ? &host->dialing : NULL};
        for (size_t k = 0; host && k < sizeof lists / sizeof lists[0]; k++) {
            TAILQ_FOREACH(conn, lists[k], link)
            {
                each(user, conn);
            }
        }
    }
}
