/* The server's hello, while it is in the clear: which version and cipher it chose, whether it asks for another hello,
 * and its key share put into the form that a bundle has (RFC 8446 4.1.3, 4.1.4, 4.2.8). */
#include <openssl/sslerr.h>
#include <string.h>

#include "worker/hello_parts.h"

#define SERVER_HELLO_MAX 8192
#define FRAGMENTS_MAX    32 /* records that one hello may come in */
#define HEADER_BYTES     5

/* SHA-256 of "HelloRetryRequest", which stands in place of the random. */
static const uint8_t retry_random[HELLO_RANDOM_BYTES] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

struct server_hello {
    const uint8_t *random;
    uint16_t cipher;
    const uint8_t *extensions; /* of the message, their length's two bytes before them */
    size_t extensions_len;
};

static bool parse(const uint8_t *message, size_t len, struct server_hello *out)
{
    struct cursor c = cursor_of(message, len);

    cursor_take(&c, 4 + 2);
    out->random = cursor_take(&c, HELLO_RANDOM_BYTES);
    cursor_vector(&c, 1);
    out->cipher = cursor_u16(&c);
    cursor_u8(&c);
    struct cursor extensions = {0};
    if (c.left > 0)
        extensions = cursor_vector(&c, 2);
    out->extensions = extensions.at;
    out->extensions_len = extensions.left;
    return cursor_done(&c) && !extensions.bad;
}

static bool find(const struct server_hello *s, unsigned type, struct cursor *body_out)
{
    struct cursor all = cursor_of(s->extensions, s->extensions_len);

    while (!all.bad && all.left > 0) {
        unsigned t = cursor_u16(&all);
        struct cursor body = cursor_vector(&all, 2);
        if (t == type && !body.bad) {
            *body_out = body;
            return true;
        }
    }
    return false;
}

static bool is_share_of_layout(const struct hello *h, unsigned group)
{
    const struct hello_extension *e = hello_layout_find(h->context->profile->hello, EXTENSION_KEY_SHARE);

    for (size_t i = 0; e && i < e->list_count; i++) {
        if (e->list[i] == group && group != HELLO_GREASE && group != GROUP_KYBER_DRAFT)
            return true;
    }
    return false;
}

/* A HelloRetryRequest may not ask for a share that was sent; libssl does not know of those in its bundle. */
static bool take_retry(struct hello *h, const struct server_hello *s)
{
    struct cursor body;
    unsigned group = 0;

    if (find(s, EXTENSION_KEY_SHARE, &body))
        group = cursor_u16(&body);
    if (h->bundled && is_share_of_layout(h, group))
        return hello_fail(h, SSL_R_BAD_KEY_SHARE);
    h->retried = true;
    h->retry_group = (uint16_t)group;
    h->stats.retries++;
    return true;
}

/* {group, key} becomes {bundle, group and key}: our key exchange takes its half by the group. */
static bool wrap_share(struct hello *h, const uint8_t *message, size_t len, const struct server_hello *s)
{
    struct cursor all = cursor_of(s->extensions, s->extensions_len);
    size_t before = (size_t)(s->extensions - message) - 2;
    struct buffer seen = {0};

    buffer_append(&seen, message, before + 2);
    while (!all.bad && all.left > 0) {
        unsigned type = cursor_u16(&all);
        struct cursor body = cursor_vector(&all, 2);
        bool share = type == EXTENSION_KEY_SHARE && body.left > 4;
        hello_put16(&seen, type);
        hello_put16(&seen, (unsigned)(body.left + (share ? 2 : 0)));
        if (share) {
            const uint8_t *group = cursor_take(&body, 2);
            size_t key_len = cursor_u16(&body);
            hello_put16(&seen, HELLO_BUNDLE_GROUP);
            hello_put16(&seen, (unsigned)(key_len + 2));
            buffer_append(&seen, group, 2);
        }
        buffer_append(&seen, body.at, body.left);
    }
    bool good = !all.bad && seen.len <= HELLO_RECORD_MAX;
    if (good) {
        hello_set_number(&seen, before, 2, seen.len - before - 2);
        hello_set_number(&seen, 1, 3, seen.len - 4);
        hello_swap_add(h, buffer_bytes(&seen), seen.len, message, len);
        buffer_append(&h->out, "\x16\3\3", 3);
        hello_put16(&h->out, (unsigned)seen.len);
        buffer_append(&h->out, seen.data, seen.len);
    }
    buffer_fini(&seen);
    return good;
}

