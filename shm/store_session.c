/* The map's records of TLS sessions, and how their number is kept within bounds: a hand goes round the keys, drops what
 * is expired where it passes, and whatever it points at when room is needed. */
#include "shm/store_session.h"

#include <stdio.h>
#include <string.h>

#include "shm/store_parts.h"

#define RECORD_TYPE_SESSION    'S'
#define RECORD_VERSION_SESSION 1
#define EVICT_BATCH            8 /* a session takes the pages of at most as many others */

struct record_session {
    uint8_t type;
    uint8_t version;
    uint8_t reserved[2];
    uint32_t der_len;
    uint64_t expires_wall_us;
    uint8_t context[STORE_SESSION_CONTEXT_BYTES];
};
_Static_assert(sizeof(struct record_session) == 48, "struct record_session is written to disk");
_Static_assert(sizeof(struct record_session) + STORE_SESSION_DER_MAX == STORE_SESSION_RECORD_MAX, "the largest record");
_Static_assert(STORE_SESSION_KEY_MAX <= STORE_KEY_BYTES_MAX, "the hand must be able to hold each key");

size_t store_session_encode(const struct store_session *session, uint8_t out[STORE_SESSION_RECORD_MAX])
{
    struct record_session record = {
        .type = RECORD_TYPE_SESSION,
        .version = RECORD_VERSION_SESSION,
        .der_len = session->der_len,
        .expires_wall_us = session->expires_wall_us,
    };

    memcpy(record.context, session->context, sizeof record.context);
    memcpy(out, &record, sizeof record);
    memcpy(out + sizeof record, session->der, session->der_len);
    return sizeof record + session->der_len;
}

static bool read_head(const void *bytes, size_t len, struct record_session *out)
{
    if (len < sizeof *out)
        return false;
    memcpy(out, bytes, sizeof *out);
    return out->type == RECORD_TYPE_SESSION && out->version == RECORD_VERSION_SESSION && out->der_len > 0 &&
           out->der_len <= STORE_SESSION_DER_MAX && out->der_len == len - sizeof *out;
}

bool store_session_decode(const void *bytes, size_t len, struct store_session *out)
{
    struct record_session record;

    if (!read_head(bytes, len, &record))
        return false;
    out->expires_wall_us = record.expires_wall_us;
    out->der_len = record.der_len;
    memcpy(out->context, record.context, sizeof out->context);
    memcpy(out->der, (const uint8_t *)bytes + sizeof record, record.der_len);
    return true;
}

size_t store_session_key(char out[STORE_SESSION_KEY_MAX], const char *name, size_t name_len, uint16_t port,
                         const char *profile)
{
    int n = snprintf(out, STORE_SESSION_KEY_MAX, "https://%.*s:%u %s", (int)name_len, name, port, profile);

    return name_len > 0 && name_len < STORE_SESSION_KEY_MAX && n > 0 && n < STORE_SESSION_KEY_MAX ? (size_t)n : 0;
}

enum outcome store_session_get(struct store *s, const char *key_text, size_t key_len, uint64_t now_wall_us,
                               struct store_session *out)
{
    MDB_val key = {key_len, (void *)(uintptr_t)key_text};
    MDB_val value;

    if (!s->has_sessions || key_len == 0 || key_len > STORE_SESSION_KEY_MAX)
        return OUTCOME_NOT_FOUND;
    MDB_txn *txn = store_begin_read(s);
    if (!txn)
        return OUTCOME_NOT_FOUND;
    int rc = mdb_get(txn, s->sessions, &key, &value);
    if (rc != 0 && rc != MDB_NOTFOUND)
        store_tell_failure(s, "get", rc);
    bool found = rc == 0 && store_session_decode(value.mv_data, value.mv_size, out);
    store_end_read(s, txn);
    return found && out->expires_wall_us > now_wall_us ? OUTCOME_OK : OUTCOME_NOT_FOUND;
}

/* Moves the hand over `looks` records, up to the last key: the next call begins at the first again. Drops the first
 * `evictions` of them, and those of no use after `now_wall_us`; returns how many. */
static unsigned move_hand(struct store *s, uint64_t now_wall_us, unsigned looks, unsigned evictions)
{
    MDB_cursor *cursor = NULL;
    MDB_val key = {s->hand_len, s->hand};
    MDB_val value;
    unsigned gone = 0;
    MDB_txn *txn = store_begin_write(s);

    if (!txn)
        return 0;
    int rc = mdb_cursor_open(txn, s->sessions, &cursor);
    if (rc == 0)
        rc = s->hand_len ? mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) : MDB_NOTFOUND;
    if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (unsigned looked = 0; rc == 0 && looked < looks; looked++) {
        struct record_session record;
        if (looked < evictions || !read_head(value.mv_data, value.mv_size, &record) ||
            record.expires_wall_us <= now_wall_us) {
            rc = mdb_cursor_del(cursor, 0);
            gone++;
        }
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    s->hand_len = rc == 0 && key.mv_size <= sizeof s->hand ? key.mv_size : 0;
    if (s->hand_len)
        memcpy(s->hand, key.mv_data, s->hand_len);
    if (cursor)
        mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        store_drop_write(s, "purge", rc);
        return 0;
    }
    return gone;
}

/* For a session that is about to be written. */
static void make_room(struct store *s, MDB_val *key)
{
    MDB_stat stat;
    MDB_val there;

    if (mdb_stat(s->writer, s->sessions, &stat) != 0)
        return;
    size_t bytes = (stat.ms_leaf_pages + stat.ms_branch_pages + stat.ms_overflow_pages) * stat.ms_psize;
    if (bytes > s->sessions_bytes_max)
        move_hand(s, 0, EVICT_BATCH, EVICT_BATCH);
    else if (stat.ms_entries >= s->sessions_max && mdb_get(s->writer, s->sessions, key, &there) == MDB_NOTFOUND)
        move_hand(s, 0, 1, 1);
}

void store_session_put(struct store *s, const char *key_text, size_t key_len, const struct store_session *session)
{
    uint8_t record[STORE_SESSION_RECORD_MAX];
    MDB_val key = {key_len, (void *)(uintptr_t)key_text};
    MDB_val value = {0, record};

    if (!s->has_sessions || key_len == 0 || key_len > STORE_SESSION_KEY_MAX || session->der_len == 0 ||
        session->der_len > STORE_SESSION_DER_MAX || !store_begin_write(s))
        return;
    make_room(s, &key);
    if (!s->writer)
        return;
    value.mv_size = store_session_encode(session, record);
    int rc = mdb_put(s->writer, s->sessions, &key, &value, 0);
    if (rc != 0)
        store_drop_write(s, "put", rc);
}

unsigned store_session_purge(struct store *s, uint64_t now_wall_us, unsigned looks)
{
    return s->has_sessions && !s->read_only ? move_hand(s, now_wall_us, looks, 0) : 0;
}

size_t store_session_count(struct store *s)
{
    MDB_stat stat;
    MDB_txn *txn = s->has_sessions ? store_begin_read(s) : NULL;

    if (!txn)
        return 0;
    int rc = mdb_stat(txn, s->sessions, &stat);
    store_end_read(s, txn);
    return rc == 0 ? stat.ms_entries : 0;
}
