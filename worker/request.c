/* Header fields and bodies of requests. */
#include "worker/request.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "worker/conn.h"
#include "worker/decode.h"
#include "worker/fetch.h"

#define DATA_MAX (64u << 20)

static const char default_agent[] = "hotfleet/" HOTFLEET_VERSION;

static void lower(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] + 32);
    }
}

static bool span_is(struct span a, const char *word)
{
    return a.len == strlen(word) && memcmp(a.data, word, a.len) == 0;
}

/* Cuts one `Name: value` line. */
static bool split(const char *line, size_t len, struct span *name, struct span *value)
{
    const char *colon = memchr(line, ':', len);

    if (!colon)
        return false;
    *name = (struct span){line, (size_t)(colon - line)};
    const char *from = colon + 1;
    const char *to = line + len;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    *value = (struct span){from, (size_t)(to - from)};
    return true;
}

/* Fields that speak of one HTTP/1.1 connection, and make an HTTP/2 request malformed (RFC 9113 8.2.2). */
static bool is_of_connection(struct span lower_name)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection",  "te",
                                        "trailer",    "upgrade",    "transfer-encoding", "http2-settings"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (span_is(lower_name, names[i]))
            return true;
    }
    return false;
}

static bool grow(struct request_defaults *d)
{
    if (d->count < d->room)
        return true;
    unsigned room = d->room ? 2 * d->room : 16;
    struct request_field *fields = realloc(d->fields, room * sizeof *fields);
    if (!fields)
        return false;
    d->fields = fields;
    d->room = room;
    return true;
}

static void add_default(struct request_defaults *d, struct span name, struct span value)
{
    if (d->count == REQUEST_FIELDS_MAX || !grow(d))
        return;
    struct request_field *field = &d->fields[d->count++];
    char *copy = malloc(2 * name.len + value.len + 1);
    if (!copy) {
        d->count--;
        return;
    }
    memcpy(copy, name.data, name.len);
    memcpy(copy + name.len, name.data, name.len);
    lower(copy + name.len, name.len);
    memcpy(copy + 2 * name.len, value.data, value.len);
    field->name = (struct span){copy, name.len};
    field->lower = (struct span){copy + name.len, name.len};
    field->value = (struct span){copy + 2 * name.len, value.len};
    field->secret = span_is(field->lower, "authorization") || span_is(field->lower, "cookie");
    field->of_connection = is_of_connection(field->lower);
}

static bool has_default(const struct request_defaults *d, const char *lower_name)
{
    for (unsigned i = 0; i < d->count; i++) {
        if (span_is(d->fields[i].lower, lower_name))
            return true;
    }
    return false;
}

static void add_if_absent(struct request_defaults *d, const char *name, const char *lower_name, const char *value)
{
    if (!has_default(d, lower_name))
        add_default(d, (struct span){name, strlen(name)}, (struct span){value, strlen(value)});
}

static bool read_data(struct request_defaults *d, const char *data, const char **reason_out)
{
    char chunk[65536];
    ssize_t n;

    if (*data != '@') {
        buffer_append_str(&d->body, data);
        return true;
    }
    int fd = open(data + 1, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, chunk, sizeof chunk)) > 0 && d->body.len < DATA_MAX)
        buffer_append(&d->body, chunk, (size_t)n);
    if (fd < 0 || n != 0) {
        *reason_out = "the file of --data can't be read, or is above 64 MiB";
        if (fd >= 0)
            close(fd);
        return false;
    }
    close(fd);
    return true;
}

static void put_field(struct buffer *out, const struct request_field *field)
{
    buffer_append(out, field->name.data, field->name.len);
    buffer_append(out, ": ", 2);
    buffer_append(out, field->value.data, field->value.len);
    buffer_append(out, "\r\n", 2);
}

/* All fields of that name that the user gave; false: none. */
static bool add_given(struct request_defaults *d, const struct options *options, const char *name)
{
    size_t len = strlen(name);
    bool any = false;

    for (size_t i = 0; i < options->header.count; i++) {
        const char *line = options->header.items[i];
        struct span given;
        struct span value;
        if (split(line, strlen(line), &given, &value) && given.len == len && strncasecmp(given.data, name, len) == 0) {
            add_default(d, given, value);
            any = true;
        }
    }
    return any;
}

