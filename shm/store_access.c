/* Access records in the map: keys with lengths, typed and versioned values. */
#include "shm/store_access.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "shm/iptable.h"
#include "shm/store_parts.h"

#define RECORD_TYPE_ACCESS    'A'
#define RECORD_VERSION_ACCESS 1
#define KEY_BYTES_MAX         (3 + STORE_ORIGIN_MAX + 18)
#define REMOVED_IN_ONE_GO     10000 /* LMDB bounds the pages that one transaction may change */

struct record_access {
    uint8_t type;
    uint8_t version;
    uint8_t state; /* ACCESS_WHITE 1, ACCESS_BLACK 2 */
    uint8_t reserved;
    uint32_t tries;
    uint64_t since_wall_us, next_check_wall_us, expires_wall_us;
    uint16_t reason_len, path_len;
    uint8_t reserved2[4];
};
_Static_assert(sizeof(struct record_access) == 40, "struct record_access is written to disk");
_Static_assert(ACCESS_WHITE == 1 && ACCESS_BLACK == 2, "access states are written to disk");

static const char source_letters[] = {[STORE_LEARNED] = 'L', [STORE_MANUAL] = 'M', [STORE_LIST] = 'S'};

/* Source, length of the host in two bytes, host: what all keys of one host begin with. */
static size_t put_host(uint8_t out[KEY_BYTES_MAX], enum store_access_source source, const char *host, size_t host_len)
{
    out[0] = (uint8_t)source_letters[source];
    out[1] = (uint8_t)(host_len >> 8);
    out[2] = (uint8_t)host_len;
    memcpy(out + 3, host, host_len);
    return 3 + host_len;
}

/* 0: the key has no room. */
static size_t key_pack(uint8_t out[KEY_BYTES_MAX], const struct store_access_key *key)
{
    const struct ip_prefix *p = &key->prefix;

    if (key->host_len > STORE_ORIGIN_MAX || (p->address.family != 4 && p->address.family != 6))
        return 0;
    size_t n = put_host(out, key->source, key->host, key->host_len);
    out[n++] = p->address.family;
    out[n++] = p->len;
    memcpy(out + n, p->address.bytes, sizeof p->address.bytes);
    return n + sizeof p->address.bytes;
}

static bool key_unpack(const MDB_val *packed, uint8_t copy[KEY_BYTES_MAX], struct store_access_key *key_out)
{
    size_t n = packed->mv_size;

    if (n < 3 + 18 || n > KEY_BYTES_MAX)
        return false;
    memcpy(copy, packed->mv_data, n);
    size_t host_len = (size_t)copy[1] << 8 | copy[2];
    const uint8_t *tail = copy + 3 + host_len;
    const char *letter = memchr(source_letters, copy[0], sizeof source_letters);
    if (!letter || n != 3 + host_len + 18 || (tail[0] != 4 && tail[0] != 6) || tail[1] > ip_prefix_bits(tail[0]))
        return false;
    *key_out = (struct store_access_key){
        .source = (enum store_access_source)(letter - source_letters),
        .host = (const char *)copy + 3,
        .host_len = host_len,
        .prefix = {.address = {.family = tail[0]}, .len = tail[1]},
    };
    memcpy(key_out->prefix.address.bytes, tail + 2, 16);
    struct ip_prefix clear = ip_prefix_of(&key_out->prefix.address, tail[1]);
    return memcmp(clear.address.bytes, key_out->prefix.address.bytes, sizeof clear.address.bytes) == 0;
}

static bool value_unpack(const MDB_val *value, struct store_access *out)
{
    struct record_access r;

    if (value->mv_size < sizeof r)
        return false;
    memcpy(&r, value->mv_data, sizeof r);
    if (r.type != RECORD_TYPE_ACCESS || r.version != RECORD_VERSION_ACCESS ||
        (r.state != ACCESS_WHITE && r.state != ACCESS_BLACK) || r.reason_len > STORE_REASON_MAX ||
        r.path_len > STORE_PATH_MAX || value->mv_size != sizeof r + r.reason_len + r.path_len)
        return false;
    out->state = r.state;
    out->tries = r.tries;
    out->since_wall_us = r.since_wall_us;
    out->next_check_wall_us = r.next_check_wall_us;
    out->expires_wall_us = r.expires_wall_us;
    out->reason_len = r.reason_len;
    out->path_len = r.path_len;
    memcpy(out->reason, (const char *)value->mv_data + sizeof r, r.reason_len);
    memcpy(out->path, (const char *)value->mv_data + sizeof r + r.reason_len, r.path_len);
    return true;
}

void store_access_set_reason(struct store_access *record, const char *text, size_t len)
{
    record->reason_len = (uint16_t)(len < STORE_REASON_MAX ? len : STORE_REASON_MAX);
    memcpy(record->reason, text, record->reason_len);
}

bool store_access_get(struct store *s, const struct store_access_key *key, struct store_access *out)
{
    uint8_t packed[KEY_BYTES_MAX];
    MDB_val k = {key_pack(packed, key), packed};
    MDB_val value;

    MDB_txn *txn = s->has_access && k.mv_size ? store_begin_read(s) : NULL;
    if (!txn)
        return false;
    int rc = mdb_get(txn, s->access, &k, &value);
    if (rc != 0 && rc != MDB_NOTFOUND)
        store_tell_failure(s, "get", rc);
    bool found = rc == 0 && value_unpack(&value, out);
    store_end_read(s, txn);
    return found;
}

