/* A job's facts in LMDB: one record of facts, the chunks of lines that are done, the input's sums, and tallies. */
#include "shm/job_map.h"

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "shm/store_parts.h"

#define MAP_BYTES     ((size_t)4 << 30) /* address space; a bit for each of 30 billion lines has room */
#define DATABASES_MAX 4
#define READERS_MAX   64
#define CHUNKS_MAX    (MAP_BYTES / JOB_CHUNK_BYTES) /* beyond the base */
#define FACTS_KEY     "facts"
#define OUTPUT_KEY    "output"

struct job_map {
    MDB_env *env;
    MDB_dbi facts, chunks, sums, outcomes;
};

static enum outcome refuse(const char **reason_out, const char *dir, const char *what, const char *error)
{
    static char reason[PATH_MAX + 256];

    snprintf(reason, sizeof reason, "%s \"%s/job.mdb\": %s", what, dir, error);
    *reason_out = reason;
    return OUTCOME_SYSTEM;
}

static int open_databases(struct job_map *m, bool read_only)
{
    unsigned flags = read_only ? 0 : MDB_CREATE;
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(m->env, NULL, read_only ? MDB_RDONLY : 0, &txn);

    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, "facts", flags, &m->facts);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "done", flags | MDB_INTEGERKEY, &m->chunks);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "sums", flags | MDB_INTEGERKEY, &m->sums);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "outcomes", flags, &m->outcomes);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

