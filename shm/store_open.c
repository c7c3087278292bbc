/* Opening and closing the map: the directory, the lock that keeps a second fleet out, the LMDB environment, and what
 * happens to a map that cannot be trusted. */
#include "shm/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "shm/dir_lock.h"
#include "shm/store_parts.h"
#include "shm/store_session.h"

#define PATH_BYTES_MAX  4352 /* a directory's name of PATH_MAX with a file's behind it */
#define LOCK_FILE_BYTES (64 * ((off_t)STORE_READERS_MAX + 64)) /* more than LMDB makes of it */
#define SESSION_LOOKS   4096                                   /* records judged in one transaction */

static char reason[PATH_BYTES_MAX + 256];

__attribute__((format(printf, 2, 3))) static enum outcome refuse(const char **reason_out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    *reason_out = reason;
    return OUTCOME_SYSTEM;
}

static bool path_join(char out[PATH_BYTES_MAX], const char *dir, const char *name)
{
    int n = snprintf(out, PATH_BYTES_MAX, "%s/%s", dir, name);
    return n > 0 && n < PATH_BYTES_MAX;
}

/* One writer at a time: LMDB alone would let a second fleet in, and each would undo the other's records. */
static enum outcome lock_directory(const char *dir, int *fd_out, const char **reason_out)
{
    static const struct dir_lock_words words = {"state directory", "--state", 100};

    return dir_lock(dir, STORE_LOCK_NAME, &words, fd_out, reason_out);
}

static enum outcome move_aside(const char *dir, const char **reason_out)
{
    char from[PATH_BYTES_MAX];
    char to[PATH_BYTES_MAX];
    char name[64];

    snprintf(name, sizeof name, "data.mdb.bad-%lld", (long long)time(NULL));
    if (!path_join(from, dir, "data.mdb") || !path_join(to, dir, name))
        return refuse(reason_out, "the name of the state directory is too long");
    if (rename(from, to) != 0)
        return refuse(reason_out, "the map \"%s\" is damaged and cannot be moved aside: %s; remove it", from,
                      strerror(errno));
    log_event(LOG_WARN, "store-damaged", "path=%s moved_to=%s: a new map is made", from, to);
    /* Its reader table counts the transactions of the map that is gone. */
    if (path_join(from, dir, "lock.mdb"))
        unlink(from);
    return OUTCOME_OK;
}

int store_reserve_lock_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int error = fd >= 0 ? posix_fallocate(fd, 0, LOCK_FILE_BYTES) : errno;

    if (fd >= 0)
        close(fd);
    return error == EOPNOTSUPP || error == EINVAL ? 0 : error;
}

static enum outcome reserve_lock_file(const char *dir, const char **reason_out)
{
    char path[PATH_BYTES_MAX];
    int error = path_join(path, dir, "lock.mdb") ? store_reserve_lock_file(path) : ENAMETOOLONG;

    if (error == 0)
        return OUTCOME_OK;
    return refuse(reason_out,
                  "cannot write in the state directory \"%s\": %s; make room or choose another with --state", dir,
                  strerror(error));
}

static enum outcome prepare_directory(const char *dir, struct store *s, const char **reason_out)
{
    if (s->read_only) {
        /* While a fleet holds the directory it has judged the map already. */
        if (!dir_lock_is_held(dir, STORE_LOCK_NAME, NULL) && store_check_map(dir) == OUTCOME_CORRUPT)
            return refuse(reason_out, "the map in \"%s\" is damaged: the next run with this --state makes a new one",
                          dir);
        return OUTCOME_OK;
    }
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return refuse(reason_out, "cannot make the state directory \"%s\": %s; choose another with --state", dir,
                      strerror(errno));
    enum outcome outcome = lock_directory(dir, &s->lock_fd, reason_out);
    if (outcome == OUTCOME_OK && store_check_map(dir) == OUTCOME_CORRUPT)
        outcome = move_aside(dir, reason_out);
    return outcome == OUTCOME_OK ? reserve_lock_file(dir, reason_out) : outcome;
}

/* LMDB 0.9.24 closes on exec only what it opens for locks and meta pages. All that point at the map's two files are
 * marked, not only what mdb_env_get_fd() tells. */
