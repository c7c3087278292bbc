#pragma once
/* A directory of its own for each test of the map, and the few things that such tests do in it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/store.h"

struct place {
    char dir[64];
    char data[96];
};

static inline void empty_directory(const char *dir)
{
    char path[512];
    struct dirent *entry;
    DIR *d = opendir(dir);

    while (d && (entry = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
}

static inline int make_place(void **state)
{
    static struct place place;

    snprintf(place.dir, sizeof place.dir, "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    snprintf(place.data, sizeof place.data, "%s/data.mdb", place.dir);
    *state = &place;
    return 0;
}

static inline int remove_place(void **state)
{
    struct place *place = *state;

    empty_directory(place->dir);
    return rmdir(place->dir);
}

static inline struct store *open_store(const char *dir)
{
    struct store *s = NULL;
    const char *reason = NULL;

    if (store_open(&s, dir, false, &reason) != OUTCOME_OK)
        fail_msg("store_open: %s", reason);
    return s;
}

static inline void put(struct store *s, const char *name, enum outcome outcome, uint32_t count, uint64_t expires)
{
    struct store_dns *dns = calloc(1, sizeof *dns + count * sizeof dns->addresses[0]);

    dns->outcome = outcome;
    dns->count = count;
    dns->expires_wall_us = expires;
    for (uint32_t i = 0; i < count; i++)
        dns->addresses[i] =
            (struct address){.family = 4, .bytes = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
    store_dns_put(s, name, strlen(name), dns);
    free(dns);
}

static inline bool has(struct store *s, const char *name, uint64_t now)
{
    struct store_dns *dns = NULL;
    bool found = store_dns_get(s, name, strlen(name), now, &dns) == OUTCOME_OK;

    free(dns);
    return found;
}

static inline unsigned count_files(const char *dir, const char *part)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        count += strstr(entry->d_name, part) != NULL;
    closedir(d);
    return count;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static inline void fill(const char *dir, unsigned names, uint32_t addresses_each)
{
    char name[64];
    struct store *s = open_store(dir);

    for (unsigned i = 0; i < names; i++) {
        snprintf(name, sizeof name, "host-%06u.example", i);
        put(s, name, OUTCOME_OK, addresses_each, UINT64_MAX);
    }
    store_close(s);
}

/* Writes a value into the map's "dns" by LMDB itself. */
static inline void put_raw(const char *dir, const char *name, const void *bytes, size_t len)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value = {len, (void *)(uintptr_t)bytes};

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "dns", MDB_CREATE, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