void store_access_put(struct store *s, const struct store_access_key *key, const struct store_access *record)
{
    uint8_t packed[KEY_BYTES_MAX];
    MDB_val k = {key_pack(packed, key), packed};
    struct record_access r = {
        .type = RECORD_TYPE_ACCESS,
        .version = RECORD_VERSION_ACCESS,
        .state = record->state,
        .tries = record->tries,
        .since_wall_us = record->since_wall_us,
        .next_check_wall_us = record->next_check_wall_us,
        .expires_wall_us = record->expires_wall_us,
        .reason_len = record->reason_len < STORE_REASON_MAX ? record->reason_len : STORE_REASON_MAX,
        .path_len = record->path_len < STORE_PATH_MAX ? record->path_len : STORE_PATH_MAX,
    };
    MDB_val value = {sizeof r + r.reason_len + r.path_len, NULL};

    if (!s->has_access || !k.mv_size || !store_begin_write(s))
        return;
    int rc = mdb_put(s->writer, s->access, &k, &value, MDB_RESERVE);
    if (rc != 0) {
        store_drop_write(s, "put", rc);
        return;
    }
    memcpy(value.mv_data, &r, sizeof r);
    memcpy((char *)value.mv_data + sizeof r, record->reason, r.reason_len);
    memcpy((char *)value.mv_data + sizeof r + r.reason_len, record->path, r.path_len);
}

/* All records whose keys begin with `prefix`. */
static void each_below(struct store *s, const uint8_t *prefix, size_t prefix_len, store_access_on_record each,
                       void *user)
{
    struct store_access_key key;
    struct store_access record;
    uint8_t copy[KEY_BYTES_MAX];
    MDB_cursor *cursor = NULL;
    MDB_val k = {prefix_len, (void *)(uintptr_t)prefix};
    MDB_val value;
    MDB_txn *txn = s->has_access ? store_begin_read(s) : NULL;

    if (!txn)
        return;
    int rc = mdb_cursor_open(txn, s->access, &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, &value, prefix_len ? MDB_SET_RANGE : MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &value, MDB_NEXT)) {
        if (k.mv_size < prefix_len || (prefix_len && memcmp(k.mv_data, prefix, prefix_len) != 0))
            break;
        if (key_unpack(&k, copy, &key) && value_unpack(&value, &record) && !each(user, &key, &record))
            break;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    store_end_read(s, txn);
}

void store_access_each(struct store *s, store_access_on_record each, void *user)
{
    each_below(s, NULL, 0, each, user);
}

void store_access_each_of(struct store *s, enum store_access_source source, const char *host, size_t host_len,
                          store_access_on_record each, void *user)
{
    uint8_t prefix[KEY_BYTES_MAX] = {(uint8_t)source_letters[source]};

    if (host_len > STORE_ORIGIN_MAX)
        return;
    each_below(s, prefix, host ? put_host(prefix, source, host, host_len) : 1, each, user);
}

size_t store_access_remove_if(struct store *s, store_access_on_record wanted, void *user)
{
    struct store_access_key key;
    struct store_access record;
    uint8_t copy[KEY_BYTES_MAX];
    MDB_cursor *cursor = NULL;
    MDB_val k;
    MDB_val value;
    size_t gone = 0;

    if (!s->has_access || !store_begin_write(s))
        return 0;
    int rc = mdb_cursor_open(s->writer, s->access, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &k, &value, MDB_NEXT)) == 0) {
        if (!key_unpack(&k, copy, &key) || !value_unpack(&value, &record) || !wanted(user, &key, &record))
            continue;
        rc = mdb_cursor_del(cursor, 0);
        gone++;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        store_drop_write(s, "remove", rc);
    return gone;
}

static bool purge_one(void *user, const struct store_access_key *key, const struct store_access *record)
{
    size_t *left = user;

    /* What is forgotten of these is only that nothing was wrong. */
    if (key->source != STORE_LEARNED || record->state != ACCESS_WHITE || *left == 0)
        return false;
    --*left;
    return true;
}

size_t store_access_purge(struct store *s)
{
    size_t gone = 0;
    size_t batch = REMOVED_IN_ONE_GO;

    while (batch == REMOVED_IN_ONE_GO) {
        size_t left = REMOVED_IN_ONE_GO;
        batch = store_access_remove_if(s, purge_one, &left);
        store_commit(s);
        gone += batch;
    }
    return gone;
}

static void put_time(struct buffer *out, const char *key, size_t key_len, uint64_t wall_us)
{
    char text[CLOCK_RFC3339_LEN];

    json_put_key(out, key, key_len);
    if (wall_us == 0) {
        buffer_append_str(out, "null");
        return;
    }
    clock_rfc3339(wall_us, text);
    json_put_string(out, text, sizeof text);
}

void store_access_print(struct buffer *out, const struct store_access_key *key, const struct store_access *record)
{
    static const char *const sources[] = {
        [STORE_LEARNED] = "learned", [STORE_MANUAL] = "manual", [STORE_LIST] = "list"};
    bool single = key->prefix.len == ip_prefix_bits(key->prefix.address.family);
    char text[IP_PREFIX_TEXT_MAX];
    size_t len = ip_prefix_format(&key->prefix, text);

    json_open(out);
    if (single)
        json_member_string(out, "address", text, len);
    else
        json_member_string(out, "cidr", text, len);
    json_key(out, "host");
    if (key->host_len)
        json_put_string(out, key->host, key->host_len);
    else
        buffer_append_str(out, "null");
    json_key(out, "state");
    json_put_string(out, record->state == ACCESS_WHITE ? "white" : "black", 5);
    json_member_string(out, "source", sources[key->source], strlen(sources[key->source]));
    json_member_string(out, "reason", record->reason, record->reason_len);
    put_time(out, "since", 5, record->since_wall_us);
    put_time(out, "expires", 7, record->expires_wall_us);
    put_time(out, "next_check", 10, record->next_check_wall_us);
    json_close(out);
    buffer_append_char(out, '\n');
}