/* The browser's fields in its order; what the user gave stands in the place of its namesake. */
static void add_profile(struct request_defaults *d, const struct options *options)
{
    for (size_t i = 0; d->profile && i < d->profile->headers_count; i++) {
        const struct profile_header *h = &d->profile->headers[i];
        bool agent = strcmp(h->name, "User-Agent") == 0;
        const char *value = agent && *options->user_agent ? options->user_agent : h->value;
        if (add_given(d, options, h->name))
            continue;
        if (strcmp(h->name, "Accept-Language") == 0)
            d->language = d->count;
        add_default(d, (struct span){h->name, strlen(h->name)}, (struct span){value, strlen(value)});
    }
}

static bool is_of_profile(const struct request_defaults *d, struct span name)
{
    for (size_t i = 0; d->profile && i < d->profile->headers_count; i++) {
        const char *own = d->profile->headers[i].name;
        if (strlen(own) == name.len && strncasecmp(own, name.data, name.len) == 0)
            return true;
    }
    return false;
}

/* The place for the value of the connection's languages is left empty. */
static void make_tails(struct request_defaults *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        const struct request_field *field = &d->fields[i];
        struct request_field shown = *field;
        if (span_is(field->lower, "host"))
            continue;
        if (i == d->language) {
            shown.value.len = 0;
            d->language_at = d->h1_tail.len + field->name.len + 2;
            d->language_at_crossed = d->h1_tail_crossed.len + field->name.len + 2;
        }
        put_field(&d->h1_tail, &shown);
        if (!field->secret)
            put_field(&d->h1_tail_crossed, &shown);
    }
}

static void add_all(struct request_defaults *d, const struct options *options)
{
    struct span name;
    struct span value;

    d->language = REQUEST_FIELDS_MAX;
    add_profile(d, options);
    for (size_t i = 0; i < options->header.count; i++) {
        const char *line = options->header.items[i];
        if (split(line, strlen(line), &name, &value) && !is_of_profile(d, name))
            add_default(d, name, value);
    }
    add_if_absent(d, "User-Agent", "user-agent", *options->user_agent ? options->user_agent : default_agent);
    add_if_absent(d, "Accept", "accept", "*/*");
    if (options->compressed)
        add_if_absent(d, "Accept-Encoding", "accept-encoding", DECODE_ACCEPT_ENCODING);
    if (d->has_body)
        add_if_absent(d, "Content-Type", "content-type", "application/x-www-form-urlencoded");
    make_tails(d);
}

void request_defaults_for(struct request_defaults *d, const struct request_defaults *base,
                          const struct options *options, const struct profile *profile)
{
    *d = (struct request_defaults){
        .borrows = true, .method = base->method, .body = base->body, .has_body = base->has_body, .raw = base->raw};
    if (!*options->raw_request) {
        d->profile = profile;
        add_all(d, options);
    }
}

bool request_defaults_init(struct request_defaults *d, const struct options *options, const char **reason_out)
{
    if (*options->raw_request) {
        bool good = raw_request_read(&d->raw, options->raw_request, reason_out);
        d->method = d->raw.method_len ? (struct span){d->raw.method, d->raw.method_len} : (struct span){0};
        return good;
    }
    d->has_body = *options->data != '\0';
    if (d->has_body && !read_data(d, options->data, reason_out))
        return false;
    d->method = *options->method ? (struct span){options->method, strlen(options->method)}
                : d->has_body    ? (struct span){"POST", 4}
                                 : (struct span){"GET", 3};
    add_all(d, options);
    return true;
}

void request_defaults_fini(struct request_defaults *d)
{
    for (unsigned i = 0; i < d->count; i++)
        free((char *)(uintptr_t)d->fields[i].name.data);
    free(d->fields);
    if (!d->borrows) {
        raw_request_fini(&d->raw);
        buffer_fini(&d->body);
    }
    buffer_fini(&d->h1_tail);
    buffer_fini(&d->h1_tail_crossed);
    *d = (struct request_defaults){0};
}

