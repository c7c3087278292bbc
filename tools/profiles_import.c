/* Puts a profile together: the hello as it was captured; HTTP/2 and header fields likewise, or of the nearest profile
 * that there is. */
#include "tools/profiles_import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/capture.h"
#include "common/log.h"
#include "common/profile.h"
#include "common/profile_import.h"
#include "tools/h2_frames.h"

#define HTTP2_FILE_MAX 65536

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct import {
    const char *file, *http2_file, *name;
    struct buffer hello, layout;
    struct h2_frames frames;
    const struct profile *like; /* what gives the parts that were not captured */
    struct buffer out;
};

static bool complain(const char *file, const char *reason)
{
    fprintf(stderr, "hotfleet: \"%s\": %s\n", file, reason);
    return false;
}

static bool read_file(const char *path, size_t max, struct buffer *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && out->len <= max) {
        buffer_reserve(out, 65536);
        n = read(fd, out->data + out->len, 65536);
        out->len += n > 0 ? (size_t)n : 0;
    }
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return complain(path, strerror(reason));
    return out->len <= max || complain(path, "it is larger than a capture may be");
}

static bool read_hello(struct import *im)
{
    char reason[PROFILE_IMPORT_REASON] = "";
    const char *wrong = reason;
    struct buffer file = {0};

    bool good = read_file(im->file, CAPTURE_MAX, &file);
    if (good)
        good = (capture_find_hello(file.data, file.len, &im->hello, &wrong) &&
                profile_import_hello((const uint8_t *)im->hello.data, im->hello.len, &im->layout, reason)) ||
               complain(im->file, *reason ? reason : wrong);
    buffer_fini(&file);
    return good;
}

static bool read_http2(struct import *im)
{
    struct buffer file = {0};
    struct buffer bytes = {0};

    if (!im->http2_file)
        return true;
    bool good = read_file(im->http2_file, HTTP2_FILE_MAX, &file);
    if (good && !capture_unhex(file.data, file.len, &bytes)) {
        buffer_clear(&bytes);
        buffer_append(&bytes, file.data, file.len);
    }
    if (good && (bytes.len < H2_PREFACE_LEN || memcmp(bytes.data, preface, H2_PREFACE_LEN) != 0))
        good = complain(im->http2_file, "it does not begin with the preface of HTTP/2");
    if (good) {
        h2_frames_read(bytes.data, bytes.len, &im->frames);
        good = im->frames.settings.len > 0 || complain(im->http2_file, "there are no whole SETTINGS in it");
    }
    buffer_fini(&file);
    buffer_fini(&bytes);
    return good;
}

/* How many ciphers and extensions both have, less those that one alone has. */
static int likeness(const struct client_hello *hello, const struct hello_layout *layout)
{
    int score = -(int)(layout->extension_count + layout->cipher_count);

    for (size_t i = 0; i < hello->extension_count; i++)
        score += hello_layout_find(layout, hello->extensions[i].type) ? 2 : -1;
    for (size_t i = 0; i < hello->ciphers.count; i++) {
        size_t j = 0;
        while (j < layout->cipher_count && layout->ciphers[j] != hello->ciphers.codes[i])
            j++;
        score += j < layout->cipher_count ? 2 : -1;
    }
    return score;
}

static void choose_like(struct import *im)
{
    struct client_hello hello;
    int best = 0;

    if (!client_hello_parse((const uint8_t *)im->hello.data, im->hello.len, &hello))
        return;
    for (size_t i = 0; i < profile_count(); i++) {
        const struct profile *p = profile_at(i);
        int score = 2 * likeness(&hello, p->hello) + p->recommended;
        if (p->draw == PROFILE_FIXED && (!im->like || score > best)) {
            im->like = p;
            best = score;
        }
    }
}

/* The value of a captured field, to the end of its line; NULL: it was not captured. */
static const char *captured(const struct import *im, const char *name, size_t *len_out)
{
    const char *at = im->frames.fields.data;
    const char *end = at ? at + im->frames.fields.len : NULL;
    size_t name_len = strlen(name);

    while (at && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if ((size_t)(newline - at) > name_len + 2 && memcmp(at, name, name_len) == 0 && at[name_len] == ':') {
            *len_out = (size_t)(newline - at) - name_len - 2;
            return at + name_len + 2;
        }
        at = newline + 1;
    }
    return NULL;
}

static void put_text(struct buffer *out, const char *key, const char *text, size_t len)
{
    buffer_printf(out, "%s = ", key);
    profile_import_string(out, text, len);
    buffer_append_char(out, '\n');
}

