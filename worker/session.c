/* Which session a connection offers, and what becomes of those that peers give. */
#include "worker/session.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "shm/task.h"
#include "worker/conn.h"
#include "worker/outbox.h"
#include "worker/pool.h"

#define ASK_INTERVAL_US  1000000  /* between two looks into the map for a host */
#define TELL_INTERVAL_US 60000000 /* between two sessions of a host that the coordinator is told of */
#define REFUSED_ASK_US   60000000 /* a server that refuses is not asked again with another's session at once */
#define LIFETIME_MAX_S   604800   /* RFC 8446 4.6.1: seven days */

struct session_map {
    struct store *store; /* NULL: not to be had */
    uint8_t context[STORE_SESSION_CONTEXT_BYTES];
};

struct session_map *session_map_new(const struct options *options, const char *dir)
{
    struct session_map *map = calloc(1, sizeof *map);
    const char *reason;

    if (!map)
        die("out of memory: no room for the sessions");
    /* A map that can't be read costs handshakes and nothing else. */
    if (store_open(&map->store, dir, true, &reason) != OUTCOME_OK) {
        map->store = NULL;
        log_event(LOG_WARN, "sessions-not-shared", "reason=\"%s\"", reason);
    }
    session_context(options, map->context);
    return map;
}

void session_map_free(struct session_map *map)
{
    if (!map)
        return;
    store_close(map->store);
    free(map);
}

static uint64_t min_us(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t certificate_end_s(const SSL_SESSION *session)
{
    struct tm tm;
    /* libssl lacks the const in 3.0; nothing is changed. */
    X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);

    if (!peer || ASN1_TIME_to_tm(X509_get0_notAfter(peer), &tm) != 1)
        return 0;
    time_t end = timegm(&tm);
    return end > 0 ? (uint64_t)end : 0;
}

/* From OpenSSL 3.4 on the function with a long is deprecated; 3.0 has no other. */
static int64_t made_at_s(const SSL_SESSION *session)
{
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
    return SSL_SESSION_get_time_ex(session);
#else
    return SSL_SESSION_get_time(session);
#endif
}

uint64_t session_expires_wall_us(const SSL_SESSION *session, bool insecure)
{
    int64_t made_s = made_at_s(session);
    long lifetime_s = SSL_SESSION_get_timeout(session);
    unsigned long hint_s = SSL_SESSION_get_ticket_lifetime_hint(session);

    if (made_s <= 0 || lifetime_s <= 0)
        return 0;
    uint64_t life_s = min_us((uint64_t)lifetime_s, LIFETIME_MAX_S);
    if (hint_s)
        life_s = min_us(life_s, hint_s);
    /* A time out of a hostile record may be any number. */
    uint64_t end_s = min_us((uint64_t)made_s, UINT32_MAX) + life_s;
    return (insecure ? end_s : min_us(end_s, certificate_end_s(session))) * 1000000;
}

static bool is_usable(const SSL_SESSION *session, bool insecure, uint64_t now_wall_us)
{
    int version = SSL_SESSION_get_protocol_version(session);
    uint64_t made_s = (uint64_t)made_at_s(session);

    return SSL_SESSION_is_resumable(session) && (version == TLS1_2_VERSION || version == TLS1_3_VERSION) &&
           made_s <= now_wall_us / 1000000 && session_expires_wall_us(session, insecure) > now_wall_us;
}

/* libssl holds no name against a certificate when it resumes. That a session is offered to the name it was verified for
 * alone is thus what keeps the name true: by the key it is kept under, and by the certificate in it. */
