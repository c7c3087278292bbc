/* Reads one profile from TOML; writes its HTTP/2 part in the notation of fingerprints. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"
#include "common/profile.h"

static const char *take_text(char *out, size_t size, const struct toml_value *value)
{
    if (value->type != TOML_STRING || value->string_len >= size)
        return "a string is expected, not as long as that";
    for (size_t i = 0; i < value->string_len; i++) {
        if ((unsigned char)value->string[i] < 0x20 || value->string[i] == 0x7f)
            return "a string without control characters is expected";
    }
    memcpy(out, value->string, value->string_len);
    out[value->string_len] = '\0';
    return NULL;
}

/* Reads `count` numbers with colons between, and nothing more. */
static bool read_numbers(const char *text, uint32_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *end;
        if (*text < '0' || *text > '9')
            return false;
        unsigned long n = strtoul(text, &end, 10);
        if (n > UINT32_MAX || *end != (i + 1 < count ? ':' : '\0'))
            return false;
        out[i] = (uint32_t)n;
        text = end + 1;
    }
    return true;
}

static const char *take_header(struct profile *p, const char *line)
{
    for (const char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return "a header is without control characters";
    }
    const char *colon = strstr(line, ": ");
    size_t name_len = colon ? (size_t)(colon - line) : strlen(line);
    struct profile_header *header = &p->headers[p->headers_count];

    if (name_len == 0 || name_len >= sizeof header->name)
        return "a header's name is missing or too long";
    memcpy(header->name, line, name_len);
    if (!colon && strcmp(header->name, "User-Agent") != 0)
        return "a header is a name, a colon and a value, but for the lone User-Agent";
    const char *value = colon ? colon + 2 : p->user_agent;
    if (*value == '\0' || strlen(value) >= sizeof header->value)
        return "a header's value is missing or too long; user_agent stands above the headers";
    memcpy(header->value, value, strlen(value) + 1);
    p->headers_count++;
    return NULL;
}

static const char *take_setting(struct profile *p, const char *text)
{
    uint32_t n[2];

    if (!read_numbers(text, n, 2) || n[0] > UINT16_MAX)
        return "a setting is id:value";
    p->http2.settings[p->http2.settings_count++] = (struct profile_setting){(uint16_t)n[0], n[1]};
    return NULL;
}

static const char *take_priority(struct profile *p, const char *text)
{
    uint32_t n[4];

    if (!read_numbers(text, n, 4) || n[1] > 1 || n[3] < 1 || n[3] > 256)
        return "a priority is stream:exclusive:depends_on:weight";
    p->http2.priorities[p->http2.priorities_count++] = (struct profile_priority){n[0], n[2], n[1] == 1, (uint16_t)n[3]};
    return NULL;
}