/* The choice is made: what is to be looked at from here on. */
static bool take_choice(struct hello *h, const uint8_t *message, size_t len, const struct server_hello *s, bool alone,
                        bool *wrapped_out)
{
    struct cursor body;

    h->cipher = s->cipher;
    h->reading = s->cipher >> 8 == 0x13 ? PHASE_FLIGHT : PHASE_PASS;
    if (h->reading == PHASE_PASS) {
        h->writing = PHASE_PASS;
        return !find(s, EXTENSION_RECORD_LIMIT, &body) || hello_limit_records(h, body, 0);
    }
    if (!alone)
        return hello_fail(h, SSL_R_NOT_ON_RECORD_BOUNDARY);
    hello_ask_secret(h);
    if (!h->bundled || !find(s, EXTENSION_KEY_SHARE, &body))
        return true;
    *wrapped_out = true;
    return (is_share_of_layout(h, cursor_u16(&body)) && wrap_share(h, message, len, s)) ||
           hello_fail(h, SSL_R_BAD_KEY_SHARE);
}

/* Takes the message, which stood in `records_len` bytes of records. Nothing may follow it in them in TLS 1.3, where the
 * keys change behind it. */
static bool take_message(struct hello *h, const uint8_t *message, size_t len, size_t records_len, bool alone)
{
    struct server_hello s;
    bool wrapped = false;

    if (!parse(message, len, &s))
        return hello_fail(h, SSL_R_LENGTH_MISMATCH);
    if (memcmp(s.random, retry_random, sizeof retry_random) != 0) {
        if (!take_choice(h, message, len, &s, alone, &wrapped))
            return false;
    } else if (h->retried || !alone) {
        return hello_fail(h, SSL_R_UNEXPECTED_MESSAGE);
    } else if (!take_retry(h, &s)) {
        return false;
    }
    if (!wrapped)
        buffer_append(&h->out, h->in.data, records_len);
    buffer_consume(&h->in, records_len);
    return true;
}

/* Everything that is no ServerHello goes to libssl as it came: it knows what to say of it. */
static enum hello_step pass(struct hello *h, size_t len)
{
    buffer_append(&h->out, h->in.data, len);
    buffer_consume(&h->in, len);
    return STEP_DONE;
}

enum hello_step hello_take_server_hello(struct hello *h)
{
    struct cursor c = cursor_of(h->in.data, h->in.len);
    size_t records_len = 0;

    buffer_clear(&h->messages);
    for (unsigned fragments = 0; fragments < FRAGMENTS_MAX; fragments++) {
        unsigned type = cursor_u8(&c);
        cursor_u16(&c);
        struct cursor body = cursor_vector(&c, 2);
        if (body.bad)
            return STEP_MORE;
        size_t record_len = HEADER_BYTES + body.left;
        if (type != RECORD_HANDSHAKE)
            return pass(h, records_len ? records_len : record_len);
        records_len += record_len;
        buffer_append(&h->messages, body.at, body.left);
        const uint8_t *m = buffer_bytes(&h->messages);
        if (h->messages.len > 0 && m[0] != MESSAGE_SERVER_HELLO)
            return pass(h, records_len);
        if (h->messages.len < 4)
            continue;
        size_t len = 4 + ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]);
        if (len > SERVER_HELLO_MAX)
            break;
        if (h->messages.len < len)
            continue;
        bool good = take_message(h, m, len, records_len, h->messages.len == len);
        buffer_clear(&h->messages);
        return good ? STEP_DONE : STEP_FAILED;
    }
    hello_fail(h, SSL_R_EXCESSIVE_MESSAGE_SIZE);
    return STEP_FAILED;
}
