/* Reads a map through in a child process, to learn there and not here that it is damaged. */
#include "shm/store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bound_fork.h"

/* A sound map of a gigabyte in the page cache is read in less; a slower one is believed rather than waited for. */
#define CHECK_SECONDS_MAX 5

enum verdict { VERDICT_SOUND, VERDICT_DAMAGED };

static bool tells_damage(int rc)
{
    return rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_VERSION_MISMATCH ||
           rc == MDB_PANIC || rc == MDB_CURSOR_FULL || rc == MDB_INCOMPATIBLE || rc == MDB_BAD_VALSIZE ||
           rc == MDB_MAP_RESIZED; /* no version of ours writes a larger one */
}

/* A page count out of garbage makes LMDB ask for a mapping that no machine has. */
static bool open_tells_damage(int rc)
{
    if (rc != ENOMEM && rc != EINVAL && rc != EOVERFLOW)
        return tells_damage(rc);
    void *probe = mmap(NULL, STORE_MAP_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return probe != MAP_FAILED;
}

/* Free pages: a count, then page numbers in falling order. The next writer would trust them. */
static bool free_list_is_sound(const MDB_val *value, size_t last_page)
{
    size_t id = 0;
    size_t count = 0;
    size_t above = last_page + 1;

    if (value->mv_size < sizeof count)
        return false;
    memcpy(&count, value->mv_data, sizeof count);
    if (count > value->mv_size / sizeof id - 1)
        return false;
    for (size_t i = 1; i <= count; i++) {
        memcpy(&id, (const char *)value->mv_data + i * sizeof id, sizeof id);
        if (id < 2 || id >= above)
            return false;
        above = id;
    }
    return true;
}

/* Volatile, or the compiler would see that nobody wants the bytes. */
static void touch(const MDB_val *value)
{
    const volatile unsigned char *bytes = value->mv_data;

    for (size_t i = 0; i < value->mv_size; i++)
        (void)bytes[i];
}

/* LMDB takes a page of noise for a page of entries: their order and number are what noise does not get right. */
static int read_database(MDB_txn *txn, MDB_dbi dbi, size_t last_page, bool is_free_list)
{
    MDB_cursor *cursor = NULL;
    MDB_val before = {0, NULL};
    MDB_val key;
    MDB_val value;
    MDB_stat stat;
    size_t count = 0;
    int rc = mdb_stat(txn, dbi, &stat);

    if (rc == 0)
        rc = mdb_cursor_open(txn, dbi, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        touch(&key);
        touch(&value);
        if ((count++ > 0 && mdb_cmp(txn, dbi, &before, &key) >= 0) ||
            (is_free_list && !free_list_is_sound(&value, last_page)))
            rc = MDB_CORRUPTED;
        before = key;
    }
    if (rc == MDB_NOTFOUND)
        rc = count == stat.ms_entries ? 0 : MDB_CORRUPTED;
    return rc;
}

/* Every named database is read too; an entry of the main database that is none is the mark, or a stranger's. */
static int read_named_databases(MDB_txn *txn, MDB_dbi main_dbi, size_t last_page)
{
    char name[64];
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    int rc = mdb_cursor_open(txn, main_dbi, &cursor);

    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        MDB_dbi dbi = 0;
        if (key.mv_size >= sizeof name)
            return MDB_INVALID;
        memcpy(name, key.mv_data, key.mv_size);
        name[key.mv_size] = '\0';
        if (strcmp(name, STORE_MARK_KEY) == 0)
            continue;
        rc = mdb_dbi_open(txn, name, 0, &dbi);
        if (rc == 0)
            rc = read_database(txn, dbi, last_page, false);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int read_all(MDB_env *env, MDB_txn *txn, bool has_mark)
{
    MDB_val key = {sizeof STORE_MARK_KEY - 1, STORE_MARK_KEY};
    MDB_val value;
    MDB_envinfo info;
    MDB_stat stat;
    MDB_dbi main_dbi;
    int rc = mdb_dbi_open(txn, NULL, 0, &main_dbi);

    if (rc != 0 || (rc = mdb_env_info(env, &info)) != 0 || (rc = mdb_stat(txn, main_dbi, &stat)) != 0)
        return rc;
    if (stat.ms_entries == 0)
        return 0;
    rc = has_mark ? mdb_get(txn, main_dbi, &key, &value) : 0;
    if (rc != 0)
        return rc == MDB_NOTFOUND ? MDB_INVALID : rc; /* sound, but another program's */
    rc = read_database(txn, 0, info.me_last_pgno, true);
    if (rc == 0)
        rc = read_database(txn, main_dbi, info.me_last_pgno, false);
    return rc != 0 ? rc : read_named_databases(txn, main_dbi, info.me_last_pgno);
}

static enum verdict judge(const char *path, bool is_store)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;

    if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, STORE_MAP_BYTES) != 0 ||
        mdb_env_set_maxdbs(env, STORE_DATABASES_MAX) != 0 || mdb_env_set_maxreaders(env, STORE_READERS_MAX) != 0)
        return VERDICT_SOUND;
    int rc = mdb_env_open(env, path, MDB_RDONLY | MDB_NOTLS | (is_store ? 0 : MDB_NOSUBDIR), 0600);
    if (rc != 0)
        return open_tells_damage(rc) ? VERDICT_DAMAGED : VERDICT_SOUND;
    rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = read_all(env, txn, is_store);
    enum verdict verdict = tells_damage(rc) ? VERDICT_DAMAGED : VERDICT_SOUND;
    if (txn)
        mdb_txn_abort(txn);
    mdb_env_close(env);
    return verdict;
}

/* A crash is an expected answer here: no core file, no message of LMDB's or a sanitizer's, no handler of the parent's.
 */
static void prepare_to_crash(void)
{
    static const int deadly[] = {SIGBUS, SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    struct rlimit none = {0, 0};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        signal(deadly[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &none);
    if (null >= 0)
        dup2(null, STDERR_FILENO);
    alarm(CHECK_SECONDS_MAX);
}

static enum outcome check(const char *path, bool is_store)
{
    int status = 0;
    pid_t pid = bound_fork();

    if (pid < 0)
        return OUTCOME_OK;
    if (pid == 0) {
        prepare_to_crash();
        _exit((int)judge(path, is_store));
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return OUTCOME_OK;
    }
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM
                   ? OUTCOME_OK
                   : OUTCOME_CORRUPT;
    return WEXITSTATUS(status) == VERDICT_DAMAGED ? OUTCOME_CORRUPT : OUTCOME_OK;
}

enum outcome store_check_map(const char *dir)
{
    return check(dir, true);
}

enum outcome store_check_file(const char *path)
{
    return check(path, false);
}