static int open_environment(struct job_map *m, const char *path, bool read_only)
{
    int rc = mdb_env_create(&m->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(m->env, MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(m->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(m->env, DATABASES_MAX);
    if (rc == 0)
        rc = mdb_env_open(m->env, path, MDB_NOSUBDIR | MDB_NOTLS | (read_only ? MDB_RDONLY : 0), 0600);
    if (rc == 0)
        rc = open_databases(m, read_only);
    return rc;
}

enum outcome job_map_open(struct job_map **map_out, const char *dir, bool read_only, const char **reason_out)
{
    struct job_map *m = calloc(1, sizeof *m);
    char path[PATH_MAX];
    char lock[PATH_MAX];
    struct stat st;

    if (!m)
        die("out of memory: no room for the job");
    bool is_new = false;
    bool fits = (size_t)snprintf(path, sizeof path, "%s/job.mdb", dir) < sizeof path &&
                (size_t)snprintf(lock, sizeof lock, "%s-lock", path) < sizeof lock;
    int rc = fits ? 0 : ENAMETOOLONG;
    /* An empty one was being made when its run was killed. */
    if (rc == 0)
        is_new = stat(path, &st) != 0 || st.st_size == 0;
    if (rc == 0 && read_only && is_new) {
        job_map_close(m);
        return OUTCOME_NOT_FOUND;
    }
    if (rc == 0 && !is_new && store_check_file(path) == OUTCOME_CORRUPT) {
        job_map_close(m);
        return refuse(reason_out, dir, "cannot use", "it is damaged, or no job; begin anew in another directory");
    }
    if (rc == 0 && !read_only)
        rc = store_reserve_lock_file(lock);
    if (rc == 0)
        rc = open_environment(m, path, read_only);
    if (rc != 0) {
        job_map_close(m);
        /* A map whose first commit never came has no databases yet. */
        if (read_only && rc == MDB_NOTFOUND)
            return OUTCOME_NOT_FOUND;
        /* Half a map would be in the way when there is room. */
        if (is_new && !read_only)
            unlink(path);
        return refuse(reason_out, dir, "cannot open", store_error(rc));
    }
    *map_out = m;
    return OUTCOME_OK;
}

void job_map_close(struct job_map *m)
{
    if (!m)
        return;
    if (m->env)
        mdb_env_close(m->env);
    free(m);
}

static int put_bytes(MDB_txn *txn, MDB_dbi dbi, const char *name, const void *data, size_t len)
{
    char copy[64];
    MDB_val key = {strlen(name), copy};
    MDB_val value = {len, (void *)(uintptr_t)data};

    memcpy(copy, name, key.mv_size);
    return mdb_put(txn, dbi, &key, &value, 0);
}

static int put_numbered(MDB_txn *txn, MDB_dbi dbi, size_t number, const void *data, size_t len)
{
    MDB_val key = {sizeof number, &number};
    MDB_val value = {len, (void *)(uintptr_t)data};

    return mdb_put(txn, dbi, &key, &value, 0);
}

/* Chunks that the base has swallowed. */
static int delete_chunks(struct job_map *m, MDB_txn *txn, uint64_t from, uint64_t to)
{
    int rc = 0;

    for (size_t number = from; rc == 0 && number < to; number++) {
        MDB_val key = {sizeof number, &number};
        rc = mdb_del(txn, m->chunks, &key, NULL);
        if (rc == MDB_NOTFOUND)
            rc = 0;
    }
    return rc;
}

static int put_all(struct job_map *m, MDB_txn *txn, const struct job_commit *c)
{
    int rc = delete_chunks(m, txn, c->base_before, c->facts.done_base);

    for (size_t i = 0; rc == 0 && i < c->chunk_count; i++)
        rc = put_numbered(txn, m->chunks, c->chunks[i], c->bits + i * JOB_CHUNK_BYTES, JOB_CHUNK_BYTES);
    for (size_t i = 0; rc == 0 && i < c->sum_count; i += JOB_SUMS_A_KEY) {
        size_t count = c->sum_count - i < JOB_SUMS_A_KEY ? c->sum_count - i : JOB_SUMS_A_KEY;
        rc = put_numbered(txn, m->sums, (c->sums_from + i) / JOB_SUMS_A_KEY, c->sums + i, count * sizeof *c->sums);
    }
    for (unsigned o = 0; rc == 0 && o <= OUTCOME_RECORD_LAST; o++) {
        if (c->outcomes[o])
            rc = put_bytes(txn, m->outcomes, outcome_name((enum outcome)o), &c->outcomes[o], sizeof c->outcomes[o]);
    }
    if (rc == 0)
        rc = put_bytes(txn, m->facts, OUTPUT_KEY, c->output, strlen(c->output) + 1);
    if (rc == 0)
        rc = put_bytes(txn, m->facts, FACTS_KEY, &c->facts, sizeof c->facts);
    return rc;
}

enum outcome job_map_commit(struct job_map *m, const struct job_commit *commit, const char **reason_out)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(m->env, NULL, 0, &txn);

    if (rc == 0) {
        rc = put_all(m, txn, commit);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc == 0)
        return OUTCOME_OK;
    *reason_out = store_error(rc);
    return OUTCOME_SYSTEM;
}

static bool read_facts(struct job_map *m, MDB_txn *txn, struct job_facts *facts_out,
                       char output_out[JOB_OUTPUT_NAME_MAX], enum outcome *outcome_out)
{
    MDB_val facts_key = {strlen(FACTS_KEY), FACTS_KEY};
    MDB_val output_key = {strlen(OUTPUT_KEY), OUTPUT_KEY};
    MDB_val facts;
    MDB_val output;

    *outcome_out = OUTCOME_NOT_FOUND;
    if (mdb_get(txn, m->facts, &facts_key, &facts) != 0)
        return false;
    *outcome_out = OUTCOME_CORRUPT;
    if (facts.mv_size != sizeof *facts_out || mdb_get(txn, m->facts, &output_key, &output) != 0 ||
        output.mv_size == 0 || output.mv_size > JOB_OUTPUT_NAME_MAX)
        return false;
    memcpy(facts_out, facts.mv_data, sizeof *facts_out);
    memcpy(output_out, output.mv_data, output.mv_size);
    if (facts_out->version != JOB_FACTS_VERSION || output_out[output.mv_size - 1] != '\0')
        return false;
    *outcome_out = OUTCOME_OK;
    return true;
}

typedef bool (*on_value)(const struct job_reader *reader, const struct job_facts *facts, const MDB_val *key,
                         const MDB_val *value);

static bool give_chunk(const struct job_reader *reader, const struct job_facts *facts, const MDB_val *key,
                       const MDB_val *value)
{
    size_t number;

    if (key->mv_size != sizeof number || value->mv_size != JOB_CHUNK_BYTES)
        return false;
    memcpy(&number, key->mv_data, sizeof number);
    /* Whoever takes it has room for all chunks from the base on. */
    if (number > facts->done_base && number - facts->done_base >= CHUNKS_MAX)
        return false;
    reader->on_chunk(reader->user, number, value->mv_data);
    return true;
}

static bool give_sums(const struct job_reader *reader, const struct job_facts *facts, const MDB_val *key,
                      const MDB_val *value)
{
    uint32_t sums[JOB_SUMS_A_KEY];
    size_t number;

    (void)facts;
    if (key->mv_size != sizeof number || value->mv_size > sizeof sums || value->mv_size % sizeof *sums)
        return false;
    memcpy(&number, key->mv_data, sizeof number);
    memcpy(sums, value->mv_data, value->mv_size);
    reader->on_sums(reader->user, number * JOB_SUMS_A_KEY, sums, value->mv_size / sizeof *sums);
    return true;
}

static bool give_outcome(const struct job_reader *reader, const struct job_facts *facts, const MDB_val *key,
                         const MDB_val *value)
{
    uint64_t count;

    (void)facts;
    if (value->mv_size != sizeof count)
        return false;
    memcpy(&count, value->mv_data, sizeof count);
    reader->on_outcome(reader->user, key->mv_data, key->mv_size, count);
    return true;
}

static bool read_each(MDB_txn *txn, MDB_dbi dbi, const struct job_reader *reader, const struct job_facts *facts,
                      on_value give)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    bool good = true;
    int rc = mdb_cursor_open(txn, dbi, &cursor);

    if (rc != 0)
        return false;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc == 0 && good;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        good = give(reader, facts, &key, &value);
    mdb_cursor_close(cursor);
    return good && rc == MDB_NOTFOUND;
}

enum outcome job_map_read(struct job_map *m, struct job_facts *facts_out, char output_out[JOB_OUTPUT_NAME_MAX],
                          const struct job_reader *reader)
{
    MDB_txn *txn = NULL;
    enum outcome outcome = OUTCOME_CORRUPT;

    if (mdb_txn_begin(m->env, NULL, MDB_RDONLY, &txn) != 0)
        return OUTCOME_CORRUPT;
    if (read_facts(m, txn, facts_out, output_out, &outcome)) {
        bool good = (!reader->on_chunk || read_each(txn, m->chunks, reader, facts_out, give_chunk)) &&
                    (!reader->on_sums || read_each(txn, m->sums, reader, facts_out, give_sums)) &&
                    (!reader->on_outcome || read_each(txn, m->outcomes, reader, facts_out, give_outcome));
        outcome = good ? OUTCOME_OK : OUTCOME_CORRUPT;
    }
    mdb_txn_abort(txn);
    return outcome;
}
