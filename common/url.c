/* The WHATWG basic URL parser, cut down to http and https: one pass over the input, by a table of byte classes, into
 * the caller's buffer. The states of the standard are the functions read_*; what is left of the input is p->at ..
 * p->end. */
#include "common/url.h"

#include <string.h>
#include <strings.h>

#include "common/url_host.h"

enum byte_class {
    BYTE_PATH = 1,      /* stands in a path as it is */
    BYTE_QUERY = 2,     /* stands in a query as it is */
    BYTE_SCHEME = 4,    /* may stand in a scheme after its first letter */
    BYTE_SLASH = 8,     /* "/" and "\" */
    BYTE_STOP = 16,     /* ends an authority and a path: "/", "\" and "?" */
    BYTE_AUTHORITY = 32 /* means something in an authority: "@", ":", "[", "]" */
};

#define BYTE_PLAIN (BYTE_PATH | BYTE_QUERY)

/* The percent-encode sets "path" and "special-query"; a byte in neither class is encoded. */
static const uint8_t byte_class[256] = {
    ['!'] = BYTE_PLAIN,
    ['$'] = BYTE_PLAIN,
    ['%'] = BYTE_PLAIN,
    ['&'] = BYTE_PLAIN,
    ['\''] = BYTE_PATH,
    ['('] = BYTE_PLAIN,
    [')'] = BYTE_PLAIN,
    ['*'] = BYTE_PLAIN,
    ['+'] = BYTE_PLAIN | BYTE_SCHEME,
    [','] = BYTE_PLAIN,
    ['-'] = BYTE_PLAIN | BYTE_SCHEME,
    ['.'] = BYTE_PLAIN | BYTE_SCHEME,
    ['/'] = BYTE_QUERY | BYTE_SLASH | BYTE_STOP,
    ['0' ... '9'] = BYTE_PLAIN | BYTE_SCHEME,
    [':'] = BYTE_PLAIN | BYTE_AUTHORITY,
    [';'] = BYTE_PLAIN,
    ['='] = BYTE_PLAIN,
    ['?'] = BYTE_QUERY | BYTE_STOP,
    ['@'] = BYTE_PLAIN | BYTE_AUTHORITY,
    ['A' ... 'Z'] = BYTE_PLAIN | BYTE_SCHEME,
    ['['] = BYTE_PLAIN | BYTE_AUTHORITY,
    ['\\'] = BYTE_QUERY | BYTE_SLASH | BYTE_STOP,
    [']'] = BYTE_PLAIN | BYTE_AUTHORITY,
    ['^'] = BYTE_QUERY,
    ['_'] = BYTE_PLAIN,
    ['`'] = BYTE_QUERY,
    ['a' ... 'z'] = BYTE_PLAIN | BYTE_SCHEME,
    ['{'] = BYTE_QUERY,
    ['|'] = BYTE_PLAIN,
    ['}'] = BYTE_QUERY,
    ['~'] = BYTE_PLAIN,
};

static const struct {
    char prefix[8]; /* not NUL-terminated */
    uint8_t name_len, prefix_len;
    uint16_t port;
} schemes[] = {[URL_HTTP] = {"http://", 4, 7, 80}, [URL_HTTPS] = {"https://", 5, 8, 443}};

/* Room for everything a canonical URL has beside path and query. */
#define HEAD_MAX (sizeof "https://:65535" + URL_HOST_MAX)

struct parser {
    const char *at, *end; /* the input still unread: without its fragment, tabs and newlines */
    const struct url *base;
    struct buffer *out; /* has room for all that can come */
    struct url *url;
    const char *reason;
};

static enum outcome refuse(struct parser *p, enum outcome outcome, const char *reason)
{
    p->reason = reason;
    return outcome;
}

static uint8_t class_of(char c)
{
    return byte_class[(uint8_t)c];
}

static bool at_slash(const struct parser *p)
{
    return p->at < p->end && (class_of(*p->at) & BYTE_SLASH);
}

static void skip_slashes(struct parser *p)
{
    while (at_slash(p))
        p->at++;
}

