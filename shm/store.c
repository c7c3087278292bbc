/* The map's typed, versioned records. The coordinator keeps one write transaction open from the first change to the
 * next store_commit(), so that it reads its own writes; everybody else reads snapshots. */
#include "shm/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "shm/store_parts.h"

#define NAME_BYTES_MAX 300   /* of a key; LMDB itself takes 511 */
#define PURGE_BATCH    10000 /* deletions in one transaction: LMDB bounds its dirty pages */

/* A record's first bytes. Layouts are in the order of this machine: a map is not carried to another one. */
#define RECORD_TYPE_DNS    'D'
#define RECORD_VERSION_DNS 1

struct record_dns {
    uint8_t type;
    uint8_t version;
    uint8_t result; /* enum record_dns_result: outcomes are renumbered when the table grows, these are not */
    uint8_t reserved;
    uint32_t count;
    uint64_t expires_wall_us;
};
_Static_assert(sizeof(struct record_dns) == 16, "struct record_dns is written to disk");

enum record_dns_result { RESULT_OK = 0, RESULT_NXDOMAIN = 1, RESULT_SERVFAIL = 2, RESULT_TIMEOUT = 3 };

static bool record_to_dns(const MDB_val *value, struct store_dns **dns_out)
{
    static const enum outcome outcomes[] = {
        [RESULT_OK] = OUTCOME_OK,
        [RESULT_NXDOMAIN] = OUTCOME_DNS_NXDOMAIN,
        [RESULT_SERVFAIL] = OUTCOME_DNS_SERVFAIL,
        [RESULT_TIMEOUT] = OUTCOME_DNS_TIMEOUT,
    };
    struct record_dns record;

    if (value->mv_size < sizeof record)
        return false;
    memcpy(&record, value->mv_data, sizeof record);
    size_t bytes = record.count * sizeof(struct address);
    if (record.type != RECORD_TYPE_DNS || record.version != RECORD_VERSION_DNS || record.result > RESULT_TIMEOUT ||
        record.count > STORE_ADDRESSES_MAX || value->mv_size != sizeof record + bytes ||
        (record.result == RESULT_OK) != (record.count > 0))
        return false;
    struct store_dns *dns = calloc(1, sizeof *dns + bytes);
    if (!dns)
        die("out of memory: no room for %u addresses from the map", record.count);
    dns->expires_wall_us = record.expires_wall_us;
    dns->outcome = outcomes[record.result];
    dns->count = record.count;
    memcpy(dns->addresses, (const char *)value->mv_data + sizeof record, bytes);
    *dns_out = dns;
    return true;
}

const char *store_error(int rc)
{
    return rc == EIO ? "the disk is full, or broken" : mdb_strerror(rc);
}

void store_tell_failure(struct store *s, const char *what, int rc)
{
    if (!s->failure_told)
        log_event(LOG_WARN, "store-failed", "step=%s error=\"%s\": going on without writing the map", what,
                  store_error(rc));
    s->failure_told = true;
}

MDB_txn *store_begin_write(struct store *s)
{
    if (!s->writer && !s->read_only) {
        int rc = mdb_txn_begin(s->env, NULL, 0, &s->writer);
        if (rc != 0) {
            s->writer = NULL;
            store_tell_failure(s, "begin", rc);
        }
    }
    return s->writer;
}

void store_drop_write(struct store *s, const char *what, int rc)
{
    store_tell_failure(s, what, rc);
    mdb_txn_abort(s->writer);
    s->writer = NULL;
}

MDB_txn *store_begin_read(struct store *s)
{
    if (s->writer)
        return s->writer;
    int rc = s->reader ? mdb_txn_renew(s->reader) : mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);
    if (rc == 0)
        return s->reader;
    store_tell_failure(s, "read", rc);
    return NULL;
}

void store_end_read(struct store *s, MDB_txn *txn)
{
    if (txn == s->reader)
        mdb_txn_reset(txn);
}

bool store_dns_is_of_use(const MDB_val *value, uint64_t now_wall_us)
{
    struct store_dns *dns = NULL;
    bool good = record_to_dns(value, &dns) && dns->expires_wall_us > now_wall_us;

    free(dns);
    return good;
}

