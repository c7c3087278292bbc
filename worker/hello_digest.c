/* The digests of our provider: SHA-256 and SHA-384 as they are, but where libssl hashes a handshake of ours they hash
 * what is on the wire. libssl feeds whole handshake messages; only for a PSK binder one ClientHello cut short. */
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <string.h>

#include "worker/hello_parts.h"

#define HELLO_PREFIX_MIN (4 + 2 + HELLO_RANDOM_BYTES)

enum digest_mode { MODE_NEW, MODE_TRANSCRIPT, MODE_OTHER };

struct digest {
    EVP_MD *md; /* borrowed from the engine */
    EVP_MD_CTX *inner;
    enum digest_mode mode;
    bool known; /* whose handshake it is: the one with this random, if it is still under way */
    uint8_t random[HELLO_RANDOM_BYTES];
};

static void *digest_new(EVP_MD *md)
{
    struct digest *d = OPENSSL_zalloc(sizeof *d);

    if (!d)
        return NULL;
    d->md = md;
    d->inner = EVP_MD_CTX_new();
    if (d->inner)
        return d;
    OPENSSL_free(d);
    return NULL;
}

static void *on_new_256(void *provider)
{
    (void)provider;
    return digest_new(hello_engine.sha256);
}

static void *on_new_384(void *provider)
{
    (void)provider;
    return digest_new(hello_engine.sha384);
}

static void on_free(void *context)
{
    struct digest *d = context;

    if (d)
        EVP_MD_CTX_free(d->inner);
    OPENSSL_free(d);
}

static void *on_dup(void *context)
{
    struct digest *d = context;
    struct digest *copy = digest_new(d->md);

    if (!copy || EVP_MD_CTX_copy_ex(copy->inner, d->inner) != 1) {
        on_free(copy);
        return NULL;
    }
    copy->mode = d->mode;
    copy->known = d->known;
    memcpy(copy->random, d->random, sizeof copy->random);
    return copy;
}

static int on_init(void *context, const OSSL_PARAM *params)
{
    struct digest *d = context;

    (void)params;
    d->mode = MODE_NEW;
    d->known = false;
    return EVP_DigestInit_ex2(d->inner, d->md, NULL);
}

static bool looks_like_transcript(const struct digest *d, const uint8_t *data, size_t len)
{
    static const uint8_t hello[] = {MESSAGE_CLIENT_HELLO, 0};
    const uint8_t hash[] = {MESSAGE_HASH, 0, 0, (uint8_t)EVP_MD_get_size(d->md)};

    if (len >= HELLO_PREFIX_MIN && memcmp(data, hello, sizeof hello) == 0)
        return hello_find(data + 6) != NULL;
    return len >= sizeof hash && memcmp(data, hash, sizeof hash) == 0;
}

static int put(struct digest *d, const void *data, size_t len)
{
    return EVP_DigestUpdate(d->inner, data, len);
}

static int put_client_hello(struct digest *d, struct hello *h, const uint8_t *message, size_t len, size_t full)
{
    size_t sent_len;
    const uint8_t *sent = hello_sent_for(h, message, len, full, &sent_len);

    d->known = true;
    memcpy(d->random, h->random, sizeof d->random);
    h->stats.hashed++;
    return sent && put(d, sent, sent_len);
}

/* With ALPS: the client's own EncryptedExtensions come before all else that it says after the server's Finished, and
 * its Finished is one that covers them. */
static int put_with_settings(struct digest *d, struct hello *h, const uint8_t *message, size_t len)
{
    uint8_t head[4] = {MESSAGE_FINISHED, 0, 0, 0};
    uint8_t verify_data[EVP_MAX_MD_SIZE];
    size_t verify_len;

    if (h->turn == TURN_EXTENSIONS) {
        if (!put(d, h->client_extensions.data, h->client_extensions.len))
            return 0;
        h->turn = TURN_CLIENT;
    }
    if (h->turn != TURN_CLIENT || message[0] != MESSAGE_FINISHED) {
        if (h->turn == TURN_SERVER && message[0] == MESSAGE_FINISHED)
            h->turn = TURN_EXTENSIONS;
        return put(d, message, len);
    }
    if (!hello_verify_data(h, d->inner, verify_data, &verify_len))
        return 0;
    head[3] = (uint8_t)verify_len;
    buffer_clear(&h->client_finished);
    buffer_append(&h->client_finished, head, sizeof head);
    buffer_append(&h->client_finished, verify_data, verify_len);
    h->turn = TURN_DONE;
    return put(d, h->client_finished.data, h->client_finished.len);
}

