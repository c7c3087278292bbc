/* Rewrites a ClientHello of libssl into the layout of a profile (RFC 8446 4.1.2). What libssl built is trusted to be
 * well formed, but for its end: while the PSK binders are being computed the message is known only up to them. */
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <string.h>

#include "worker/hello_parts.h"

/* The draws of hello_draw.grease. */
enum { GREASE_CIPHER, GREASE_GROUP, GREASE_FIRST, GREASE_LAST, GREASE_VERSION };

struct original {
    const uint8_t *head; /* version and random */
    struct cursor session_id;
    struct cursor extensions; /* all that is there of them */
};

/* An extension of the original: its body as far as it is known. */
struct found {
    const uint8_t *body;
    size_t known, len;
};

static bool read_original(const uint8_t *built, size_t len, struct original *o)
{
    struct cursor c = cursor_of(built, len);

    cursor_take(&c, 4);
    o->head = cursor_take(&c, 2 + HELLO_RANDOM_BYTES);
    o->session_id = cursor_vector(&c, 1);
    cursor_vector(&c, 2);
    cursor_vector(&c, 1);
    cursor_u16(&c);
    o->extensions = c;
    return !c.bad;
}

static bool find(const struct original *o, unsigned type, struct found *out)
{
    struct cursor c = o->extensions;

    while (c.left >= 4) {
        unsigned t = cursor_u16(&c);
        size_t len = cursor_u16(&c);
        size_t known = len < c.left ? len : c.left;
        const uint8_t *body = cursor_take(&c, known);
        if (t == type) {
            *out = (struct found){body, known, len};
            return true;
        }
    }
    return false;
}

static unsigned grease(const struct hello *h, int which)
{
    unsigned byte = (h->draw.grease[which] & 0xf0u) | 0x0au;

    return byte << 8 | byte;
}

/* A group or share that the libssl that runs can't do is left out rather than promised. */
static bool is_left_out(uint16_t code)
{
    return code == GROUP_MLKEM && !hello_engine.has_mlkem;
}

static void put_codes(struct hello *h, const struct hello_extension *e, size_t length_bytes, int which)
{
    size_t at = h->sent.len;

    buffer_append(&h->sent, "\0\0", length_bytes);
    for (size_t i = 0; i < e->list_count; i++) {
        if (!is_left_out(e->list[i]))
            hello_put16(&h->sent, e->list[i] == HELLO_GREASE ? grease(h, which) : e->list[i]);
    }
    hello_set_number(&h->sent, at, length_bytes, h->sent.len - at - length_bytes);
}

static void put_share(struct hello *h, unsigned group, const uint8_t *key, size_t len)
{
    hello_put16(&h->sent, group);
    hello_put16(&h->sent, (unsigned)len);
    buffer_append(&h->sent, key, len);
}

/* A share out of libssl's own; out of the bundle when that is what libssl sends. */
static bool put_share_of(struct hello *h, struct cursor own, uint16_t group)
{
    while (!own.bad && own.left > 0) {
        unsigned g = cursor_u16(&own);
        struct cursor key = cursor_vector(&own, 2);
        if (g == group) {
            put_share(h, group, key.at, key.left);
            return true;
        }
        if (g != HELLO_BUNDLE_GROUP || key.left != HELLO_BUNDLE_BYTES)
            continue;
        if (group == GROUP_X25519)
            put_share(h, group, key.at, 32);
        else if (group == GROUP_P256)
            put_share(h, group, key.at + 32, HELLO_BUNDLE_BYTES - 32);
        return group == GROUP_X25519 || group == GROUP_P256;
    }
    return false;
}

/* After a HelloRetryRequest that names a group there is one share, of that group; after one that only gives a cookie
 * the shares are those of before. */
static bool put_shares(struct hello *h, const struct hello_extension *e, const struct found *own)
{
    struct cursor c = cursor_of(own->body, own->known);
    struct cursor shares = cursor_vector(&c, 2);
    struct cursor first = shares;
    size_t at = h->sent.len;

    if (shares.bad)
        return false;
    h->bundled = cursor_u16(&first) == HELLO_BUNDLE_GROUP;
    if (h->retry_group) {
        buffer_append(&h->sent, own->body, own->known);
        return true;
    }
    hello_put16(&h->sent, 0);
    for (size_t i = 0; i < e->list_count; i++) {
        if (e->list[i] == HELLO_GREASE)
            put_share(h, grease(h, GREASE_GROUP), (const uint8_t *)"", 1);
        else if (e->list[i] != GROUP_KYBER_DRAFT && !is_left_out(e->list[i]) && !put_share_of(h, shares, e->list[i]))
            return false;
    }
    hello_set_number(&h->sent, at, 2, h->sent.len - at - 2);
    return true;
}

/* Up to 512 bytes of message, since some servers of old could not bear 256 to 511 (RFC 7685). */
static void put_padding(struct hello *h, size_t psk_bytes)
{
    static const uint8_t zeros[512];
    size_t len = h->sent.len + psk_bytes;

    if (len <= 0xff || len >= 0x200)
        return;
    size_t padding = 0x200 - len >= 5 ? 0x200 - len - 4 : 1;
    hello_put16(&h->sent, EXTENSION_PADDING);
    hello_put16(&h->sent, (unsigned)padding);
    buffer_append(&h->sent, zeros, padding);
}