/* Deletes up to PURGE_BATCH records that are expired or unreadable; returns how many. */
static size_t purge_batch(struct store *s, uint64_t now_wall_us)
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    size_t gone = 0;
    MDB_txn *txn = store_begin_write(s);

    if (!txn)
        return 0;
    int rc = mdb_cursor_open(txn, s->dns, &cursor);
    while (rc == 0 && gone < PURGE_BATCH && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (!store_dns_is_of_use(&value, now_wall_us)) {
            rc = mdb_cursor_del(cursor, 0);
            gone++;
        }
    }
    if (cursor)
        mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        store_drop_write(s, "purge", rc);
        return 0;
    }
    store_commit(s);
    return gone;
}

size_t store_dns_purge(struct store *s, uint64_t now_wall_us)
{
    size_t gone = 0;
    size_t batch = PURGE_BATCH;

    while (batch == PURGE_BATCH) {
        batch = purge_batch(s, now_wall_us);
        gone += batch;
    }
    return gone;
}

enum outcome store_dns_get(struct store *s, const char *name, size_t name_len, uint64_t now_wall_us,
                           struct store_dns **dns_out)
{
    MDB_val key = {name_len, (void *)(uintptr_t)name};
    MDB_val value;
    struct store_dns *dns = NULL;

    if (name_len == 0 || name_len > NAME_BYTES_MAX)
        return OUTCOME_NOT_FOUND;
    MDB_txn *txn = store_begin_read(s);
    if (!txn)
        return OUTCOME_NOT_FOUND;
    int rc = mdb_get(txn, s->dns, &key, &value);
    if (rc != 0 && rc != MDB_NOTFOUND)
        store_tell_failure(s, "get", rc);
    bool found = rc == 0 && record_to_dns(&value, &dns);
    store_end_read(s, txn);
    if (found && dns->expires_wall_us <= now_wall_us) {
        free(dns);
        found = false;
    }
    if (!found)
        return OUTCOME_NOT_FOUND;
    *dns_out = dns;
    return OUTCOME_OK;
}

static bool result_of_outcome(enum outcome outcome, uint8_t *result_out)
{
    if (outcome == OUTCOME_OK)
        *result_out = RESULT_OK;
    else if (outcome == OUTCOME_DNS_NXDOMAIN)
        *result_out = RESULT_NXDOMAIN;
    else if (outcome == OUTCOME_DNS_SERVFAIL)
        *result_out = RESULT_SERVFAIL;
    else if (outcome == OUTCOME_DNS_TIMEOUT)
        *result_out = RESULT_TIMEOUT;
    else
        return false;
    return true;
}

void store_dns_put(struct store *s, const char *name, size_t name_len, const struct store_dns *dns)
{
    struct record_dns record = {.type = RECORD_TYPE_DNS, .version = RECORD_VERSION_DNS};
    size_t bytes = dns->count * sizeof dns->addresses[0];
    MDB_val key = {name_len, (void *)(uintptr_t)name};
    MDB_val value = {sizeof record + bytes, NULL};

    if (name_len == 0 || name_len > NAME_BYTES_MAX || dns->count > STORE_ADDRESSES_MAX ||
        (dns->outcome == OUTCOME_OK) != (dns->count > 0) || !result_of_outcome(dns->outcome, &record.result) ||
        !store_begin_write(s))
        return;
    record.count = dns->count;
    record.expires_wall_us = dns->expires_wall_us;
    int rc = mdb_put(s->writer, s->dns, &key, &value, MDB_RESERVE);
    if (rc != 0) {
        store_drop_write(s, "put", rc);
        return;
    }
    memcpy(value.mv_data, &record, sizeof record);
    memcpy((char *)value.mv_data + sizeof record, dns->addresses, bytes);
}

void store_commit(struct store *s)
{
    if (!s->writer)
        return;
    int rc = mdb_txn_commit(s->writer);
    s->writer = NULL;
    if (rc != 0)
        store_tell_failure(s, "commit", rc);
}

bool store_is_pending(const struct store *s)
{
    return s->writer != NULL;
}

void store_dns_each(struct store *s,
                    bool (*each)(void *user, const char *name, size_t name_len, const struct store_dns *dns),
                    void *user)
{
    char name[NAME_BYTES_MAX];
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    bool more = true;
    MDB_txn *txn = store_begin_read(s);

    if (!txn)
        return;
    int rc = mdb_cursor_open(txn, s->dns, &cursor);
    while (rc == 0 && more && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct store_dns *dns = NULL;
        size_t name_len = key.mv_size;
        if (name_len > sizeof name || !record_to_dns(&value, &dns))
            continue;
        memcpy(name, key.mv_data, name_len);
        more = each(user, name, name_len, dns);
        free(dns);
    }
    if (cursor)
        mdb_cursor_close(cursor);
    store_end_read(s, txn);
}