static int put_message(struct digest *d, const uint8_t *message, size_t len, size_t full)
{
    struct hello *h = message[0] == MESSAGE_CLIENT_HELLO && len >= HELLO_PREFIX_MIN ? hello_find(message + 6) : NULL;

    if (h)
        return put_client_hello(d, h, message, len, full);
    h = d->known ? hello_find(d->random) : NULL;
    if (!h)
        return put(d, message, len);
    for (const struct hello_swap *swap = h->swaps; swap; swap = swap->next) {
        if (swap->seen.len == len && memcmp(swap->seen.data, message, len) == 0)
            return put(d, swap->wire.data, swap->wire.len);
    }
    return h->settings ? put_with_settings(d, h, message, len) : put(d, message, len);
}

static int on_update(void *context, const unsigned char *data, size_t len)
{
    struct digest *d = context;
    struct cursor c = cursor_of(data, len);

    if (len == 0)
        return 1;
    if (d->mode == MODE_NEW)
        d->mode = looks_like_transcript(d, data, len) ? MODE_TRANSCRIPT : MODE_OTHER;
    if (d->mode == MODE_OTHER)
        return put(d, data, len);
    while (c.left > 0) {
        const uint8_t *message = c.at;
        size_t left = c.left;
        cursor_u8(&c);
        size_t full = cursor_number(&c, 3) + 4;
        if (c.bad || full > left) {
            /* What is no whole message is the last one: a ClientHello up to its binders. */
            return left >= 4 ? put_message(d, message, left, full) : put(d, message, left);
        }
        cursor_take(&c, full - 4);
        if (!put_message(d, message, full, full))
            return 0;
    }
    return 1;
}

static int on_final(void *context, unsigned char *out, size_t *len, size_t size)
{
    struct digest *d = context;
    unsigned n = 0;

    if (size < (size_t)EVP_MD_get_size(d->md) || EVP_DigestFinal_ex(d->inner, out, &n) != 1)
        return 0;
    *len = n;
    return 1;
}

static int get_params(OSSL_PARAM params[], size_t block, size_t size)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_BLOCK_SIZE);
    int good = !p || OSSL_PARAM_set_size_t(p, block);

    p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_SIZE);
    good = good && (!p || OSSL_PARAM_set_size_t(p, size));
    p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_XOF);
    good = good && (!p || OSSL_PARAM_set_int(p, 0));
    p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_ALGID_ABSENT);
    return good && (!p || OSSL_PARAM_set_int(p, 1));
}

static int on_params_256(OSSL_PARAM params[])
{
    return get_params(params, 64, 32);
}

static int on_params_384(OSSL_PARAM params[])
{
    return get_params(params, 128, 48);
}

static const OSSL_PARAM *on_params_known(void *provider)
{
    static const OSSL_PARAM known[] = {OSSL_PARAM_size_t(OSSL_DIGEST_PARAM_BLOCK_SIZE, NULL),
                                       OSSL_PARAM_size_t(OSSL_DIGEST_PARAM_SIZE, NULL),
                                       OSSL_PARAM_int(OSSL_DIGEST_PARAM_XOF, NULL),
                                       OSSL_PARAM_int(OSSL_DIGEST_PARAM_ALGID_ABSENT, NULL), OSSL_PARAM_END};

    (void)provider;
    return known;
}

#define FUNCTION(id, f)                            \
    {                                              \
        OSSL_FUNC_DIGEST_##id, (void (*)(void))(f) \
    }
#define DIGEST(bits)                                  \
    static const OSSL_DISPATCH functions_##bits[] = { \
        FUNCTION(NEWCTX, on_new_##bits),              \
        FUNCTION(FREECTX, on_free),                   \
        FUNCTION(DUPCTX, on_dup),                     \
        FUNCTION(INIT, on_init),                      \
        FUNCTION(UPDATE, on_update),                  \
        FUNCTION(FINAL, on_final),                    \
        FUNCTION(GET_PARAMS, on_params_##bits),       \
        FUNCTION(GETTABLE_PARAMS, on_params_known),   \
        {0, NULL},                                    \
    }
DIGEST(256);
DIGEST(384);

const OSSL_ALGORITHM hello_digests[] = {
    {"SHA2-256:SHA-256:SHA256:2.16.840.1.101.3.4.2.1", "provider=hotfleet", functions_256, ""},
    {"SHA2-384:SHA-384:SHA384:2.16.840.1.101.3.4.2.2", "provider=hotfleet", functions_384, ""},
    {NULL, NULL, NULL, NULL},
};
