/* Finding and removing what killed runs have left. Everything is reached through descriptors of directories that were
 * looked at, without following links: /tmp is everybody's. */
#include "coordinator/statedir_stale.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "shm/store.h"

#define MARK_NAME   "temporary"
#define FORM_PREFIX (sizeof STATEDIR_FORM - 1 - 6)

bool statedir_mark(const char *path)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir < 0 ? -1 : openat(dir, MARK_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int error = errno;

    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    errno = error;
    return fd >= 0;
}

static bool has_form(const char *name)
{
    return strncmp(name, STATEDIR_FORM, FORM_PREFIX) == 0 && strlen(name) == sizeof STATEDIR_FORM - 1 &&
           strspn(name + FORM_PREFIX, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == 6;
}

static bool is_known(const char *name)
{
    static const char *const names[] = {".",        "..",       MARK_NAME,      STORE_LOCK_NAME,
                                        "data.mdb", "lock.mdb", "overflow.mdb", "admin.sock"};
    static const char aside[] = "data.mdb.bad-";

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return strncmp(name, aside, sizeof aside - 1) == 0;
}

/* Nothing that no run has made. */
static bool is_ours_alone(DIR *dir)
{
    struct dirent *entry;

    rewinddir(dir);
    while ((entry = readdir(dir))) {
        if (!is_known(entry->d_name))
            return false;
    }
    return true;
}

/* A descriptor of its lock, locked: its maker is dead. -1: it lives, or is at its very beginning, when the lock is made
 * and not yet taken: then there is no number in it. */
static int lock_of_the_dead(int dir)
{
    char digit = 0;
    struct stat st;
    int fd = openat(dir, STORE_LOCK_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && pread(fd, &digit, 1, 0) == 1 &&
        digit >= '0' && digit <= '9' && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The lock goes last but the mark: whoever is killed over this leaves a directory that is still known for what it is.
 */
static void empty(DIR *dir)
{
    struct dirent *entry;

    rewinddir(dir);
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, STORE_LOCK_NAME) != 0 && strcmp(entry->d_name, MARK_NAME) != 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    unlinkat(dirfd(dir), STORE_LOCK_NAME, 0);
    unlinkat(dirfd(dir), MARK_NAME, 0);
}

static bool is_marked(int dir)
{
    struct stat st;

    return fstatat(dir, MARK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

static void remove_if_stale(int tmp, const char *tmp_path, const char *name)
{
    struct stat st;
    int fd = openat(tmp, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && is_marked(fd) ? fdopendir(fd) : NULL;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    int lock = is_ours_alone(dir) ? lock_of_the_dead(fd) : -1;
    if (lock >= 0) {
        empty(dir);
        if (unlinkat(tmp, name, AT_REMOVEDIR) == 0)
            log_event(LOG_INFO, "stale-state-removed", "dir=\"%s/%s\"", tmp_path, name);
        close(lock);
    }
    closedir(dir);
}

void statedir_remove_stale(const char *tmp)
{
    DIR *dir = opendir(tmp);
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        if (has_form(entry->d_name))
            remove_if_stale(dirfd(dir), tmp, entry->d_name);
    }
    closedir(dir);
}
