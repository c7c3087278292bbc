/* flock() on a file, which the kernel gives up with its holder. */
#include "shm/dir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/log.h"

#define PATH_BYTES_MAX (PATH_MAX + 256)

static char reason[PATH_BYTES_MAX + 256];

static enum outcome refuse(const char **reason_out)
{
    *reason_out = reason;
    return OUTCOME_SYSTEM;
}

static pid_t holder(int fd)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* Whoever asks whether it is held holds it for a moment; a fleet holds it for longer. */
static bool take(int fd, unsigned patience_ms)
{
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || patience_ms-- == 0)
            return false;
        usleep(1000);
    }
    return true;
}

enum outcome dir_lock(const char *dir, const char *name, const struct dir_lock_words *words, int *fd_out,
                      const char **reason_out)
{
    char path[PATH_BYTES_MAX];
    char pid[24];

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path) {
        snprintf(reason, sizeof reason, "the name of the %s is too long", words->what);
        return refuse(reason_out);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(reason, sizeof reason,
                 "cannot write in the %s \"%s\": %s; make it writable for user %u or choose another with %s",
                 words->what, dir, strerror(errno), (unsigned)geteuid(), words->option);
        return refuse(reason_out);
    }
    if (!take(fd, words->patience_ms)) {
        if (errno == EWOULDBLOCK)
            snprintf(reason, sizeof reason,
                     "the %s \"%s\" is in use by another fleet (process %ld): wait for it, or choose another directory "
                     "with %s",
                     words->what, dir, (long)holder(fd), words->option);
        else
            snprintf(reason, sizeof reason, "cannot lock \"%s\": %s", path, strerror(errno));
        close(fd);
        return refuse(reason_out);
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* The number is a help in a message, nothing relies on it. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        log_event(LOG_DEBUG, "dir-lock", "path=%s error=\"%s\"", path, strerror(errno));
    *fd_out = fd;
    return OUTCOME_OK;
}

bool dir_lock_is_held(const char *dir, const char *name, pid_t *pid_out)
{
    char path[PATH_BYTES_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (pid_out)
        *pid_out = held ? holder(fd) : 0;
    close(fd);
    return held;
}
