#pragma once
/* TLS sessions in the map: what a worker has negotiated with an origin, for the other workers and the next run to
 * resume. They are secrets: who has one can read and forge what is sent under it, so that the map's files are for their
 * owner alone. Workers encode records and read them, the coordinator checks and writes them; the bytes of the session
 * itself mean nothing here. Nothing that is read is trusted. */

#include "shm/store.h"

#define STORE_SESSION_CONTEXT_BYTES 32
#define STORE_SESSION_DER_MAX       8192
#define STORE_SESSION_RECORD_MAX    (STORE_SESSION_DER_MAX + 48)
#define STORE_SESSION_KEY_MAX       400
#define STORE_SESSIONS_MAX          65536
#define STORE_SESSIONS_BYTES_MAX    ((size_t)256 << 20) /* pages of the map, however large the sessions are */

struct store_session {
    uint64_t expires_wall_us;
    /* Digest of what the peer was verified with, made by the workers: another one's sessions are as good as absent. */
    uint8_t context[STORE_SESSION_CONTEXT_BYTES];
    uint32_t der_len; /* 1..STORE_SESSION_DER_MAX */
    uint8_t der[STORE_SESSION_DER_MAX];
};

/* Writes the record's bytes; returns how many. */
size_t store_session_encode(const struct store_session *session, uint8_t out[STORE_SESSION_RECORD_MAX]);
/* Reads any bytes; false when they are no record of this version. */
must_check bool store_session_decode(const void *bytes, size_t len, struct store_session *out);

/* The key of an origin's session under a client profile ("": the only one there is); returns its length, 0 when it is
 * too long. `name` as in the URL. */
size_t store_session_key(char out[STORE_SESSION_KEY_MAX], const char *name, size_t name_len, uint16_t port,
                         const char *profile);

/* Copies the session kept under `key`; OUTCOME_NOT_FOUND when there is none, or it is expired or unreadable. */
must_check enum outcome store_session_get(struct store *s, const char *key, size_t key_len, uint64_t now_wall_us,
                                          struct store_session *out);
/* Queues a session, to be written by the next store_commit(); others make room for it when there are too many. */
void store_session_put(struct store *s, const char *key, size_t key_len, const struct store_session *session);
/* Looks at the next `looks` records after those looked at last, and drops the expired and unreadable ones; part of the
 * pending changes. Returns how many were dropped. */
unsigned store_session_purge(struct store *s, uint64_t now_wall_us, unsigned looks);
/* How many there are, pending ones included. */
size_t store_session_count(struct store *s);