struct span request_method(const struct request_defaults *d, const struct fetch *f)
{
    if (f->validating)
        return (struct span){"HEAD", 4};
    return f->method.len ? f->method : d->method;
}

struct span request_raw(const struct request_defaults *d)
{
    return (struct span){d->raw.bytes.data, d->raw.bytes.len};
}

bool request_can_be_followed(const struct request_defaults *d)
{
    return d->raw.bytes.len == 0 || d->raw.is_whole;
}

struct span request_body(const struct request_defaults *d, const struct fetch *f)
{
    if (f->validating)
        return (struct span){0};
    if (f->body.data)
        return f->body;
    /* A line that names its own method asks for a request of its own; the option's body goes with the option's method.
     */
    if ((f->m.flags & TASK_NO_BODY) || !d->has_body || f->method.len)
        return (struct span){0};
    return (struct span){d->body.data, d->body.len};
}

/* Cuts the next line off a task's own fields; false at the end. */
static bool next_own(struct span *rest, struct request_field *field)
{
    const char *end = rest->len ? memchr(rest->data, '\r', rest->len) : NULL;

    if (!end)
        return false;
    bool good = split(rest->data, (size_t)(end - rest->data), &field->name, &field->value);
    size_t used = (size_t)(end - rest->data) + 2;
    rest->data += used;
    rest->len = rest->len > used ? rest->len - used : 0;
    return good;
}

static bool name_equal(struct span a, struct span lower_name)
{
    if (a.len != lower_name.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char c = a.data[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != lower_name.data[i])
            return false;
    }
    return true;
}

static bool own_has(struct span headers, struct span lower_name)
{
    struct request_field own;

    while (next_own(&headers, &own)) {
        if (name_equal(own.name, lower_name))
            return true;
    }
    return false;
}

static bool is_secret(struct span name)
{
    return name_equal(name, (struct span){"authorization", 13}) || name_equal(name, (struct span){"cookie", 6});
}

/* What the fetch's connection says of languages, in place of what the profile has. */
static struct span language_of(const struct request_defaults *d, const struct fetch *f)
{
    return f->conn && f->conn->language_len ? (struct span){f->conn->language, f->conn->language_len}
                                            : d->fields[d->language].value;
}

static void put_tail(const struct request_defaults *d, const struct fetch *f, const struct buffer *tail, size_t at,
                     struct buffer *out)
{
    if (d->language >= d->count) {
        buffer_append(out, tail->data, tail->len);
        return;
    }
    struct span language = language_of(d, f);
    buffer_append(out, tail->data, at);
    buffer_append(out, language.data, language.len);
    buffer_append(out, tail->data + at, tail->len - at);
}

static void put_own_h1(const struct request_defaults *d, const struct fetch *f, struct buffer *out)
{
    bool crossed = f->m.flags & TASK_CROSSED;
    struct span rest = f->headers;
    struct request_field own;

    for (unsigned i = 0; i < d->count; i++) {
        struct request_field field = d->fields[i];
        if (i == d->language)
            field.value = language_of(d, f);
        if (!span_is(field.lower, "host") && !(crossed && field.secret) && !own_has(f->headers, field.lower))
            put_field(out, &field);
    }
    while (next_own(&rest, &own)) {
        if (!(crossed && is_secret(own.name)))
            put_field(out, &own);
    }
}

/* The authority as it stands in the URL: host, and the port unless it is the scheme's own. */
static struct span authority(const struct fetch *f)
{
    return (struct span){f->url.text + f->url.host_offset, (size_t)(f->url.path_offset - f->url.host_offset)};
}

/* A host named by hand is for the first origin only. */
static struct span own_host(const struct request_defaults *d, const struct fetch *f)
{
    if (f->m.flags & TASK_CROSSED)
        return authority(f);
    for (unsigned i = 0; i < d->count; i++) {
        if (span_is(d->fields[i].lower, "host"))
            return d->fields[i].value;
    }
    return authority(f);
}

static void put_span(struct buffer *out, struct span s)
{
    buffer_append(out, s.data, s.len);
}