static void mark_close_on_exec(const char *dir)
{
    char path[PATH_BYTES_MAX];
    struct stat files[2] = {{0}};
    struct stat st;
    struct dirent *entry;

    if (!path_join(path, dir, "data.mdb") || stat(path, &files[0]) != 0)
        return;
    if (!path_join(path, dir, "lock.mdb") || stat(path, &files[1]) != 0)
        files[1] = files[0];
    DIR *fds = opendir("/proc/self/fd");
    if (!fds)
        return;
    while ((entry = readdir(fds)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] == '.' || fstat(fd, &st) != 0)
            continue;
        for (int i = 0; i < 2; i++) {
            if (st.st_dev == files[i].st_dev && st.st_ino == files[i].st_ino)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    closedir(fds);
}

static int open_sessions(struct store *s, MDB_txn *txn)
{
    int rc = mdb_dbi_open(txn, STORE_SESSIONS_NAME, s->read_only ? 0 : MDB_CREATE, &s->sessions);

    s->has_sessions = rc == 0;
    return s->read_only && rc == MDB_NOTFOUND ? 0 : rc;
}

/* Maps of before this database had a use are read all the same. */
static int open_access(struct store *s, MDB_txn *txn)
{
    int rc = mdb_dbi_open(txn, "access", s->read_only ? 0 : MDB_CREATE, &s->access);

    s->has_access = rc == 0;
    return s->read_only && rc == MDB_NOTFOUND ? 0 : rc;
}

static int open_health(struct store *s, MDB_txn *txn)
{
    int rc = mdb_dbi_open(txn, "health", s->read_only ? 0 : MDB_CREATE, &s->health);

    s->has_health = rc == 0;
    return s->read_only && rc == MDB_NOTFOUND ? 0 : rc;
}

static int open_databases(struct store *s)
{
    MDB_val key = {sizeof STORE_MARK_KEY - 1, STORE_MARK_KEY};
    MDB_val value = {sizeof STORE_MARK_VALUE - 1, STORE_MARK_VALUE};
    MDB_txn *txn = NULL;
    MDB_dbi main_dbi;
    int dead = 0;

    mdb_reader_check(s->env, &dead);
    int rc = mdb_txn_begin(s->env, NULL, s->read_only ? MDB_RDONLY : 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &main_dbi);
    if (rc == 0 && !s->read_only)
        rc = mdb_put(txn, main_dbi, &key, &value, 0);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "dns", s->read_only ? 0 : MDB_CREATE, &s->dns);
    if (rc == 0)
        rc = open_sessions(s, txn);
    if (rc == 0)
        rc = open_access(s, txn);
    if (rc == 0)
        rc = open_health(s, txn);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* The files are for their owner alone, whatever made them. One that somebody else owns, or may write to, gives and gets
 * no sessions: who plants a session in it can pretend to be its server. */
static void guard_secrets(struct store *s, const char *dir)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    char path[PATH_BYTES_MAX];
    struct stat st;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!path_join(path, dir, names[i]) || stat(path, &st) != 0)
            continue;
        bool open_to_others = (st.st_mode & 077) != 0;
        if (open_to_others && !s->read_only && st.st_uid == geteuid())
            open_to_others = chmod(path, 0600) != 0;
        if (i == 0 && (open_to_others || st.st_uid != geteuid()))
            s->has_sessions = false;
    }
}

static int open_environment(struct store *s, const char *dir)
{
    /* No fsync while the fleet runs: one can hold the loop for seconds, and what is lost when the machine (not the
     * process) dies is a cache. LMDB's order of writes is then the kernel's, so the next start reads the map through
     * before use. */
    unsigned flags = MDB_NOTLS | MDB_NOSYNC | (s->read_only ? MDB_RDONLY : 0);
    int rc = mdb_env_create(&s->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, STORE_MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, STORE_READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, STORE_DATABASES_MAX);
    if (rc == 0)
        rc = mdb_env_open(s->env, dir, flags, 0600);
    if (rc == 0) {
        mark_close_on_exec(dir);
        rc = open_databases(s);
        guard_secrets(s, dir);
    }
    return rc;
}

/* The map's size is bounded, the names of all runs are not: what is expired goes once half of the map was ever used. */
static void purge_when_filling(struct store *s)
{
    MDB_envinfo info;
    MDB_stat stat_of_map;

    if (s->read_only || mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &stat_of_map) != 0 ||
        info.me_last_pgno < info.me_mapsize / stat_of_map.ms_psize / 2)
        return;
    log_event(LOG_INFO, "store-purged", "names=%zu addresses=%zu", store_dns_purge(s, clock_wall_us()),
              store_access_purge(s));
}

/* All of them once, in transactions of bounded size. */
static void purge_sessions(struct store *s)
{
    size_t left = s->read_only ? 0 : store_session_count(s);

    while (left > 0) {
        unsigned looks = left < SESSION_LOOKS ? (unsigned)left : SESSION_LOOKS;
        (void)store_session_purge(s, clock_wall_us(), looks);
        store_commit(s);
        left -= looks;
    }
}

void store_drop_dead_readers(struct store *s)
{
    int dead = 0;

    mdb_reader_check(s->env, &dead);
}

enum outcome store_open(struct store **store_out, const char *dir, bool read_only, const char **reason_out)
{
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return refuse(reason_out, "out of memory");
    s->lock_fd = -1;
    s->read_only = read_only;
    s->sessions_max = STORE_SESSIONS_MAX;
    s->sessions_bytes_max = STORE_SESSIONS_BYTES_MAX;
    enum outcome outcome = prepare_directory(dir, s, reason_out);
    if (outcome == OUTCOME_OK) {
        int rc = open_environment(s, dir);
        if (rc == ENOENT && read_only)
            outcome = refuse(reason_out, "there is no map in \"%s\": a fleet makes it when run with this --state", dir);
        else if (rc != 0)
            outcome = refuse(reason_out, "cannot open the map in \"%s\": %s; choose another directory with --state",
                             dir, store_error(rc));
    }
    if (outcome != OUTCOME_OK) {
        store_close(s);
        return outcome;
    }
    purge_when_filling(s);
    purge_sessions(s);
    *store_out = s;
    return OUTCOME_OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    store_commit(s);
    if (s->reader)
        mdb_txn_abort(s->reader);
    if (s->env) {
        if (!s->read_only)
            mdb_env_sync(s->env, 1);
        mdb_env_close(s->env);
    }
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s);
}
