#pragma once
/* A directory of its own for each test of a job's map, and what such tests do in it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/job_map.h"

static char job_dir[64];

static inline void make_job_dir(void)
{
    snprintf(job_dir, sizeof job_dir, "/tmp/test-job-XXXXXX");
    assert_non_null(mkdtemp(job_dir));
    signal(SIGXFSZ, SIG_IGN);
}

static inline int remove_job_dir(void)
{
    char path[512];
    struct dirent *entry;
    DIR *d = opendir(job_dir);

    while (d && (entry = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", job_dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
    return rmdir(job_dir);
}

static inline struct job_map *open_job_map(bool read_only)
{
    struct job_map *map = NULL;
    const char *reason = "";
    enum outcome outcome = job_map_open(&map, job_dir, read_only, &reason);

    if (outcome != OUTCOME_OK)
        fail_msg("%s: %s", outcome_name(outcome), reason);
    return map;
}

/* A limit on file sizes stands for a full disk. */
static inline void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    fflush(NULL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Writes a value into the map by LMDB itself; NULL deletes it. The map must not be open. */
static inline void put_raw(const char *database, unsigned flags, const void *key_bytes, size_t key_len,
                           const void *bytes, size_t len)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = {key_len, (void *)(uintptr_t)key_bytes};
    MDB_val value = {len, (void *)(uintptr_t)bytes};
    char path[96];

    snprintf(path, sizeof path, "%s/job.mdb", job_dir);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
    assert_int_equal(mdb_env_set_mapsize(env, 1u << 26), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, database, MDB_CREATE | flags, &dbi), 0);
    assert_int_equal(bytes ? mdb_put(txn, dbi, &key, &value, 0) : mdb_del(txn, dbi, &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static inline void put_raw_named(const char *database, const char *name, const void *bytes, size_t len)
{
    put_raw(database, 0, name, strlen(name), bytes, len);
}

static inline void put_raw_numbered(const char *database, size_t number, const void *bytes, size_t len)
{
    put_raw(database, MDB_INTEGERKEY, &number, sizeof number, bytes, len);
}