void request_put_h1(const struct request_defaults *d, const struct fetch *f, struct buffer *out)
{
    struct span method = request_method(d, f);
    struct span body = request_body(d, f);

    put_span(out, method);
    buffer_append_char(out, ' ');
    buffer_append(out, f->url.text + f->url.path_offset, f->url.len - f->url.path_offset);
    buffer_append(out, " HTTP/1.1\r\nHost: ", 17);
    put_span(out, own_host(d, f));
    buffer_append(out, "\r\n", 2);
    if (f->headers.len)
        put_own_h1(d, f, out);
    else if (f->m.flags & TASK_CROSSED)
        put_tail(d, f, &d->h1_tail_crossed, d->language_at_crossed, out);
    else
        put_tail(d, f, &d->h1_tail, d->language_at, out);
    /* Methods that mean a body say so even when it is empty (RFC 9110 8.6). */
    if (body.data || span_is(method, "POST") || span_is(method, "PUT") || span_is(method, "PATCH"))
        buffer_printf(out, "Content-Length: %zu\r\n", body.len);
    buffer_append(out, "\r\n", 2);
    put_span(out, body);
}

/* Only what outlives every request is passed to nghttp2 by reference; it copies the rest. */
#define FIXED_NAME NGHTTP2_NV_FLAG_NO_COPY_NAME
#define FIXED      (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)

static nghttp2_nv nv(struct span name, struct span value, uint8_t flags)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.data,
        .namelen = name.len,
        .value = (uint8_t *)(uintptr_t)value.data,
        .valuelen = value.len,
        .flags = flags,
    };
}

#define literal(text) ((struct span){(text), sizeof(text) - 1})

static size_t fill_own_h2(const struct fetch *f, struct buffer *scratch, nghttp2_nv *out, size_t max)
{
    struct span rest = f->headers;
    struct request_field own;
    size_t n = 0;

    /* Room for all names beforehand: the spans point into the buffer. */
    buffer_clear(scratch);
    buffer_reserve(scratch, f->headers.len);
    while (n < max && next_own(&rest, &own)) {
        if ((f->m.flags & TASK_CROSSED) && is_secret(own.name))
            continue;
        char *name = scratch->data + scratch->len;
        buffer_append(scratch, own.name.data, own.name.len);
        lower(name, own.name.len);
        out[n++] = nv((struct span){name, own.name.len}, own.value, NGHTTP2_NV_FLAG_NONE);
    }
    return n;
}

size_t request_fill_h2(const struct request_defaults *d, const struct fetch *f, struct buffer *scratch, nghttp2_nv *out)
{
    bool crossed = f->m.flags & TASK_CROSSED;
    struct span path = {f->url.text + f->url.path_offset, f->url.len - f->url.path_offset};
    size_t n = 0;

    for (const char *order = d->profile ? d->profile->http2.pseudo_headers : "msap"; *order; order++) {
        if (*order == 'm')
            out[n++] = nv(literal(":method"), request_method(d, f), FIXED_NAME);
        else if (*order == 's')
            out[n++] = nv(literal(":scheme"), f->url.scheme == URL_HTTPS ? literal("https") : literal("http"), FIXED);
        else if (*order == 'a')
            out[n++] = nv(literal(":authority"), own_host(d, f), FIXED_NAME);
        else
            out[n++] = nv(literal(":path"), path, FIXED_NAME);
    }
    for (unsigned i = 0; i < d->count; i++) {
        const struct request_field *field = &d->fields[i];
        if (!span_is(field->lower, "host") && !field->of_connection && !(crossed && field->secret) &&
            !(f->headers.len && own_has(f->headers, field->lower)))
            out[n++] = nv(field->lower, i == d->language ? language_of(d, f) : field->value, FIXED);
    }
    struct span body = request_body(d, f);
    if (body.data) {
        static char length[24];
        int len = snprintf(length, sizeof length, "%zu", body.len);
        out[n++] = nv(literal("content-length"), (struct span){length, (size_t)len}, FIXED_NAME);
    }
    if (f->headers.len)
        n += fill_own_h2(f, scratch, out + n, REQUEST_FIELDS_MAX + 6 - n);
    return n;
}