/* The digits behind what marks a browser's version; the first mark that is there counts. */
static void put_version(struct buffer *out, const char *agent, size_t len)
{
    static const char *const marks[] = {"Edg/", "Chrome/", "Firefox/", "Version/"};
    size_t digits = 0;

    for (size_t i = 0; digits == 0 && i < sizeof marks / sizeof marks[0]; i++) {
        const char *at = memmem(agent, len, marks[i], strlen(marks[i]));
        const char *end = agent + len;
        for (at = at ? at + strlen(marks[i]) : end; at + digits < end && at[digits] >= '0' && at[digits] <= '9';)
            digits++;
        if (digits)
            put_text(out, "version", at, digits < 7 ? digits : 7);
    }
}

static const char *platform_of(const struct import *im, const char *agent, size_t len)
{
    static const char *const marks[][2] = {{"Windows", "windows"},
                                           {"iPhone", "iphone"},
                                           {"Macintosh", "macos"},
                                           {"Android", "android"},
                                           {"Linux", "linux"}};

    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (memmem(agent, len, marks[i][0], strlen(marks[i][0])))
            return marks[i][1];
    }
    return im->like->platform;
}

static void put_head(struct import *im)
{
    size_t len = 0;
    const char *own = captured(im, "user-agent", &len);
    const char *agent = own ? own : im->like->user_agent;

    if (!own)
        len = strlen(agent);
    buffer_printf(&im->out, "# Made of a captured ClientHello by hotfleet profiles import.\n");
    if (!own)
        buffer_printf(&im->out, "# Not captured, and therefore those of %s: User-Agent and header fields.\n",
                      im->like->name);
    if (im->frames.settings.len == 0)
        buffer_printf(&im->out, "# Not captured, and therefore that of %s: HTTP/2.\n", im->like->name);
    put_text(&im->out, "name", im->name, strlen(im->name));
    put_text(&im->out, "browser", im->like->browser, strlen(im->like->browser));
    put_version(&im->out, agent, len);
    const char *platform = platform_of(im, agent, len);
    put_text(&im->out, "platform", platform, strlen(platform));
    put_text(&im->out, "description", "imported", strlen("imported"));
    buffer_append_str(&im->out, "recommended = false\nsafe = false\n");
    put_text(&im->out, "user_agent", agent, len);
}

/* Fields of one request alone, or of the connection. */
static bool is_kept(const char *line, size_t name_len)
{
    static const char *const passing[] = {"cookie",
                                          "authorization",
                                          "referer",
                                          "origin",
                                          "content-length",
                                          "content-type",
                                          "host",
                                          "range",
                                          "te",
                                          "cache-control",
                                          "pragma",
                                          "if-none-match",
                                          "dnt",
                                          "if-modified-since"};

    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
        if (strlen(passing[i]) == name_len && memcmp(passing[i], line, name_len) == 0)
            return false;
    }
    return true;
}

/* HTTP/2 has names in lower case: spelled as the nearest profile does, else with capitals, as browsers do. */
static void put_name(struct buffer *line, const struct profile *like, const char *name, size_t len)
{
    for (size_t i = 0; i < like->headers_count; i++) {
        const char *known = like->headers[i].name;
        if (strlen(known) == len && strncasecmp(known, name, len) == 0) {
            buffer_append(line, known, len);
            return;
        }
    }
    bool lower = len > 7 && memcmp(name, "sec-ch-", 7) == 0;
    for (size_t i = 0; i < len; i++) {
        bool first = !lower && (i == 0 || name[i - 1] == '-') && name[i] >= 'a' && name[i] <= 'z';
        buffer_append_char(line, (char)(first ? name[i] - 'a' + 'A' : name[i]));
    }
}

static void put_header(struct buffer *out, const struct buffer *line)
{
    buffer_append_str(out, "    ");
    profile_import_string(out, line->data, line->len);
    buffer_append_str(out, ",\n");
}

static void put_captured_headers(struct import *im)
{
    const char *at = im->frames.fields.data;
    const char *end = at + im->frames.fields.len;

    for (const char *newline; at < end; at = newline + 1) {
        struct buffer line = {0};
        newline = memchr(at, '\n', (size_t)(end - at));
        size_t name_len = (size_t)((const char *)memchr(at, ':', (size_t)(end - at)) - at);
        if (!is_kept(at, name_len))
            continue;
        put_name(&line, im->like, at, name_len);
        if (name_len != 10 || memcmp(at, "user-agent", 10) != 0)
            buffer_append(&line, at + name_len, (size_t)(newline - at) - name_len);
        put_header(&im->out, &line);
        buffer_fini(&line);
    }
}

