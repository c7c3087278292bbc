/* The engine: its library context and provider, the handshakes that are under way, and their filter's coming and going.
 */
#include "worker/hello.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "worker/hello_parts.h"

#define BUCKETS 1024u
/* Of so large a piece libcrypto's allocator makes pages of its own (slots.h), which leave no hole in the heap when the
 * handshake is over; the pages behind the struct are never touched. */
#define ROOM_BYTES 16384

_Static_assert(sizeof(struct hello) <= ROOM_BYTES, "a hello fits into its room");

struct hello_engine hello_engine;
static struct hello *buckets[BUCKETS];

static struct hello **bucket_of(const uint8_t *random)
{
    return &buckets[(random[0] | (unsigned)random[1] << 8) % BUCKETS];
}

struct hello *hello_find(const uint8_t random[HELLO_RANDOM_BYTES])
{
    struct hello *h = *bucket_of(random);

    while (h && memcmp(h->random, random, HELLO_RANDOM_BYTES) != 0)
        h = h->bucket_next;
    return h;
}

static void unregister(struct hello *h)
{
    if (!h->registered)
        return;
    struct hello **at = bucket_of(h->random);
    while (*at != h)
        at = &(*at)->bucket_next;
    *at = h->bucket_next;
    h->registered = false;
}

void hello_register(struct hello *h, const uint8_t random[HELLO_RANDOM_BYTES])
{
    if (h->registered && memcmp(h->random, random, HELLO_RANDOM_BYTES) == 0)
        return;
    unregister(h);
    memcpy(h->random, random, HELLO_RANDOM_BYTES);
    h->bucket_next = *bucket_of(random);
    *bucket_of(random) = h;
    h->registered = true;
}

bool hello_fail(struct hello *h, int reason)
{
    h->failed = true;
    ERR_raise(ERR_LIB_SSL, reason);
    return false;
}

void hello_put16(struct buffer *out, unsigned n)
{
    const uint8_t bytes[2] = {(uint8_t)(n >> 8), (uint8_t)n};

    buffer_append(out, bytes, sizeof bytes);
}

void hello_set_number(struct buffer *b, size_t offset, size_t size, size_t n)
{
    for (size_t i = 0; i < size; i++)
        b->data[offset + i] = (char)(uint8_t)(n >> (8 * (size - 1 - i)));
}

static const OSSL_ALGORITHM *on_query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    switch (operation) {
    case OSSL_OP_DIGEST:
        return hello_digests;
    case OSSL_OP_KEYMGMT:
        return hello_key_managers;
    case OSSL_OP_KEM:
        return hello_kems;
    default:
        return NULL;
    }
}

static const OSSL_DISPATCH provider_functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))on_query},
    {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))hello_bundle_capabilities},
    {0, NULL},
};

static int on_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                            void **context)
{
    (void)in;
    *context = (void *)(uintptr_t)handle;
    *out = provider_functions;
    return 1;
}

static bool has_key_manager(OSSL_LIB_CTX *libctx, const char *name)
{
    ERR_set_mark();
    EVP_KEYMGMT *manager = EVP_KEYMGMT_fetch(libctx, name, NULL);
    ERR_pop_to_mark();
    EVP_KEYMGMT_free(manager);
    return manager != NULL;
}

bool hello_engine_open(const char **reason_out)
{
    struct hello_engine *e = &hello_engine;

    *reason_out = "libcrypto could not make a library context with a provider of ours";
    e->libctx = OSSL_LIB_CTX_new();
    if (!e->libctx || !OSSL_PROVIDER_add_builtin(e->libctx, "hotfleet", on_provider_init))
        return false;
    e->standard = OSSL_PROVIDER_load(e->libctx, "default");
    e->own = OSSL_PROVIDER_load(e->libctx, "hotfleet");
    e->sha256 = EVP_MD_fetch(e->libctx, "SHA2-256", "provider=default");
    e->sha384 = EVP_MD_fetch(e->libctx, "SHA2-384", "provider=default");
    e->aes128 = EVP_CIPHER_fetch(e->libctx, "AES-128-GCM", "provider=default");
    e->aes256 = EVP_CIPHER_fetch(e->libctx, "AES-256-GCM", "provider=default");
    e->chacha20 = EVP_CIPHER_fetch(e->libctx, "ChaCha20-Poly1305", "provider=default");
    e->p256 = EC_GROUP_new_by_curve_name_ex(e->libctx, NULL, NID_X9_62_prime256v1);
    e->numbers = BN_CTX_secure_new_ex(e->libctx);
    e->x25519 = EVP_PKEY_CTX_new_from_name(e->libctx, "X25519", "provider=default");
    e->ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    e->many_shares = OpenSSL_version_num() >= 0x30500000UL;
    e->has_mlkem = e->many_shares && has_key_manager(e->libctx, "X25519MLKEM768");
    return e->own && e->sha256 && e->sha384 && e->aes128 && e->aes256 && e->chacha20 && e->p256 && e->numbers &&
           e->x25519 && EVP_PKEY_keygen_init(e->x25519) == 1 && e->ssl_index >= 0;
}

