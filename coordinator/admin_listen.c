/* Makes the sockets that the admin face listens on. */
#include "coordinator/admin_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

#define BACKLOG 16

static int refuse(const char *where, const char *why)
{
    log_event(LOG_ERROR, "no-admin", "address=\"%s\" error=\"%s\"", where, why);
    return -1;
}

/* Keeps errno. */
static int close_failed(int fd)
{
    int saved = errno;

    if (fd >= 0)
        close(fd);
    errno = saved;
    return -1;
}

/* A socket's address holds 107 bytes of path, so it names the file by a descriptor of its directory. */
static void fill_address(int dir_fd, const char *name, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
}

static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* A full backlog (EAGAIN) belongs to somebody too. */
    bool listens = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN);

    if (fd >= 0)
        close(fd);
    return listens;
}

/* Removes what a dead fleet left; NULL, or why the name can't be had. */
static const char *clear_name(int dir_fd, const char *name, const struct sockaddr_un *address)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? NULL : strerror(errno);
    if (!S_ISSOCK(st.st_mode))
        return "the file is no socket; move it away";
    if (somebody_listens(address))
        return "another fleet listens there; give this one a state directory of its own";
    return unlinkat(dir_fd, name, 0) == 0 ? NULL : strerror(errno);
}

static int bind_private(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The file's mode is there from its first moment; there is but one thread to be disturbed. */
    mode_t before = umask(0177);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    int saved = errno;

    umask(before);
    errno = saved;
    return bound && listen(fd, BACKLOG) == 0 ? fd : close_failed(fd);
}

int admin_listen_unix(const char *path)
{
    char dir[PATH_MAX];
    struct sockaddr_un address;
    const char *slash = strrchr(path, '/');

    if (!slash || (size_t)snprintf(dir, sizeof dir, "%.*s/", (int)(slash - path), path) >= sizeof dir)
        return refuse(path, "the path is too long, or not absolute");
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return refuse(path, strerror(errno));
    fill_address(dir_fd, slash + 1, &address);
    const char *why = clear_name(dir_fd, slash + 1, &address);
    int fd = why ? -1 : bind_private(&address);
    if (fd < 0)
        refuse(path, why ? why : strerror(errno));
    close(dir_fd);
    return fd;
}

int admin_listen_tcp(const struct endpoint *endpoint, const char *text)
{
    struct sockaddr_storage address;
    socklen_t len = address_to_sockaddr(&endpoint->address, endpoint->port, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;

    if (fd >= 0) {
        /* Without it the port of a fleet that has just ended is in use for a minute. */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (address.ss_family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0)
            fd = close_failed(fd);
    }
    return fd >= 0 ? fd : refuse(text, strerror(errno));
}
