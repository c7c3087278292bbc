/* Blocks of lines in LMDB: gathered in memory, written in transactions of some megabytes, deleted with the next one. */
#include "shm/overflow_map.h"

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "shm/store_parts.h"

#define BATCH_BYTES (2u << 20) /* of blocks in one transaction */
#define TAKEN_MAX   256        /* blocks to be deleted before a transaction is made for them alone */
#define LOOKS_MAX   256        /* blocks read before the pages are given back */
#define KEY_BYTES   12

/* Big-endian, so that LMDB's order is that of the numbers. */
struct overflow_key {
    uint8_t bytes[KEY_BYTES];
};

struct waiting_block {
    STAILQ_ENTRY(waiting_block) link;
    struct overflow_key key;
    struct buffer data;
};

struct overflow_map {
    MDB_env *env;
    MDB_dbi blocks;
    MDB_txn *reader;
    STAILQ_HEAD(, waiting_block) waiting; /* not written yet */
    size_t waiting_bytes;
    struct overflow_key *taken; /* written ones that are to be deleted */
    size_t taken_count;
    uintptr_t lowest, highest;        /* addresses of values, in whole pages */
    unsigned looks;                   /* since pages were given back */
    uint64_t stored_bytes, bytes_max; /* of blocks in the file */
    int fd;                           /* of the file, for its size */
    bool full;                        /* the last write failed, and that was told */
};

static enum outcome refuse(const char **reason_out, const char *dir, const char *error)
{
    static char reason[PATH_MAX + 160];

    snprintf(reason, sizeof reason,
             "no lines can be kept in \"%s\" beside the window: %s; make room, or choose another"
             " directory with --state or TMPDIR",
             dir, error);
    *reason_out = reason;
    return OUTCOME_SYSTEM;
}

static struct overflow_key make_key(uint32_t queue, uint64_t number)
{
    struct overflow_key key;

    for (int i = 0; i < 4; i++)
        key.bytes[i] = (uint8_t)(queue >> (24 - 8 * i));
    for (int i = 0; i < 8; i++)
        key.bytes[4 + i] = (uint8_t)(number >> (56 - 8 * i));
    return key;
}

static int open_environment(struct overflow_map *m, const char *path, uint64_t bytes_max)
{
    MDB_txn *txn = NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    /* Beside the blocks there are pages of keys, and of blocks that are deleted and not reused yet. */
    size_t bytes = (size_t)(bytes_max + bytes_max / 4) / page * page + 8 * (size_t)BATCH_BYTES;
    int rc = mdb_env_create(&m->env);

    m->bytes_max = bytes_max;
    if (rc == 0)
        rc = mdb_env_set_mapsize(m->env, bytes);
    if (rc == 0)
        rc = mdb_env_open(m->env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NOSYNC | MDB_NOLOCK | MDB_NORDAHEAD, 0600);
    if (rc == 0)
        rc = mdb_env_get_fd(m->env, &m->fd);
    if (rc == 0)
        rc = mdb_txn_begin(m->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &m->blocks);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    return rc;
}

enum outcome overflow_map_open(struct overflow_map **map_out, const char *dir, uint64_t bytes_max,
                               const char **reason_out)
{
    struct overflow_map *m = calloc(1, sizeof *m);
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/overflow.mdb", dir);

    if (!m || !(m->taken = calloc(TAKEN_MAX, sizeof *m->taken)))
        die("out of memory: no room for the overflow map");
    m->fd = -1;
    STAILQ_INIT(&m->waiting);
    if (n < 0 || (size_t)n >= sizeof path) {
        overflow_map_close(m);
        return refuse(reason_out, dir, "the name is too long");
    }
    unlink(path);
    int rc = open_environment(m, path, bytes_max);
    unlink(path);
    if (rc != 0) {
        overflow_map_close(m);
        return refuse(reason_out, dir, store_error(rc));
    }
    *map_out = m;
    return OUTCOME_OK;
}

static void drop_waiting(struct overflow_map *m, struct waiting_block *block)
{
    STAILQ_REMOVE(&m->waiting, block, waiting_block, link);
    m->waiting_bytes -= block->data.len;
    buffer_fini(&block->data);
    free(block);
}

void overflow_map_close(struct overflow_map *m)
{
    struct waiting_block *block;

    if (!m)
        return;
    while ((block = STAILQ_FIRST(&m->waiting)))
        drop_waiting(m, block);
    if (m->reader)
        mdb_txn_abort(m->reader);
    if (m->env)
        mdb_env_close(m->env);
    free(m->taken);
    free(m);
}

static void tell_failure(struct overflow_map *m, int rc)
{
    if (!m->full)
        log_event(LOG_WARN, "overflow-full",
                  "error=\"%s\": no further input is read until there is room; a larger --overflow-max, or room on the "
                  "disk, ends that at once",
                  rc == MDB_MAP_FULL ? "overflow_max is reached" : store_error(rc));
    m->full = true;
}

/* In a transaction of their own, before that of the blocks: LMDB uses pages that one frees in the next but one. */
static int write_deletions(struct overflow_map *m)
{
    MDB_txn *txn;
    int rc = m->taken_count ? mdb_txn_begin(m->env, NULL, 0, &txn) : 0;

    if (rc != 0 || m->taken_count == 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < m->taken_count; i++) {
        MDB_val key = {KEY_BYTES, m->taken[i].bytes};
        rc = mdb_del(txn, m->blocks, &key, NULL);
        if (rc == MDB_NOTFOUND)
            rc = 0;
    }
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (rc == 0)
        m->taken_count = 0;
    return rc;
}

