/* What a connection draws for its hello: GREASE values, the order of a browser that shuffles, the body of a GREASE ECH,
 * and for the randomised profiles which parts there are at all. */
#include <openssl/rand.h>
#include <string.h>

#include "worker/hello_parts.h"

#define ECH_KEY_BYTES   32
#define ECH_PAYLOAD_MAX (144 + 3 * 32)

_Static_assert(10 + ECH_KEY_BYTES + ECH_PAYLOAD_MAX <= HELLO_ECH_MAX, "a GREASE ECH has room");

static bool fill(struct hello *h, uint8_t *out, size_t len)
{
    if (!h->draw_by)
        return RAND_bytes_ex(hello_engine.libctx, out, len, 0) == 1;
    draw_fill(h->draw_by, out, len);
    return true;
}

/* Random bytes in one batch: the generator's price is by the call. */
struct dice {
    uint8_t bytes[192];
    uint8_t of_ech[ECH_KEY_BYTES + ECH_PAYLOAD_MAX];
    size_t used;
};

static unsigned roll(struct dice *dice, size_t sides)
{
    unsigned n = dice->bytes[dice->used] | (unsigned)dice->bytes[dice->used + 1] << 8;

    dice->used = (dice->used + 2) % (sizeof dice->bytes - 1);
    return n % (unsigned)sides;
}

static void shuffle(struct dice *dice, uint8_t *items, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = roll(dice, i);
        uint8_t item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

/* What a hello can do without, and still be answered as the TLS library expects. */
static bool is_optional(const struct hello_extension *e)
{
    static const uint16_t types[] = {5, 18, 27, 28, 34, 17513, 17613, 65037};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (e->part != HELLO_GREASE_FIRST && e->part != HELLO_GREASE_LAST && e->type == types[i])
            return true;
    }
    return false;
}

static bool keeps_its_place(const struct hello_extension *e)
{
    return e->part == HELLO_GREASE_FIRST || e->part == HELLO_GREASE_LAST || e->part == HELLO_PADDING;
}

static bool is_kept(struct dice *dice, enum profile_draw draw, bool alpn, const struct hello_extension *e)
{
    if (draw == PROFILE_FIXED)
        return true;
    if (e->type == EXTENSION_ALPN || e->type == EXTENSION_ALPS || e->type == EXTENSION_ALPS_OLD)
        return alpn && (e->type == EXTENSION_ALPN || roll(dice, 2));
    return !is_optional(e) || roll(dice, 2);
}

static void draw_order(struct hello_draw *d, struct dice *dice, const struct profile *profile)
{
    const struct hello_layout *layout = profile->hello;
    bool alpn = profile->draw != PROFILE_DRAWN_NO_ALPN && (profile->draw != PROFILE_DRAWN || roll(dice, 4) > 0);
    uint8_t movable[HELLO_EXTENSIONS_MAX] = {0};
    size_t count = 0;

    for (size_t i = 0; i < layout->extension_count; i++) {
        const struct hello_extension *e = &layout->extensions[i];
        if (!is_kept(dice, profile->draw, alpn, e))
            continue;
        d->order[d->order_count++] = (uint8_t)i;
        if (!keeps_its_place(e))
            movable[count++] = (uint8_t)i;
    }
    if (!layout->permute && profile->draw == PROFILE_FIXED)
        return;
    shuffle(dice, movable, count);
    for (size_t i = 0; i < d->order_count; i++) {
        if (!keeps_its_place(&layout->extensions[d->order[i]]))
            d->order[i] = movable[--count];
    }
}

/* TLS 1.3's suites stay in front; ECDHE with AES-128 is kept, so that every server finds one, and so is the cipher of
 * the session that is resumed. */
static void draw_ciphers(struct hello *h, struct dice *dice)
{
    const struct profile *profile = h->context->profile;
    const struct hello_layout *layout = profile->hello;
    const SSL_SESSION *session = SSL_get0_session(h->ssl);
    const SSL_CIPHER *cipher = session ? SSL_SESSION_get0_cipher(session) : NULL;
    struct hello_draw *d = &h->draw;
    size_t first = 0;

    for (size_t i = 0; i < layout->cipher_count; i++) {
        uint16_t code = layout->ciphers[i];
        bool needed = code >> 8 == 0x13 || code == HELLO_GREASE || code == 0xc02b || code == 0xc02f || code == 0x002f ||
                      (cipher && SSL_CIPHER_get_protocol_id(cipher) == code);
        if (profile->draw != PROFILE_FIXED && !needed && roll(dice, 4) == 0)
            continue;
        d->ciphers[d->cipher_count++] = (uint8_t)i;
        if (code >> 8 == 0x13 || code == HELLO_GREASE)
            first = d->cipher_count;
    }
    if (profile->draw != PROFILE_FIXED)
        shuffle(dice, d->ciphers + first, d->cipher_count - first);
}

/* The outer form of an ECH extension that is GREASE (draft-ietf-tls-esni 6.2): HKDF-SHA256, AES-128-GCM, a config id, a
 * key and a payload. The key is random bytes, which any X25519 key might be: a true one would cost a twentieth of the
 * handshake. */
static void draw_ech(struct hello_draw *d, struct dice *dice)
{
    static const uint8_t head[] = {0, 0, 1, 0, 1};
    size_t payload = 144 + 32 * roll(dice, 4);
    uint8_t *at = d->ech;

    memcpy(at, head, sizeof head);
    at += sizeof head;
    *at++ = (uint8_t)roll(dice, 256);
    *at++ = 0;
    *at++ = ECH_KEY_BYTES;
    uint8_t *key = at;
    at += ECH_KEY_BYTES;
    *at++ = (uint8_t)(payload >> 8);
    *at++ = (uint8_t)payload;
    d->ech_len = (size_t)(at - d->ech) + payload;
    memcpy(key, dice->of_ech, ECH_KEY_BYTES);
    key[ECH_KEY_BYTES - 1] &= 0x7f;
    memcpy(at, dice->of_ech + ECH_KEY_BYTES, payload);
}

static bool has_ech(const struct hello *h)
{
    for (size_t i = 0; i < h->draw.order_count; i++) {
        if (h->context->profile->hello->extensions[h->draw.order[i]].part == HELLO_ECH)
            return true;
    }
    return false;
}

bool hello_draw(struct hello *h)
{
    struct hello_draw *d = &h->draw;
    struct dice dice = {.used = sizeof d->grease + 1};

    if (h->drawn)
        return true;
    if (!fill(h, dice.bytes, offsetof(struct dice, used)))
        return false;
    memcpy(d->grease, dice.bytes, sizeof d->grease);
    /* The two extensions must differ. */
    if ((d->grease[2] & 0xf0) == (d->grease[3] & 0xf0))
        d->grease[3] ^= 0x10;
    draw_order(d, &dice, h->context->profile);
    draw_ciphers(h, &dice);
    if (has_ech(h))
        draw_ech(d, &dice);
    h->drawn = true;
    return true;
}
