/* A blocking HTTP client for one request; the time limit is the socket's. */
#include "tools/admin_client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (80u << 20) /* above what the fleet gathers for one answer */

/* A socket's address holds 107 bytes of path: longer ones are reached through a descriptor of their directory. */
static bool fill_address(const char *path, int dir_fd, struct sockaddr_un *address)
{
    const char *slash = strrchr(path, '/');
    int len = dir_fd < 0 ? snprintf(address->sun_path, sizeof address->sun_path, "%s", path)
                         : snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d%s", dir_fd, slash);

    return len > 0 && (size_t)len < sizeof address->sun_path;
}

static int open_directory(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash ? snprintf(dir, sizeof dir, "%.*s/", (int)(slash - path), path) : -1;

    return len > 0 && (size_t)len < sizeof dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static int dial(const char *path, unsigned patience_s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = patience_s};
    int dir_fd = strlen(path) < sizeof address.sun_path ? -1 : open_directory(path);
    int fd = -1;

    errno = ENAMETOOLONG;
    if (fill_address(path, dir_fd, &address))
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        fd = -1;
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return fd;
}

static enum outcome outcome_of_errno(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? OUTCOME_REQUEST_TIMEOUT : OUTCOME_SYSTEM;
}

static enum outcome exchange(int fd, const char *method, const char *target, const char *body, size_t len,
                             struct buffer *text)
{
    struct buffer request = {0};
    ssize_t n;

    buffer_printf(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                  method, target, len);
    buffer_append(&request, body, len);
    n = send(fd, request.data, request.len, MSG_NOSIGNAL);
    bool sent = n == (ssize_t)request.len;
    buffer_fini(&request);
    if (!sent)
        return n < 0 ? outcome_of_errno() : OUTCOME_REQUEST_TIMEOUT;
    do {
        buffer_reserve(text, 65536);
        n = read(fd, text->data + text->len, 65536);
        if (n > 0)
            text->len += (size_t)n;
    } while ((n > 0 && text->len < ANSWER_BYTES_MAX) || (n < 0 && errno == EINTR));
    if (n < 0)
        return outcome_of_errno();
    return n == 0 ? OUTCOME_OK : OUTCOME_PROTOCOL_ERROR;
}

/* The value of a header in the head, which ends in an empty line and a NUL; NULL if it has none. */
static const char *header(const char *head, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
            return line + 2 + len + 1;
    }
    return NULL;
}

static enum outcome parse(struct admin_answer *answer)
{
    struct buffer *text = &answer->text;
    char *end = text->len ? memmem(text->data, text->len, "\r\n\r\n", 4) : NULL;

    if (!end || memcmp(text->data, "HTTP/1.", 7) != 0)
        return OUTCOME_PROTOCOL_ERROR;
    answer->body = (size_t)(end - text->data) + 4;
    answer->length = text->len - answer->body;
    end[2] = '\0';
    const char *blank = strchr(text->data, ' ');
    answer->status = blank ? (int)strtol(blank + 1, NULL, 10) : 0;
    const char *length = header(text->data, "Content-Length");
    if (answer->status < 200 || (length && strtoull(length, NULL, 10) != answer->length))
        return OUTCOME_PROTOCOL_ERROR;
    return OUTCOME_OK;
}

enum outcome admin_ask(const char *path, const char *method, const char *target, const char *body, size_t len,
                       unsigned patience_s, struct admin_answer *answer_out)
{
    *answer_out = (struct admin_answer){0};
    int fd = dial(path, patience_s);

    if (fd < 0)
        return outcome_of_errno();
    enum outcome outcome = exchange(fd, method, target, body, len, &answer_out->text);
    int saved = errno;
    close(fd);
    errno = saved;
    return outcome == OUTCOME_OK ? parse(answer_out) : outcome;
}

void admin_answer_fini(struct admin_answer *answer)
{
    buffer_fini(&answer->text);
}
