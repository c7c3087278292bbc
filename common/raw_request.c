/* Reading a raw request and finding its method and its end. */
#include "common/raw_request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/token.h"

static bool fd_read(int fd, struct buffer *out, const char **reason_out)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        *reason_out = "it is no regular file, which every worker could read";
        return false;
    }
    while (out->len <= RAW_REQUEST_BYTES_MAX) {
        buffer_reserve(out, 65536);
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0) {
            *reason_out = strerror(errno);
            return false;
        }
        if (n == 0)
            break;
        out->len += (size_t)n;
    }
    if (out->len == 0)
        *reason_out = "it is empty";
    else if (out->len > RAW_REQUEST_BYTES_MAX)
        *reason_out = "it is larger than 64 MiB";
    else
        return true;
    return false;
}

bool raw_request_read(struct raw_request *r, const char *path, const char **reason_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *r = (struct raw_request){0};
    if (fd < 0) {
        *reason_out = strerror(errno);
        return false;
    }
    bool good = fd_read(fd, &r->bytes, reason_out);
    close(fd);
    if (good)
        raw_request_examine(r);
    else
        raw_request_fini(r);
    return good;
}

void raw_request_fini(struct raw_request *r)
{
    buffer_fini(&r->bytes);
    *r = (struct raw_request){0};
}

/* Cuts the next line, which ends in CRLF and holds neither of the two alone; false: there is none. */
static bool next_line(const char **at, const char *end, const char **line_out, size_t *len_out)
{
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));

    if (!lf || lf == *at || lf[-1] != '\r')
        return false;
    *line_out = *at;
    *len_out = (size_t)(lf - 1 - *at);
    *at = lf + 1;
    return !memchr(*line_out, '\r', *len_out);
}

static bool request_line_is_plain(const struct raw_request *r, const char *line, size_t len)
{
    static const char version[] = " HTTP/1.";
    size_t tail = sizeof version; /* with the minor version's digit */
    bool is_connect = r->method_len == 7 && memcmp(r->method, "CONNECT", 7) == 0;

    return r->method_len > 0 && !is_connect && len > r->method_len + tail &&
           memcmp(line + len - tail, version, tail - 1) == 0;
}

struct framing {
    bool has_length;
    size_t length;
};

/* False: the field makes the request's end doubtful. */
static bool field_take(struct framing *f, const char *line, size_t len)
{
    static const char length_name[] = "Content-Length";
    static const char coding_name[] = "Transfer-Encoding";
    static const char upgrade_name[] = "Upgrade";
    size_t name_len = token_span(line, len);

    if (name_len == 0 || name_len == len || line[name_len] != ':')
        return false;
    if ((name_len == sizeof coding_name - 1 && strncasecmp(line, coding_name, name_len) == 0) ||
        (name_len == sizeof upgrade_name - 1 && strncasecmp(line, upgrade_name, name_len) == 0))
        return false;
    if (name_len != sizeof length_name - 1 || strncasecmp(line, length_name, name_len) != 0)
        return true;
    size_t at = name_len + 1;
    while (at < len && line[at] == ' ')
        at++;
    bool good = !f->has_length && at < len && len - at <= 8;
    for (f->has_length = true; good && at < len; at++) {
        good = line[at] >= '0' && line[at] <= '9';
        f->length = f->length * 10 + (size_t)(line[at] - '0');
    }
    return good;
}

static bool is_one_request(const struct raw_request *r, const char *at, const char *end)
{
    struct framing framing = {0};
    const char *line;
    size_t len;

    if (!next_line(&at, end, &line, &len) || !request_line_is_plain(r, line, len))
        return false;
    while (next_line(&at, end, &line, &len)) {
        if (len == 0)
            return framing.length == (size_t)(end - at);
        if (!field_take(&framing, line, len))
            return false;
    }
    return false;
}

void raw_request_examine(struct raw_request *r)
{
    const char *at = r->bytes.data;
    const char *end = at + r->bytes.len;

    /* Servers pass over empty lines before a request (RFC 9112 2.2). */
    while (at < end && (*at == '\r' || *at == '\n'))
        at++;
    size_t len = token_span(at, (size_t)(end - at));
    bool ends = at + len == end || at[len] == ' ' || at[len] == '\r' || at[len] == '\n';
    r->method_len = ends && len <= RAW_METHOD_MAX ? len : 0;
    memcpy(r->method, at, r->method_len);
    r->is_whole = is_one_request(r, at, end);
}