/* Written without a branch in the loop, so that the compiler makes it a vector loop. */
static bool has_control(const char *text, size_t len)
{
    unsigned found = 0;

    for (size_t i = 0; i < len; i++)
        found |= (uint8_t)text[i] < ' ';
    return found != 0;
}

/* Strips the input, cuts its fragment off and makes the room. Tabs and newlines are rare: only an input that has some
 * is copied, behind the room that the canonical form can take. */
static enum outcome take_input(struct parser *p, const char *input, size_t len)
{
    while (len > 0 && (uint8_t)input[len - 1] <= ' ')
        len--;
    while (len > 0 && (uint8_t)*input <= ' ') {
        input++;
        len--;
    }
    const char *hash = len ? memchr(input, '#', len) : NULL;
    if (hash)
        len = (size_t)(hash - input);
    if (len > URL_LEN_MAX)
        return refuse(p, OUTCOME_INVALID_URL, "the URL is longer than 65535 bytes");

    size_t room = HEAD_MAX + (p->base ? p->base->len : 0) + 3 * len;
    buffer_reserve(p->out, room + len);
    p->at = input;
    p->end = input + len;
    if (has_control(input, len)) {
        char *clean = p->out->data + room;
        p->at = clean;
        for (size_t i = 0; i < len; i++) {
            *clean = input[i];
            clean += input[i] != '\t' && input[i] != '\n' && input[i] != '\r';
        }
        p->end = clean;
    }
    return OUTCOME_OK;
}

/* Writes the input as far as it is not of class `stop`; what is not of class `plain` is percent-encoded. */
static void write_encoded(struct parser *p, uint8_t plain, uint8_t stop)
{
    static const char hex[] = "0123456789ABCDEF";
    const char *at = p->at;
    char *out = p->out->data + p->out->len;

    for (; at < p->end; at++) {
        uint8_t byte = (uint8_t)*at;
        if (byte_class[byte] & plain) {
            *out++ = *at;
        } else if (byte_class[byte] & stop) {
            break;
        } else {
            *out++ = '%';
            *out++ = hex[byte >> 4];
            *out++ = hex[byte & 15];
        }
    }
    p->at = at;
    p->out->len = (size_t)(out - p->out->data);
}

/* How many dots a segment is made of, "%2e" counting as one: 1 or 2, else 0. */
static unsigned count_dots(const char *segment, size_t len)
{
    unsigned dots = 0;

    for (size_t i = 0; i < len; dots++) {
        if (segment[i] == '.')
            i += 1;
        else if (len - i >= 3 && segment[i] == '%' && segment[i + 1] == '2' && (segment[i + 2] | 0x20) == 'e')
            i += 3;
        else
            return 0;
    }
    return dots <= 2 ? dots : 0;
}

/* Takes the segment that begins with the "/" at `start` away again, and for two dots the one before it, too. */
static void drop_segment(struct parser *p, size_t start, unsigned dots)
{
    struct buffer *out = p->out;

    out->len = start;
    if (dots == 2 && start > p->url->path_offset) {
        while (out->data[--out->len] != '/')
            continue;
    }
}

/* Writes the path, each segment with a "/" before it, behind what of the base's path is kept; stops at "?". */
static void read_path(struct parser *p)
{
    struct buffer *out = p->out;
    bool more;

    do {
        size_t start = out->len;
        out->data[out->len++] = '/';
        write_encoded(p, BYTE_PATH, BYTE_STOP);
        more = at_slash(p);
        if (more)
            p->at++;
        const char *segment = out->data + start + 1;
        if (out->len > start + 1 && (*segment == '.' || *segment == '%')) {
            unsigned dots = count_dots(segment, out->len - start - 1);
            if (dots)
                drop_segment(p, start, dots);
            if (dots && !more)
                out->data[out->len++] = '/';
        }
    } while (more);
    p->url->path_len = (uint32_t)(out->len - p->url->path_offset);
}

static void read_path_and_query(struct parser *p)
{
    if (at_slash(p))
        p->at++;
    read_path(p);
    write_encoded(p, BYTE_QUERY, 0);
}

/* Reads the digits before `end` into url->port and writes them unless they are the scheme's own. */
static enum outcome read_port(struct parser *p, const char *digits, const char *end)
{
    uint32_t port = 0;