static const char *each(struct profile *p, const struct toml_value *value, size_t max,
                        const char *(*take)(struct profile *p, const char *text))
{
    if (value->type != TOML_ARRAY || value->items_count > max)
        return "an array is expected, not as long as that";
    for (size_t i = 0; i < value->items_count; i++) {
        const char *wrong =
            value->items[i].type == TOML_STRING ? take(p, value->items[i].string) : "the items are strings";
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *take_draw(struct profile *p, const struct toml_value *value)
{
    static const char *const words[] = {"", "any", "alpn", "noalpn"};

    for (unsigned i = PROFILE_DRAWN; value->type == TOML_STRING && i <= PROFILE_DRAWN_NO_ALPN; i++) {
        if (strcmp(value->string, words[i]) == 0) {
            p->draw = (enum profile_draw)i;
            return NULL;
        }
    }
    return "any, alpn or noalpn is expected";
}

static const char *on_http2(struct profile *p, const char *key, const struct toml_value *value)
{
    uint32_t n[3];

    if (strcmp(key, "settings") == 0)
        return each(p, value, PROFILE_SETTINGS_MAX, take_setting);
    if (strcmp(key, "priorities") == 0)
        return each(p, value, PROFILE_PRIORITIES_MAX, take_priority);
    if (strcmp(key, "window_update") == 0) {
        p->http2.window_update = (uint32_t)value->integer;
        bool good = value->type == TOML_INT && value->integer > 0 && value->integer <= INT32_MAX;
        return good ? NULL : "a window's growth is a number above 0";
    }
    if (strcmp(key, "pseudo_headers") == 0) {
        const char *s = value->type == TOML_STRING && value->string_len == 7 ? value->string : "";
        char *out = p->http2.pseudo_headers;
        for (size_t i = 0; *s && i < 7; i += 2)
            *out++ = s[i];
        return strchr(p->http2.pseudo_headers, 'm') && strchr(p->http2.pseudo_headers, 'a') &&
                       strchr(p->http2.pseudo_headers, 's') && strchr(p->http2.pseudo_headers, 'p')
                   ? NULL
                   : "the four pseudo-headers are m, a, s and p with commas between";
    }
    if (strcmp(key, "request_priority") == 0) {
        if (value->type != TOML_STRING || !read_numbers(value->string, n, 3) || n[1] > 1 || n[2] > 256)
            return "a request's priority is depends_on:exclusive:weight";
        p->http2.request = (struct profile_priority){0, n[0], n[1] == 1, (uint16_t)n[2]};
        return NULL;
    }
    return "a profile's http2 has no such key";
}

struct reading {
    struct profile *profile;
    struct hello_layout *layout; /* NULL: it stands in a document of its own */
};

static const char *on_value(void *user, const char *table, const char *key, unsigned line, unsigned column,
                            const struct toml_value *value)
{
    const struct reading *reading = user;
    struct profile *p = reading->profile;
    const struct {
        const char *key;
        char *out;
        size_t size;
    } texts[] = {{"name", p->name, sizeof p->name},
                 {"browser", p->browser, sizeof p->browser},
                 {"version", p->version, sizeof p->version},
                 {"platform", p->platform, sizeof p->platform},
                 {"description", p->description, sizeof p->description},
                 {"user_agent", p->user_agent, sizeof p->user_agent},
                 {"hello", p->hello_name, sizeof p->hello_name}};

    (void)line;
    (void)column;
    if (strcmp(table, "http2") == 0)
        return on_http2(p, key, value);
    if (strcmp(table, "hello") == 0 && reading->layout)
        return hello_layout_take(reading->layout, key, value);
    if (*table)
        return "a profile has no such table";
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(key, texts[i].key) == 0)
            return take_text(texts[i].out, texts[i].size, value);
    }
    if (strcmp(key, "recommended") == 0 || strcmp(key, "safe") == 0) {
        *(*key == 'r' ? &p->recommended : &p->safe) = value->boolean;
        return value->type == TOML_BOOL ? NULL : "true or false is expected";
    }
    if (strcmp(key, "headers") == 0)
        return each(p, value, PROFILE_HEADERS_MAX, take_header);
    return strcmp(key, "drawn") == 0 ? take_draw(p, value) : "a profile has no such key";
}

/* NULL: nothing is missing. */
static const char *profile_fault(const struct profile *p, const struct hello_layout *layout)
{
    bool own = layout && (layout->cipher_count || layout->extension_count);

    if (!*p->name || !*p->browser || !*p->platform || !*p->user_agent || !p->headers_count ||
        !p->http2.settings_count || !*p->http2.pseudo_headers)
        return "a profile misses one of its keys";
    if (own == (*p->hello_name != '\0'))
        return "a profile has either a hello by name or the table [hello]";
    return own ? hello_layout_fault(layout) : NULL;
}

bool profile_parse_own(const char *text, size_t len, struct profile *p, struct hello_layout *layout,
                       struct toml_error *error)
{
    struct reading reading = {p, layout};

    *p = (struct profile){0};
    if (layout)
        *layout = (struct hello_layout){0};
    if (!toml_read(text, len, on_value, &reading, error))
        return false;
    const char *fault = profile_fault(p, layout);
    if (!fault)
        return true;
    *error = (struct toml_error){.line = 1, .column = 1};
    snprintf(error->message, sizeof error->message, "%s", fault);
    return false;
}

bool profile_parse(const char *text, size_t len, struct profile *p, struct toml_error *error)
{
    return profile_parse_own(text, len, p, NULL, error);
}

void profile_http2_text(const struct profile_http2 *h, char *out, size_t size)
{
    struct buffer b = {0};

    for (size_t i = 0; i < h->settings_count; i++)
        buffer_printf(&b, "%s%u:%" PRIu32, i ? ";" : "", h->settings[i].id, h->settings[i].value);
    buffer_printf(&b, "|%" PRIu32 "|", h->window_update);
    for (size_t i = 0; i < h->priorities_count; i++) {
        const struct profile_priority *p = &h->priorities[i];
        buffer_printf(&b, "%s%" PRIu32 ":%u:%" PRIu32 ":%u", i ? "," : "", p->stream_id, p->exclusive, p->depends_on,
                      p->weight);
    }
    buffer_printf(&b, "%s|%c,%c,%c,%c", h->priorities_count ? "" : "0", h->pseudo_headers[0], h->pseudo_headers[1],
                  h->pseudo_headers[2], h->pseudo_headers[3]);
    snprintf(out, size, "%.*s", (int)b.len, b.data);
    buffer_fini(&b);
}