/* All that waits, or nothing. */
static int write_blocks(struct overflow_map *m)
{
    struct waiting_block *block;
    MDB_txn *txn;
    int rc = mdb_txn_begin(m->env, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    STAILQ_FOREACH(block, &m->waiting, link)
    {
        MDB_val key = {KEY_BYTES, block->key.bytes};
        MDB_val value = {block->data.len, block->data.data};
        if (rc == 0)
            rc = mdb_put(txn, m->blocks, &key, &value, 0);
    }
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* What lies between two values is the map's own. */
static void note_address(struct overflow_map *m, const MDB_val *value)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)value->mv_data & ~(page - 1);
    uintptr_t to = ((uintptr_t)value->mv_data + value->mv_size + page - 1) & ~(page - 1);

    m->lowest = m->lowest && m->lowest < from ? m->lowest : from;
    m->highest = m->highest > to ? m->highest : to;
}

/* Pages that LMDB has looked at, with those that the kernel maps in around them, count as this process's memory for as
 * long as they are mapped in. Of a file's shared mapping nothing is dropped but what maps it in. */
static void give_pages_back(struct overflow_map *m)
{
    if (m->highest > m->lowest)
        (void)madvise((void *)m->lowest, m->highest - m->lowest, MADV_DONTNEED);
    m->looks = 0;
}

static int find_block(struct overflow_map *m, const struct overflow_key *wanted, MDB_val *value_out)
{
    struct overflow_key copy = *wanted;
    MDB_val key = {KEY_BYTES, copy.bytes};
    int rc = m->reader ? mdb_txn_renew(m->reader) : mdb_txn_begin(m->env, NULL, MDB_RDONLY, &m->reader);

    if (rc == 0)
        rc = mdb_get(m->reader, m->blocks, &key, value_out);
    if (rc == 0)
        note_address(m, value_out);
    return rc;
}

static enum outcome write_batch(struct overflow_map *m)
{
    struct waiting_block *block;
    MDB_val value;
    int rc = write_deletions(m);

    if (rc == 0 && m->stored_bytes + m->waiting_bytes > m->bytes_max)
        rc = MDB_MAP_FULL;
    if (rc == 0)
        rc = write_blocks(m);
    if (rc != 0) {
        tell_failure(m, rc);
        return OUTCOME_FULL;
    }
    m->stored_bytes += m->waiting_bytes;
    block = STAILQ_FIRST(&m->waiting);
    if (block && find_block(m, &block->key, &value) == 0)
        give_pages_back(m);
    if (m->reader)
        mdb_txn_reset(m->reader);
    while ((block = STAILQ_FIRST(&m->waiting)))
        drop_waiting(m, block);
    m->full = false;
    return OUTCOME_OK;
}

enum outcome overflow_map_put(struct overflow_map *m, uint32_t queue, uint64_t number, struct buffer *data)
{
    struct waiting_block *block = calloc(1, sizeof *block);

    if (!block)
        die("out of memory: no room for a block of lines");
    block->key = make_key(queue, number);
    block->data = *data;
    *data = (struct buffer){0};
    STAILQ_INSERT_TAIL(&m->waiting, block, link);
    m->waiting_bytes += block->data.len;
    return m->waiting_bytes >= BATCH_BYTES ? write_batch(m) : OUTCOME_OK;
}

enum outcome overflow_map_retry(struct overflow_map *m)
{
    return m->full ? write_batch(m) : OUTCOME_OK;
}

static bool take_waiting(struct overflow_map *m, const struct overflow_key *key, struct buffer *block_out)
{
    struct waiting_block *block;

    STAILQ_FOREACH(block, &m->waiting, link)
    {
        if (memcmp(&block->key, key, sizeof *key) != 0)
            continue;
        m->waiting_bytes -= block->data.len;
        *block_out = block->data;
        block->data = (struct buffer){0};
        drop_waiting(m, block);
        return true;
    }
    return false;
}

static int read_block(struct overflow_map *m, const struct overflow_key *wanted, struct buffer *block_out)
{
    MDB_val value;
    int rc = find_block(m, wanted, &value);

    if (rc == 0)
        buffer_append(block_out, value.mv_data, value.mv_size);
    if (m->reader)
        mdb_txn_reset(m->reader);
    if (++m->looks >= LOOKS_MAX)
        give_pages_back(m);
    return rc;
}

enum outcome overflow_map_take(struct overflow_map *m, uint32_t queue, uint64_t number, struct buffer *block_out)
{
    struct overflow_key key = make_key(queue, number);

    if (take_waiting(m, &key, block_out))
        return OUTCOME_OK;
    int rc = read_block(m, &key, block_out);
    if (rc != 0) {
        log_event(LOG_ERROR, "overflow-lost", "error=\"%s\": lines beyond the window can't be read back",
                  mdb_strerror(rc));
        return OUTCOME_NOT_FOUND;
    }
    m->stored_bytes -= block_out->len;
    if (m->taken_count < TAKEN_MAX)
        m->taken[m->taken_count++] = key;
    /* When this fails, what stays behind is space, and whoever puts the next block hears of it. */
    if (m->taken_count == TAKEN_MAX) {
        m->full |= write_deletions(m) != 0;
        give_pages_back(m);
    }
    return OUTCOME_OK;
}

uint64_t overflow_map_bytes(const struct overflow_map *m)
{
    struct stat st;

    return m->fd >= 0 && fstat(m->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}