    p->url->port = schemes[p->url->scheme].port;
    p->url->port_is_default = true;
    if (digits == end)
        return OUTCOME_OK;
    for (const char *c = digits; c < end; c++) {
        if (*c < '0' || *c > '9')
            return refuse(p, OUTCOME_INVALID_URL, "the port is not a number");
        if (port <= UINT16_MAX)
            port = port * 10 + (uint32_t)(*c - '0');
    }
    if (port > UINT16_MAX)
        return refuse(p, OUTCOME_INVALID_URL, "the port is above 65535");
    if (port == 0)
        return refuse(p, OUTCOME_INVALID_URL, "the port is 0");
    p->url->port_is_default = port == p->url->port;
    p->url->port = (uint16_t)port;
    return OUTCOME_OK;
}

static void write_port(struct buffer *out, unsigned port)
{
    char digits[5];
    size_t n = sizeof digits;

    for (; port; port /= 10)
        digits[--n] = (char)('0' + port % 10);
    out->data[out->len++] = ':';
    memcpy(out->data + out->len, digits + n, sizeof digits - n);
    out->len += sizeof digits - n;
}

/* The parts of [user[:password]@]host[:port]. */
struct authority {
    const char *host;
    const char *host_end;
    const char *port; /* its first digit, or `end` */
    const char *end;
};

/* The last "@" ends the credentials; the first ":" after it outside of brackets ends the host. */
static struct authority split_authority(const struct parser *p)
{
    struct authority a = {.host = p->at};
    const char *host_end = NULL;
    bool in_brackets = false;
    const char *c = p->at;

    for (; c < p->end; c++) {
        uint8_t kind = class_of(*c) & (BYTE_STOP | BYTE_AUTHORITY);
        if (!kind)
            continue;
        if (kind & BYTE_STOP)
            break;
        if (*c == '@') {
            a.host = c + 1;
            host_end = NULL;
            in_brackets = false;
        } else if (*c != ':') {
            in_brackets = *c == '[';
        } else if (!in_brackets && !host_end) {
            host_end = c;
        }
    }
    a.end = c;
    a.host_end = host_end ? host_end : c;
    a.port = host_end ? host_end + 1 : c;
    return a;
}

/* The port is judged before the host, so that OUTCOME_INVALID_HOST means that nothing else is wrong. */
static enum outcome read_authority(struct parser *p)
{
    struct authority a = split_authority(p);
    struct buffer *out = p->out;
    struct url *url = p->url;
    size_t userinfo_len = a.host > p->at ? (size_t)(a.host - p->at) - 1 : 0;

    url->has_credentials = userinfo_len > 1 || (userinfo_len == 1 && *p->at != ':');
    enum outcome outcome = read_port(p, a.port, a.end);
    if (outcome != OUTCOME_OK)
        return outcome;
    if (a.host == a.host_end)
        return refuse(p, OUTCOME_INVALID_HOST, "the host is empty");

    url->host_offset = schemes[url->scheme].prefix_len;
    memcpy(out->data, schemes[url->scheme].prefix, sizeof schemes->prefix); /* a fixed size is one store */
    out->len = url->host_offset;
    outcome = url_host_write(a.host, (size_t)(a.host_end - a.host), out, &url->host_is_ip, &p->reason);
    if (outcome != OUTCOME_OK)
        return outcome;
    url->host_len = (uint16_t)(out->len - url->host_offset);
    if (!url->port_is_default)
        write_port(out, url->port);
    url->path_offset = (uint16_t)out->len;
    p->at = a.end;
    read_path_and_query(p);
    return OUTCOME_OK;
}

/* How much of the base stands before what a relative reference adds. */
static size_t kept_of_base(const struct parser *p)
{
    const struct url *base = p->base;
    size_t path_end = base->path_offset + base->path_len;

    if (p->at == p->end)
        return base->len;
    if (*p->at == '?')
        return path_end;
    if (at_slash(p))
        return base->path_offset;
    while (base->text[--path_end] != '/')
        continue;
    return path_end;
}

static enum outcome read_relative(struct parser *p)
{
    size_t kept = kept_of_base(p);
    bool has_path = kept < p->base->path_offset + p->base->path_len;