void hello_engine_close(void)
{
    struct hello_engine *e = &hello_engine;

    EVP_MD_free(e->sha256);
    EVP_MD_free(e->sha384);
    EVP_CIPHER_free(e->aes128);
    EVP_CIPHER_free(e->aes256);
    EVP_CIPHER_free(e->chacha20);
    EC_GROUP_free(e->p256);
    BN_CTX_free(e->numbers);
    EVP_PKEY_CTX_free(e->x25519);
    if (e->own)
        OSSL_PROVIDER_unload(e->own);
    if (e->standard)
        OSSL_PROVIDER_unload(e->standard);
    OSSL_LIB_CTX_free(e->libctx);
    *e = (struct hello_engine){0};
}

void hello_set_keylog(void (*on_line)(const SSL *ssl, const char *line))
{
    hello_engine.on_keylog = on_line;
}

static void swaps_free(struct hello_swap *swap)
{
    while (swap) {
        struct hello_swap *next = swap->next;
        buffer_fini(&swap->seen);
        buffer_fini(&swap->wire);
        free(swap);
        swap = next;
    }
}

static struct hello *hello_new(void)
{
    struct hello *h = OPENSSL_malloc(ROOM_BYTES);

    return h ? memset(h, 0, sizeof *h) : NULL;
}

void hello_free(struct hello *h)
{
    struct buffer *const buffers[] = {&h->built,          &h->sent,        &h->in,      &h->out,
                                      &h->messages,       &h->from_libssl, &h->to_wire, &h->client_extensions,
                                      &h->client_finished};

    unregister(h);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        buffer_fini(buffers[i]);
    swaps_free(h->swaps);
    hello_bundle_release(&h->bundle);
    hello_keys_fini(&h->server);
    hello_keys_fini(&h->client);
    BIO_free(h->below);
    OPENSSL_clear_free(h, sizeof *h);
}

bool hello_attach(SSL *ssl, const struct hello_context *context, BIO *below)
{
    struct hello *h = hello_new();
    BIO *filter = h ? hello_bio_new(h) : NULL;

    if (!filter || !SSL_set_ex_data(ssl, hello_engine.ssl_index, h)) {
        if (filter)
            BIO_set_data(filter, NULL);
        BIO_free(filter);
        OPENSSL_free(h);
        BIO_free(below);
        return false;
    }
    h->context = context;
    h->ssl = ssl;
    h->below = below;
    SSL_set_bio(ssl, filter, filter);
    return true;
}

void hello_draw_by(SSL *ssl, struct draw *draw)
{
    struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);

    if (h)
        h->draw_by = draw;
}

bool hello_detach(SSL *ssl)
{
    struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);

    if (!h)
        return true;
    bool clean = h->in.len == 0 && h->out.len == 0 && h->messages.len == 0 && h->from_libssl.len == 0 &&
                 h->to_wire.len == 0 && !h->failed;
    BIO *below = h->below;
    SSL_set_ex_data(ssl, hello_engine.ssl_index, NULL);
    /* A stapled answer is not looked at; it would stay as long as the connection. */
    SSL_set_tlsext_status_ocsp_resp(ssl, NULL, 0);
    BIO_up_ref(below);
    SSL_set_bio(ssl, below, below);
    return clean;
}

const struct hello_stats *hello_stats_of(const SSL *ssl)
{
    const struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);

    return h ? &h->stats : NULL;
}