/* Puts the body; *leave_out: the extension is not to be there at all. False: it can't be rendered. */
static bool put_body(struct hello *h, const struct hello_extension *e, const struct original *o, bool *leave_out)
{
    struct found own = {0};
    bool has_own = find(o, e->type, &own);

    switch ((enum hello_part)e->part) {
    case HELLO_RAW:
        if (e->type == EXTENSION_ALPN && h->context->own_alpn)
            buffer_append(&h->sent, own.body, own.known);
        else
            buffer_append(&h->sent, e->body, e->body_len);
        *leave_out = h->context->own_alpn && !h->context->offers_h2 &&
                     (e->type == EXTENSION_ALPS || e->type == EXTENSION_ALPS_OLD);
        return true;
    case HELLO_GREASE_FIRST:
    case HELLO_GREASE_LAST:
        buffer_append(&h->sent, e->body, e->body_len);
        return true;
    case HELLO_COPY:
        buffer_append(&h->sent, own.body, own.known);
        *leave_out = !has_own && e->type == EXTENSION_SNI;
        return true;
    case HELLO_GROUPS:
        put_codes(h, e, 2, GREASE_GROUP);
        return true;
    case HELLO_VERSIONS:
        put_codes(h, e, 1, GREASE_VERSION);
        return true;
    case HELLO_SHARES:
        return has_own && put_shares(h, e, &own);
    case HELLO_ECH:
        buffer_append(&h->sent, h->draw.ech, h->draw.ech_len);
        return true;
    case HELLO_PADDING:
        break;
    }
    return false;
}

static bool put_extension(struct hello *h, const struct hello_extension *e, const struct original *o)
{
    size_t at = h->sent.len;
    bool leave_out = false;
    unsigned type = e->part == HELLO_GREASE_FIRST  ? grease(h, GREASE_FIRST)
                    : e->part == HELLO_GREASE_LAST ? grease(h, GREASE_LAST)
                                                   : e->type;

    hello_put16(&h->sent, type);
    hello_put16(&h->sent, 0);
    if (!put_body(h, e, o, &leave_out))
        return false;
    if (leave_out)
        h->sent.len = at;
    else
        hello_set_number(&h->sent, at + 2, 2, h->sent.len - at - 4);
    return true;
}

static void put_found(struct hello *h, unsigned type, const struct found *found)
{
    hello_put16(&h->sent, type);
    hello_put16(&h->sent, (unsigned)found->len);
    buffer_append(&h->sent, found->body, found->known);
}

static void put_head(struct hello *h, const struct original *o)
{
    const struct hello_layout *layout = h->context->profile->hello;
    const uint8_t id_len = (uint8_t)o->session_id.left;

    buffer_clear(&h->sent);
    buffer_append(&h->sent, "\1\0\0\0", 4);
    buffer_append(&h->sent, o->head, 2 + HELLO_RANDOM_BYTES);
    buffer_append(&h->sent, &id_len, 1);
    buffer_append(&h->sent, o->session_id.at, id_len);
    hello_put16(&h->sent, (unsigned)h->draw.cipher_count * 2);
    for (size_t i = 0; i < h->draw.cipher_count; i++) {
        uint16_t code = layout->ciphers[h->draw.ciphers[i]];
        hello_put16(&h->sent, code == HELLO_GREASE ? grease(h, GREASE_CIPHER) : code);
    }
    buffer_append(&h->sent, "\1\0", 2);
}

bool hello_render(struct hello *h, const uint8_t *built, size_t len, size_t full)
{
    const struct hello_layout *layout = h->context->profile->hello;
    struct original o;
    struct found cookie;
    struct found psk = {0};

    if (!hello_draw(h) || len > full || !read_original(built, len, &o))
        return hello_fail(h, SSL_R_BAD_LENGTH);
    bool resumes = find(&o, EXTENSION_PSK, &psk);
    put_head(h, &o);
    size_t at = h->sent.len;
    hello_put16(&h->sent, 0);
    for (size_t i = 0; i < h->draw.order_count; i++) {
        const struct hello_extension *e = &layout->extensions[h->draw.order[i]];
        if (e->part == HELLO_PADDING)
            put_padding(h, resumes ? psk.len + 4 : 0);
        else if (!put_extension(h, e, &o))
            return hello_fail(h, SSL_R_BAD_KEY_SHARE);
    }
    if (find(&o, EXTENSION_COOKIE, &cookie))
        put_found(h, EXTENSION_COOKIE, &cookie);
    if (resumes)
        put_found(h, EXTENSION_PSK, &psk);
    size_t total = h->sent.len + (full - len);
    if (total > HELLO_RECORD_MAX)
        return hello_fail(h, SSL_R_LENGTH_TOO_LONG);
    hello_set_number(&h->sent, at, 2, total - at - 2);
    hello_set_number(&h->sent, 1, 3, total - 4);
    buffer_clear(&h->built);
    buffer_append(&h->built, built, len);
    return true;
}

static bool is_current(const struct hello *h, const uint8_t *built, size_t len)
{
    return h->built.len >= len && len >= 4 && memcmp(h->built.data, built, len) == 0;
}

const uint8_t *hello_sent_for(struct hello *h, const uint8_t *built, size_t len, size_t full, size_t *len_out)
{
    if (!is_current(h, built, len) && !hello_render(h, built, len, full))
        return NULL;
    /* Cut short by as much as libssl's is: by the binders. */
    size_t missing = h->built.len - len;
    if (missing > h->sent.len)
        return NULL;
    *len_out = h->sent.len - missing;
    return buffer_bytes(&h->sent);
}