    if (p->end - p->at >= 2 && at_slash(p) && (class_of(p->at[1]) & BYTE_SLASH)) {
        p->url->scheme = p->base->scheme;
        skip_slashes(p);
        return read_authority(p);
    }
    *p->url = *p->base;
    buffer_append(p->out, p->base->text, kept);
    if (has_path)
        read_path_and_query(p);
    else
        write_encoded(p, BYTE_QUERY, 0);
    return OUTCOME_OK;
}

/* The length of the scheme's name; 0: the input has no scheme. */
static size_t measure_scheme(const struct parser *p)
{
    const char *c = p->at;

    if (c == p->end || (*c | 0x20) < 'a' || (*c | 0x20) > 'z')
        return 0;
    while (c < p->end && (class_of(*c) & BYTE_SCHEME))
        c++;
    return c < p->end && *c == ':' ? (size_t)(c - p->at) : 0;
}

static enum outcome read_start(struct parser *p)
{
    size_t len = measure_scheme(p);

    if (len == 0) {
        if (p->base)
            return read_relative(p);
        return refuse(p, OUTCOME_INVALID_URL, p->at == p->end ? "the URL is empty" : "the scheme is missing");
    }
    if (len == schemes[URL_HTTPS].name_len && strncasecmp(p->at, "https", len) == 0)
        p->url->scheme = URL_HTTPS;
    else if (len == schemes[URL_HTTP].name_len && strncasecmp(p->at, "http", len) == 0)
        p->url->scheme = URL_HTTP;
    else
        return refuse(p, OUTCOME_INVALID_URL, "the scheme is neither http nor https");
    p->at += len + 1;
    bool has_slashes = p->end - p->at >= 2 && p->at[0] == '/' && p->at[1] == '/';
    if (p->base && p->base->scheme == p->url->scheme && !has_slashes)
        return read_relative(p);
    skip_slashes(p);
    return read_authority(p);
}

enum outcome url_parse(const char *input, size_t len, const struct url *base, struct buffer *out, struct url *url_out,
                       const char **reason_out)
{
    struct parser p = {.base = base, .out = out, .url = url_out};

    buffer_clear(out);
    *url_out = (struct url){0};
    enum outcome outcome = take_input(&p, input, len);
    if (outcome == OUTCOME_OK)
        outcome = read_start(&p);
    if (outcome == OUTCOME_OK && out->len > URL_LEN_MAX)
        outcome = refuse(&p, OUTCOME_INVALID_URL, "the URL is longer than 65535 bytes when it is percent-encoded");
    *reason_out = p.reason;
    if (outcome != OUTCOME_OK) {
        *url_out = (struct url){0};
        return outcome;
    }
    url_out->text = out->data;
    url_out->len = (uint32_t)out->len;
    return outcome;
}

enum { SHAPE_IS = 1, SHAPE_HTTPS = 2, SHAPE_PORT_IS_DEFAULT = 4, SHAPE_HOST_IS_IP = 8 };

struct url_shape url_shape(const struct url *url)
{
    return (struct url_shape){
        .path_len = url->path_len,
        .port = url->port,
        .path_offset = url->path_offset,
        .host_len = (uint8_t)url->host_len,
        .marks =
            (uint8_t)(SHAPE_IS | (url->scheme == URL_HTTPS ? SHAPE_HTTPS : 0) |
                      (url->port_is_default ? SHAPE_PORT_IS_DEFAULT : 0) | (url->host_is_ip ? SHAPE_HOST_IS_IP : 0)),
    };
}

struct url url_of_shape(const struct url_shape *shape, const char *text, uint32_t len)
{
    bool https = shape->marks & SHAPE_HTTPS;

    return (struct url){
        .text = text,
        .len = len,
        .host_offset = https ? sizeof "https://" - 1 : sizeof "http://" - 1,
        .host_len = shape->host_len,
        .port = shape->port,
        .path_offset = shape->path_offset,
        .path_len = shape->path_len,
        .scheme = https ? URL_HTTPS : URL_HTTP,
        .port_is_default = (shape->marks & SHAPE_PORT_IS_DEFAULT) != 0,
        .host_is_ip = (shape->marks & SHAPE_HOST_IS_IP) != 0,
    };
}
