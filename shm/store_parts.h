#pragma once
/* What the store's own sources share: the open map, and the judgement whether a map can be trusted. For shm/store*.c
 * alone. */

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/outcome.h"

#define STORE_DATABASES_MAX 8
#define STORE_READERS_MAX   256
#define STORE_MAP_BYTES     ((size_t)1 << 30) /* address space; the file is as large as what it holds */
#define STORE_MARK_KEY      "hotfleet"        /* in the main database of every map of ours */
#define STORE_MARK_VALUE    "1"

struct store {
    MDB_env *env;
    MDB_dbi dns;
    MDB_txn *reader; /* kept reset between reads; NULL until the first */
    MDB_txn *writer; /* NULL when nothing is pending */
    int lock_fd;     /* -1 for a reader */
    bool read_only;
    bool failure_told;
};

/* Reads the whole map in `dir` in a child process, for at most a few seconds. OUTCOME_OK: sound, empty, absent, or not
 * to be judged (opening it will tell). OUTCOME_CORRUPT: damaged, or of another program. To be called before this
 * process opens the map itself. */
must_check enum outcome store_check_map(const char *dir);

/* Deletes the records that are expired or unreadable, in transactions of bounded size; returns how many. For a store
 * without pending changes. */
size_t store_dns_purge(struct store *s, uint64_t now_wall_us);
