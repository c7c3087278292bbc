#pragma once
/* TLS sessions for resumption: a host's own, and those that all workers of this run and of earlier ones share through
 * the map. This worker reads the map and never writes it; what it has to add it tells the coordinator. A session stands
 * for a verification that is not made again, so that one is used only for the very name, by workers that verify in the
 * very way. */

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/options.h"
#include "shm/store_session.h"

struct conn;
struct pool_host;
struct session_map;

/* Sessions shared through the map in `dir`, which is opened here, as are the files that `options` trusts. */
struct session_map *session_map_new(const struct options *options, const char *dir);
/* NULL is fine. */
void session_map_free(struct session_map *map);

/* Has the connection's handshake, about to begin, offer the session of its host and browser, or one out of the map;
 * false: there is none. */
bool session_offer(struct conn *conn);
/* The peer gave a session: a copy is kept, and told of when the map may not have one as good. */
void session_take(struct conn *conn, const SSL_SESSION *session);
/* What the connection offered was not resumed: it is not offered again. */
void session_refused(struct conn *conn);
/* TLS on the connection broke: its host's session is not to be relied on (RFC 5246 7.2.2). */
void session_spoiled(struct conn *conn);

/* Digest of all that decides who is trusted: -k, the trust store's content, the library. Certificate directories count
 * by name and time of change, not by their files' content. */
void session_context(const struct options *options, uint8_t out[STORE_SESSION_CONTEXT_BYTES]);
/* Of a context, the one for sessions of a profile ("": none): not who is trusted, but whose they are. One browser never
 * resumes what another began. */
void session_context_of(const uint8_t base[STORE_SESSION_CONTEXT_BYTES], const char *profile,
                        uint8_t out[STORE_SESSION_CONTEXT_BYTES]);
/* How the name of a host is held against a session's certificate. */
struct session_name {
    const char *verify_name; /* as for the handshake: no brackets, no trailing dot */
    bool is_ip, insecure;
};
/* The session in a record of `context` that may be offered to a host of that name at `now_wall_us`; NULL: none. The
 * record may hold any bytes. */
SSL_SESSION *session_from_record(const struct store_session *record, const uint8_t context[STORE_SESSION_CONTEXT_BYTES],
                                 const struct session_name *name, uint64_t now_wall_us);
/* When a session is of no use any more, wall time in µs; where peers are verified its certificate ends it too. */
uint64_t session_expires_wall_us(const SSL_SESSION *session, bool insecure);