static void put_headers(struct import *im)
{
    size_t len;

    buffer_append_str(&im->out, "headers = [\n");
    if (captured(im, "user-agent", &len)) {
        put_captured_headers(im);
    } else {
        for (size_t i = 0; i < im->like->headers_count; i++) {
            const struct profile_header *h = &im->like->headers[i];
            struct buffer line = {0};
            buffer_printf(&line, strcmp(h->name, "User-Agent") == 0 ? "%s" : "%s: %s", h->name, h->value);
            put_header(&im->out, &line);
            buffer_fini(&line);
        }
    }
    buffer_append_str(&im->out, "]\n");
}

/* An array of the parts of `text`. */
static void put_parts(struct buffer *out, const char *key, const char *text, size_t len, char separator)
{
    buffer_printf(out, "%s = [", key);
    for (size_t at = 0; at < len;) {
        const char *found = memchr(text + at, separator, len - at);
        size_t part = found ? (size_t)(found - text) - at : len - at;
        buffer_append_str(out, at ? ", " : "");
        profile_import_string(out, text + at, part);
        at += part + 1;
    }
    buffer_append_str(out, "]\n");
}

static void put_http2(struct import *im)
{
    struct h2_frames *f = &im->frames;
    const struct profile_http2 *like = &im->like->http2;
    const char *order = like->pseudo_headers;
    char text[256];

    buffer_append_str(&im->out, "\n[http2]\n");
    if (f->settings.len == 0) {
        profile_http2_text(like, text, sizeof text);
        size_t settings = strcspn(text, "|");
        const char *priorities = strchr(text + settings + 1, '|') + 1;
        put_parts(&im->out, "settings", text, settings, ';');
        f->window_update = like->window_update;
        put_parts(&im->out, "priorities", priorities, like->priorities_count ? strcspn(priorities, "|") : 0, ',');
    } else {
        put_parts(&im->out, "settings", f->settings.data, f->settings.len, ';');
        put_parts(&im->out, "priorities", f->priorities.data, f->priorities.len, ',');
    }
    if (f->window_update)
        buffer_printf(&im->out, "window_update = %u\n", f->window_update);
    if (f->has_request && f->pseudo.len)
        put_text(&im->out, "pseudo_headers", f->pseudo.data, f->pseudo.len);
    else
        buffer_printf(&im->out, "pseudo_headers = \"%c,%c,%c,%c\"\n", order[0], order[1], order[2], order[3]);
    if (!f->has_request)
        snprintf(f->request_priority, sizeof f->request_priority, "%u:%u:%u", like->request.depends_on,
                 like->request.exclusive, like->request.weight);
    buffer_printf(&im->out, "request_priority = \"%s\"\n", f->request_priority);
}

/* The reader has the last word on what a profile can be. */
static bool check(struct import *im)
{
    struct toml_error error;
    struct hello_layout layout;
    struct profile p;

    if (profile_parse_own(im->out.data, im->out.len, &p, &layout, &error))
        return true;
    fprintf(stderr, "hotfleet: \"%s\": no profile can be made of it: %s\n", im->file, error.message);
    return false;
}

static bool read_arguments(struct import *im, int argc, char **argv)
{
    im->name = "imported";
    for (int i = 1; i < argc; i++) {
        bool name = strcmp(argv[i], "--name") == 0;
        if ((name || strcmp(argv[i], "--http2") == 0) && i + 1 < argc)
            *(name ? &im->name : &im->http2_file) = argv[++i];
        else if (argv[i][0] == '-' || im->file)
            return false;
        else
            im->file = argv[i];
    }
    size_t len = strspn(im->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return im->file && len > 0 && len < sizeof((struct profile *)NULL)->name && im->name[len] == '\0';
}

static bool make(struct import *im)
{
    if (!read_hello(im) || !read_http2(im))
        return false;
    choose_like(im);
    put_head(im);
    put_headers(im);
    put_http2(im);
    buffer_append_str(&im->out, "\n[hello]\n");
    buffer_append(&im->out, im->layout.data, im->layout.len);
    return check(im);
}

int profiles_import(int argc, char **argv)
{
    struct import im = {0};
    int code = EXIT_USAGE;

    if (!read_arguments(&im, argc, argv)) {
        fputs("usage: hotfleet profiles import FILE [--http2 FILE] [--name NAME]\n"
              "NAME is at most 31 letters, digits, '.', '_' and '-'.\n",
              stderr);
    } else if (make(&im)) {
        code = fwrite(im.out.data, 1, im.out.len, stdout) == im.out.len && fflush(stdout) == 0 ? EXIT_OK : EXIT_OUTPUT;
        if (code == EXIT_OUTPUT)
            log_event(LOG_ERROR, "output-failed", "standard output could not be written");
    }
    buffer_fini(&im.hello);
    buffer_fini(&im.layout);
    buffer_fini(&im.out);
    h2_frames_fini(&im.frames);
    return code;
}
