/* Kept answers: one record for each URL, under the digest of it. */
#include <string.h>

#include "common/log.h"
#include "shm/store.h"
#include "shm/store_parts.h"

#define PURGE_BATCH           10000 /* deletions in one transaction: LMDB bounds its dirty pages */
#define RECORD_TYPE_ANSWER    'A'
#define RECORD_VERSION_ANSWER 1

struct record_answer {
    uint8_t type;
    uint8_t version;
    uint8_t reserved[6];
    uint64_t wall_us;
};
_Static_assert(sizeof(struct record_answer) == 16, "struct record_answer is written to disk");

static bool read_record(const MDB_val *value, struct record_answer *record_out)
{
    if (value->mv_size < sizeof *record_out || value->mv_size > sizeof *record_out + STORE_ANSWER_MAX)
        return false;
    memcpy(record_out, value->mv_data, sizeof *record_out);
    return record_out->type == RECORD_TYPE_ANSWER && record_out->version == RECORD_VERSION_ANSWER;
}

/* Deletes up to PURGE_BATCH records that are too old or unreadable; returns how many. */
static size_t purge_batch(struct store *s, uint64_t oldest_wall_us)
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    size_t gone = 0;
    MDB_txn *txn = store_begin_write(s);

    if (!txn)
        return 0;
    int rc = mdb_cursor_open(txn, s->answers, &cursor);
    while (rc == 0 && gone < PURGE_BATCH && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct record_answer record;
        if (read_record(&value, &record) && record.wall_us >= oldest_wall_us)
            continue;
        rc = mdb_cursor_del(cursor, 0);
        gone++;
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

enum outcome store_answer_open(struct store *s, uint64_t oldest_wall_us)
{
    size_t gone = 0;
    size_t batch = PURGE_BATCH;
    MDB_txn *txn = store_begin_write(s);

    if (!txn)
        return OUTCOME_SYSTEM;
    int rc = mdb_dbi_open(txn, "answers", MDB_CREATE, &s->answers);
    if (rc != 0) {
        store_drop_write(s, "open", rc);
        return OUTCOME_SYSTEM;
    }
    store_commit(s);
    while (batch == PURGE_BATCH) {
        batch = purge_batch(s, oldest_wall_us);
        gone += batch;
    }
    if (gone)
        log_event(LOG_INFO, "answers-purged", "answers=%zu", gone);
    return OUTCOME_OK;
}

/* True when the key is new and there are `max` others. */
static bool is_full(struct store *s, MDB_val *key, uint64_t max)
{
    MDB_stat stat;
    MDB_val value;

    return mdb_stat(s->writer, s->answers, &stat) == 0 && stat.ms_entries >= max &&
           mdb_get(s->writer, s->answers, key, &value) == MDB_NOTFOUND;
}

enum outcome store_answer_put(struct store *s, const uint8_t key_bytes[STORE_ANSWER_KEY_BYTES], uint64_t wall_us,
                              const char *text, size_t len, uint64_t max)
{
    struct record_answer record = {.type = RECORD_TYPE_ANSWER, .version = RECORD_VERSION_ANSWER, .wall_us = wall_us};
    MDB_val key = {STORE_ANSWER_KEY_BYTES, (void *)(uintptr_t)key_bytes};
    MDB_val value = {sizeof record + len, NULL};

    if (len > STORE_ANSWER_MAX || !store_begin_write(s))
        return OUTCOME_SYSTEM;
    if (is_full(s, &key, max))
        return OUTCOME_FULL;
    int rc = mdb_put(s->writer, s->answers, &key, &value, MDB_RESERVE);
    if (rc != 0) {
        store_drop_write(s, "put", rc);
        return OUTCOME_SYSTEM;
    }
    memcpy(value.mv_data, &record, sizeof record);
    memcpy((char *)value.mv_data + sizeof record, text, len);
    return OUTCOME_OK;
}

enum outcome store_answer_get(struct store *s, const uint8_t key_bytes[STORE_ANSWER_KEY_BYTES], uint64_t oldest_wall_us,
                              struct buffer *text_out, uint64_t *wall_us_out)
{
    MDB_val key = {STORE_ANSWER_KEY_BYTES, (void *)(uintptr_t)key_bytes};
    struct record_answer record;
    MDB_val value;
    MDB_txn *txn = store_begin_read(s);

    buffer_clear(text_out);
    if (!txn)
        return OUTCOME_NOT_FOUND;
    bool found =
        mdb_get(txn, s->answers, &key, &value) == 0 && read_record(&value, &record) && record.wall_us >= oldest_wall_us;
    if (found) {
        buffer_append(text_out, (const char *)value.mv_data + sizeof record, value.mv_size - sizeof record);
        *wall_us_out = record.wall_us;
    }
    store_end_read(s, txn);
    return found ? OUTCOME_OK : OUTCOME_NOT_FOUND;
}
