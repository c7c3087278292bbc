/* From the fields of a ClientHello to the text of a layout. */
#include "common/profile_import.h"

#include <stdio.h>

#include "common/hello_layout.h"

enum {
    SERVER_NAME = 0,
    GROUPS = 10,
    PADDING = 21,
    TICKET = 35,
    PSK = 41,
    EARLY_DATA = 42,
    VERSIONS = 43,
    COOKIE = 44,
    SHARES = 51,
    ECH = 65037
};

void profile_import_string(struct buffer *out, const char *text, size_t len)
{
    buffer_append_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            buffer_printf(out, "\\u%04x", c);
        else
            buffer_printf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    buffer_append_char(out, '"');
}

static void put_code(struct buffer *out, uint16_t code)
{
    if (client_hello_is_grease(code))
        buffer_append_str(out, "GREASE");
    else
        buffer_printf(out, "%04x", code);
}

static void put_list(struct buffer *out, const char *part, const struct client_hello_list *list)
{
    buffer_append_str(out, part);
    for (size_t i = 0; i < list->count; i++) {
        buffer_append_char(out, ' ');
        put_code(out, list->codes[i]);
    }
}

static void put_ciphers(struct buffer *out, const struct client_hello_list *ciphers)
{
    buffer_append_str(out, "ciphers = [");
    for (size_t i = 0; i < ciphers->count; i++) {
        buffer_append_str(out, i % 12 ? " \"" : "\n    \"");
        put_code(out, ciphers->codes[i]);
        buffer_append_str(out, "\",");
    }
    buffer_append_str(out, "\n]\n");
}

static bool put_raw(struct buffer *out, const struct client_hello_extension *e, char *reason_out)
{
    if (e->len > HELLO_BODY_MAX) {
        snprintf(reason_out, PROFILE_IMPORT_REASON, "its extension %u has %zu bytes; a layout keeps %d", e->type,
                 e->len, HELLO_BODY_MAX);
        return false;
    }
    buffer_append_str(out, e->len ? "raw " : "raw");
    for (size_t i = 0; i < e->len; i++)
        buffer_printf(out, "%02x", e->body[i]);
    return true;
}

static bool put_part(struct buffer *out, const struct client_hello *h, const struct client_hello_extension *e,
                     char *reason_out)
{
    const struct {
        uint16_t type;
        const char *part;
        const struct client_hello_list *list;
    } known[] = {{SERVER_NAME, "copy", NULL},         {TICKET, "copy", NULL},
                 {PADDING, "padding", NULL},          {ECH, "ech", NULL},
                 {GROUPS, "groups", &h->groups},      {SHARES, "shares", &h->shares},
                 {VERSIONS, "versions", &h->versions}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].type != e->type)
            continue;
        if (known[i].list)
            put_list(out, known[i].part, known[i].list);
        else
            buffer_append_str(out, known[i].part);
        return true;
    }
    return put_raw(out, e, reason_out);
}

static bool put_extension(struct buffer *out, const struct client_hello *h, const struct client_hello_extension *e,
                          char *reason_out)
{
    if (e->type == PSK || e->type == EARLY_DATA)
        return true;
    if (e->type == COOKIE) {
        snprintf(reason_out, PROFILE_IMPORT_REASON, "it is the second of a connection, after a HelloRetryRequest");
        return false;
    }
    buffer_append_str(out, "    \"");
    if (client_hello_is_grease(e->type))
        buffer_append_str(out, e->len ? "grease last" : "grease first");
    else {
        buffer_printf(out, "%u ", e->type);
        if (!put_part(out, h, e, reason_out))
            return false;
    }
    buffer_append_str(out, "\",\n");
    return true;
}

/* BoringSSL frames its extensions with two of GREASE, and has one order for the rest unless it shuffles them; that a
 * shuffle hits that order does not happen. */
static bool is_permuted(const struct client_hello *h)
{
    static const uint16_t order[] = {0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43, 27, 34, 17513, 17613};
    size_t frames = 0;
    size_t place = 0;
    bool in_order = true;

    for (size_t i = 0; i < h->extension_count; i++) {
        frames += client_hello_is_grease(h->extensions[i].type);
        for (size_t j = 0; j < sizeof order / sizeof order[0]; j++) {
            if (h->extensions[i].type != order[j])
                continue;
            in_order &= j >= place;
            place = j;
        }
    }
    return frames == 2 && !in_order;
}

static void put_hashes(struct buffer *out, const struct client_hello *from)
{
    struct client_hello h = *from;
    char ja3[JA3_SIZE];
    char ja3n[JA3_SIZE];
    char ja4[JA4_SIZE];

    client_hello_drop_padding(&h);
    size_t kept = 0;
    for (size_t i = 0; i < h.extension_count; i++) {
        if (h.extensions[i].type != PSK && h.extensions[i].type != EARLY_DATA)
            h.extensions[kept++] = h.extensions[i];
    }
    h.extension_count = kept;
    ja3_hash(&h, false, ja3);
    ja3_hash(&h, true, ja3n);
    ja4_hash(&h, ja4);
    buffer_printf(out, "ja3 = \"%s\"\nja3n = \"%s\"\nja4 = \"%s\"\n", ja3, ja3n, ja4);
}

bool profile_import_hello(const uint8_t *message, size_t len, struct buffer *out,
                          char reason_out[PROFILE_IMPORT_REASON])
{
    struct client_hello h;

    if (!client_hello_parse(message, len, &h)) {
        snprintf(reason_out, PROFILE_IMPORT_REASON, "its ClientHello is broken");
        return false;
    }
    buffer_printf(out, "permute = %s\n", is_permuted(&h) ? "true" : "false");
    put_ciphers(out, &h.ciphers);
    buffer_append_str(out, "extensions = [\n");
    for (size_t i = 0; i < h.extension_count; i++) {
        if (!put_extension(out, &h, &h.extensions[i], reason_out))
            return false;
    }
    buffer_append_str(out, "]\n");
    put_hashes(out, &h);
    return true;
}
