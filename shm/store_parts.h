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
#define STORE_KEY_BYTES_MAX 400               /* of any database; LMDB itself takes 511 */
#define STORE_MAP_BYTES     ((size_t)1 << 30) /* address space; the file is as large as what it holds */
#define STORE_MARK_KEY      "hotfleet"        /* in the main database of every map of ours */
#define STORE_MARK_VALUE    "1"
#define STORE_SESSIONS_NAME "sessions"

struct store {
    MDB_env *env;
    MDB_dbi dns, sessions, access;
    MDB_dbi answers;   /* once store_answer_open() was called */
    bool has_sessions; /* an older map has no such database, and a stranger's file is not asked for secrets */
    bool has_access;   /* nor this one, when it is opened for reading */
    MDB_txn *reader;   /* kept reset between reads; NULL until the first */
    MDB_txn *writer;   /* NULL when nothing is pending */
    int lock_fd;       /* -1 for a reader */
    bool read_only;
    bool failure_told;
    size_t sessions_max, sessions_bytes_max; /* what store_session.h says; fewer in tests */
    size_t hand_len; /* of `hand`: the session looked at last; the next one to be judged comes after it */
    char hand[STORE_KEY_BYTES_MAX];
    MDB_dbi health;
    bool has_health;       /* an older map has no such database */
    bool sweeps_health;    /* the sweep is past the names */
    size_t sweep_hand_len; /* of the key that the next step of the sweep begins with; 0: at the first */
    char sweep_hand[STORE_KEY_BYTES_MAX];
};

/* Whether a record can still be of use; not when it is unreadable. */
bool store_dns_is_of_use(const MDB_val *value, uint64_t now_wall_us);
bool store_health_is_of_use(const MDB_val *value, uint64_t now_wall_us);

/* LMDB writes its table of readers through a mapping: on a full disk that would end the process with SIGBUS, so the
 * blocks of that file are taken beforehand. 0, or an errno. */
must_check int store_reserve_lock_file(const char *path);

/* What LMDB's result means, for people: a constant. A write that the disk has no room for is EIO to LMDB. */
const char *store_error(int rc);

/* Reads the whole map in `dir` in a child process, for at most a few seconds. OUTCOME_OK: sound, empty, absent, or not
 * to be judged (opening it will tell). OUTCOME_CORRUPT: damaged, or of another program. To be called before this
 * process opens the map itself. */
must_check enum outcome store_check_map(const char *dir);
/* The same for a map in a file of its own, which has no mark. */
must_check enum outcome store_check_file(const char *path);

/* Deletes the records that are expired or unreadable, in transactions of bounded size; returns how many. For a store
 * without pending changes. */
size_t store_dns_purge(struct store *s, uint64_t now_wall_us);

/* Removes learned white records, in transactions of bounded size; returns how many. */
size_t store_access_purge(struct store *s);

/* The transaction of pending changes, begun when there is none; NULL (and the failure is told) when it can't be. */
MDB_txn *store_begin_write(struct store *s);
/* Gives up all that is pending: a transaction that failed once takes nothing more. */
void store_drop_write(struct store *s, const char *what, int rc);
/* A transaction to read in: that of pending changes, or a fresh snapshot. NULL (told) on failure. To be ended at once:
 * a reader that keeps its snapshot keeps every page that is replaced meanwhile. */
MDB_txn *store_begin_read(struct store *s);
void store_end_read(struct store *s, MDB_txn *txn);
/* Logs a failure of LMDB, the first one only. */
void store_tell_failure(struct store *s, const char *what, int rc);
