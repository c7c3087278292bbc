/* Cuts a ClientHello into its fields. */
#include "common/client_hello.h"

#include <string.h>

static bool read_codes(struct cursor c, struct client_hello_list *list)
{
    while (!c.bad && c.left > 0) {
        if (list->count == CLIENT_HELLO_CODES_MAX)
            return false;
        list->codes[list->count++] = cursor_u16(&c);
    }
    return cursor_done(&c);
}

static bool read_shares(struct cursor c, struct client_hello_list *list)
{
    struct cursor shares = cursor_vector(&c, 2);

    while (!shares.bad && shares.left > 0) {
        if (list->count == CLIENT_HELLO_CODES_MAX)
            return false;
        list->codes[list->count++] = cursor_u16(&shares);
        cursor_vector(&shares, 2);
    }
    return cursor_done(&shares) && cursor_done(&c);
}

static bool read_known(struct client_hello *h, const struct client_hello_extension *e)
{
    struct cursor c = cursor_of(e->body, e->len);

    switch (e->type) {
    case 10:
        return read_codes(cursor_vector(&c, 2), &h->groups);
    case 13:
        return read_codes(cursor_vector(&c, 2), &h->signatures);
    case 43:
        return read_codes(cursor_vector(&c, 1), &h->versions);
    case 51:
        return read_shares(c, &h->shares);
    default:
        return true;
    }
}

bool client_hello_parse(const uint8_t *message, size_t len, struct client_hello *h)
{
    struct cursor c = cursor_of(message, len);

    *h = (struct client_hello){0};
    if (cursor_u8(&c) != 1 || cursor_number(&c, 3) != c.left)
        return false;
    h->version = cursor_u16(&c);
    h->random = cursor_take(&c, 32);
    struct cursor id = cursor_vector(&c, 1);
    h->session_id = id.at;
    h->session_id_len = id.left;
    if (!read_codes(cursor_vector(&c, 2), &h->ciphers))
        return false;
    cursor_vector(&c, 1);
    if (cursor_done(&c))
        return true;
    struct cursor all = cursor_vector(&c, 2);
    while (!all.bad && all.left > 0) {
        if (h->extension_count == CLIENT_HELLO_EXTENSIONS_MAX)
            return false;
        struct client_hello_extension *e = &h->extensions[h->extension_count++];
        e->type = cursor_u16(&all);
        struct cursor body = cursor_vector(&all, 2);
        e->body = body.at;
        e->len = body.left;
        if (body.bad || !read_known(h, e))
            return false;
    }
    return cursor_done(&all) && cursor_done(&c);
}

const struct client_hello_extension *client_hello_find(const struct client_hello *h, uint16_t type)
{
    for (size_t i = 0; i < h->extension_count; i++) {
        if (h->extensions[i].type == type)
            return &h->extensions[i];
    }
    return NULL;
}

void client_hello_drop_padding(struct client_hello *h)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->extension_count; i++) {
        if (h->extensions[i].type != 21)
            h->extensions[kept++] = h->extensions[i];
    }
    h->extension_count = kept;
}