static bool is_of_name(const SSL_SESSION *session, const struct session_name *name)
{
    X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
    const char *sni = SSL_SESSION_get0_hostname(session);

    if (sni && (name->is_ip || strcasecmp(sni, name->verify_name) != 0))
        return false;
    if (name->insecure)
        return true;
    if (!peer)
        return false;
    return name->is_ip ? X509_check_ip_asc(peer, name->verify_name, 0) == 1
                       : X509_check_host(peer, name->verify_name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

SSL_SESSION *session_from_record(const struct store_session *record, const uint8_t context[STORE_SESSION_CONTEXT_BYTES],
                                 const struct session_name *name, uint64_t now_wall_us)
{
    const unsigned char *at = record->der;

    if (memcmp(record->context, context, sizeof record->context) != 0 || record->expires_wall_us <= now_wall_us ||
        record->der_len > sizeof record->der)
        return NULL;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &at, (long)record->der_len);
    if (session && (at != record->der + record->der_len || !is_usable(session, name->insecure, now_wall_us) ||
                    !is_of_name(session, name))) {
        SSL_SESSION_free(session);
        session = NULL;
    }
    ERR_clear_error();
    return session;
}

static uint64_t interval_us(uint64_t expires_wall_us, uint64_t now_wall_us)
{
    return min_us(TELL_INTERVAL_US, (expires_wall_us - now_wall_us) / 2);
}

static const char *profile_of(const struct host_session *kept)
{
    return kept->browser->profile ? kept->browser->profile->name : "";
}

static void ask_map(struct host_session *kept)
{
    const struct pool_host *host = kept->host;
    struct worker *w = host->worker;
    struct store_session record;
    char key[STORE_SESSION_KEY_MAX];
    uint8_t context[STORE_SESSION_CONTEXT_BYTES];
    struct session_name name = {host->verify_name, host->is_ip, w->options.insecure};
    uint64_t now_wall_us = clock_wall_us();

    kept->ask_us = w->now_us + ASK_INTERVAL_US;
    struct store *store = w->sessions->store;
    size_t key_len = store_session_key(key, host->name, host->name_len, host->port, profile_of(kept));
    if (!store || store_session_get(store, key, key_len, now_wall_us, &record) != OUTCOME_OK)
        return;
    session_context_of(w->sessions->context, profile_of(kept), context);
    SSL_SESSION *session = session_from_record(&record, context, &name, now_wall_us);
    if (!session)
        return;
    pool_keep_session(kept, session);
    kept->is_shared = true;
    kept->tell_us = w->now_us + interval_us(record.expires_wall_us, now_wall_us);
    STATS_ADD(w->page, sessions_shared, 1);
}

/* The host's own session, else one out of the map; NULL: none. */
static SSL_SESSION *session_for(struct host_session *kept)
{
    struct worker *w = kept->host->worker;

    if (kept->session && !is_usable(kept->session, w->options.insecure, clock_wall_us()))
        pool_keep_session(kept, NULL);
    if (!kept->session && w->sessions && w->now_us >= kept->ask_us)
        ask_map(kept);
    return kept->session;
}

static void tell(struct host_session *kept, const SSL_SESSION *session)
{
    const struct pool_host *host = kept->host;
    struct worker *w = host->worker;
    struct store_session record;
    uint8_t bytes[STORE_SESSION_RECORD_MAX];
    unsigned char *at = record.der;
    uint64_t now_wall_us = clock_wall_us();
    struct result_message m = {.kind = RESULT_SESSION,
                               .host = host->index,
                               .host_generation = host->generation,
                               .ip = IP_NONE,
                               .status = profile_set_find(profile_of(kept), strlen(profile_of(kept)))};

    record.expires_wall_us = session_expires_wall_us(session, w->options.insecure);
    int len = i2d_SSL_SESSION(session, NULL);
    if (!is_usable(session, w->options.insecure, now_wall_us) || len <= 0 || len > STORE_SESSION_DER_MAX) {
        kept->tell_us = w->now_us + TELL_INTERVAL_US;
        return;
    }
    record.der_len = (uint32_t)i2d_SSL_SESSION(session, &at);
    session_context_of(w->sessions->context, profile_of(kept), record.context);
    if (outbox_offer(w, &m, bytes, store_session_encode(&record, bytes)))
        kept->tell_us = w->now_us + interval_us(record.expires_wall_us, now_wall_us);
}

/* libssl declares the session of a connection that ends without close_notify unusable, as SSL 3 wanted; since TLS 1.1
 * it is as good as before (RFC 4346 7.2.1). So connections have copies. */
static void keep_copy(struct host_session *kept, const SSL_SESSION *session)
{
    SSL_SESSION *copy = SSL_SESSION_dup(session);

    if (copy)
        pool_keep_session(kept, copy);
}

bool session_offer(struct conn *conn)
{
    conn->kept = pool_session_of(conn->host, conn->browser);
    SSL_SESSION *session = session_for(conn->kept);
    SSL_SESSION *copy = session ? SSL_SESSION_dup(session) : NULL;
    bool offered = copy && SSL_set_session(conn->ssl, copy) == 1;

    SSL_SESSION_free(copy);
    if (offered)
        conn->session_number = conn->kept->number;
    return offered;
}

void session_take(struct conn *conn, const SSL_SESSION *session)
{
    struct worker *w = conn->worker;

    /* In TLS 1.2 the new one comes before the handshake is done. */
    if (!SSL_session_reused(conn->ssl))
        session_refused(conn);
    keep_copy(conn->kept, session);
    if (w->sessions && w->now_us >= conn->kept->tell_us)
        tell(conn->kept, session);
}

void session_refused(struct conn *conn)
{
    struct host_session *kept = conn->kept;
    uint32_t number = conn->session_number;

    conn->session_number = 0;
    if (number == 0 || number != kept->number)
        return;
    if (kept->is_shared)
        kept->tell_us = 0;
    kept->ask_us = conn->worker->now_us + REFUSED_ASK_US;
    pool_keep_session(kept, NULL);
}

void session_spoiled(struct conn *conn)
{
    conn->session_number = 0;
    pool_keep_session(conn->kept, NULL);
    conn->kept->ask_us = conn->worker->now_us + REFUSED_ASK_US;
}
