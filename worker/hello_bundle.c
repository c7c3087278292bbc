/* Several key shares in one, for a libssl that sends only one: a TLS group of our provider whose public key is all of
 * the browser's keys (X25519, then P-256), with the face of a KEM. The "ciphertext" is the group that the server chose
 * and its key; what comes out of it is the shared secret of that group's own key exchange. */
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <string.h>
#include <strings.h>

#include "worker/hello_parts.h"

#define X25519_BYTES 32
#define P256_BYTES   65
#define SECRET_BYTES 32

struct bundle {
    struct bundle **kept_by; /* where a handshake remembers it */
    EVP_PKEY *x25519;
    BIGNUM *p256; /* the private number alone: few servers choose this group */
    uint8_t key[HELLO_BUNDLE_BYTES];
};

static void *on_new(void *provider)
{
    (void)provider;
    return OPENSSL_zalloc(sizeof(struct bundle));
}

static struct bundle *newest;

/* libssl builds a hello and writes it in one go: the newest bundle is the one in the hello that is being sent. There is
 * none when a second hello has the key share of the first. */
void hello_bundle_keep(struct bundle **at)
{
    if (!newest)
        return;
    hello_bundle_release(at);
    *at = newest;
    newest = NULL;
    if (*at)
        (*at)->kept_by = at;
}

static void bundle_drop_keys(struct bundle *b)
{
    EVP_PKEY_free(b->x25519);
    BN_clear_free(b->p256);
    b->x25519 = NULL;
    b->p256 = NULL;
}

static void on_free(void *key)
{
    struct bundle *b = key;

    if (!b)
        return;
    bundle_drop_keys(b);
    if (b->kept_by)
        *b->kept_by = NULL;
    if (newest == b)
        newest = NULL;
    OPENSSL_free(b);
}

void hello_bundle_release(struct bundle **at)
{
    if (!*at)
        return;
    bundle_drop_keys(*at);
    (*at)->kept_by = NULL;
    *at = NULL;
}

/* There is nothing to choose; the generator is the engine's library context. */
static void *on_generate_init(void *provider, int selection, const OSSL_PARAM *params)
{
    (void)provider;
    (void)selection;
    (void)params;
    return &hello_engine;
}

static int on_generate_set(void *generator, const OSSL_PARAM *params)
{
    (void)generator;
    (void)params;
    return 1;
}

static const OSSL_PARAM *on_generate_settable(void *generator, void *provider)
{
    static const OSSL_PARAM settable[] = {OSSL_PARAM_utf8_string("group", NULL, 0), OSSL_PARAM_END};

    (void)generator;
    (void)provider;
    return settable;
}

static void on_generate_end(void *generator)
{
    (void)generator;
}

/* As libcrypto makes a key of the curve, without the key around it: that would cost half as much again. */
static bool generate_p256(struct bundle *b)
{
    const EC_GROUP *group = hello_engine.p256;
    EC_POINT *point = EC_POINT_new(group);

    b->p256 = BN_secure_new();
    bool good = point && b->p256 &&
                BN_priv_rand_range_ex(b->p256, EC_GROUP_get0_order(group), 0, hello_engine.numbers) == 1 &&
                !BN_is_zero(b->p256) && EC_POINT_mul(group, point, b->p256, NULL, NULL, hello_engine.numbers) == 1 &&
                EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, b->key + X25519_BYTES, P256_BYTES,
                                   hello_engine.numbers) == P256_BYTES;
    EC_POINT_free(point);
    return good;
}

/* The key of libcrypto's that the number stands for; NULL when out of memory. */
static EVP_PKEY *key_of_p256(const struct bundle *b)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(hello_engine.libctx, "EC", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (builder && context && b->p256 &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, b->key + X25519_BYTES, P256_BYTES) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, b->p256))
        params = OSSL_PARAM_BLD_to_param(builder);
    if (params && EVP_PKEY_fromdata_init(context) == 1)
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    return key;
}

static void *on_generate(void *generator, OSSL_CALLBACK *callback, void *arg)
{
    struct bundle *b = on_new(NULL);
    size_t x25519_len = X25519_BYTES;

    (void)generator;
    (void)callback;
    (void)arg;
    if (!b)
        return NULL;
    bool good = EVP_PKEY_generate(hello_engine.x25519, &b->x25519) == 1 &&
                EVP_PKEY_get_raw_public_key(b->x25519, b->key, &x25519_len) == 1 && generate_p256(b);
    if (good) {
        newest = b;
        return b;
    }
    on_free(b);
    return NULL;
}

static int on_has(const void *key, int selection)
{
    (void)key;
    (void)selection;
    return 1;
}

static int on_get_params(void *key, OSSL_PARAM params[])
{
    struct bundle *b = key;
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_BITS);
    int good = !p || OSSL_PARAM_set_int(p, 256);

    p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_SECURITY_BITS);
    good = good && (!p || OSSL_PARAM_set_int(p, 128));
    p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE);
    good = good && (!p || OSSL_PARAM_set_int(p, HELLO_BUNDLE_BYTES));
    p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY);
    return good && (!p || OSSL_PARAM_set_octet_string(p, b->key, sizeof b->key));
}

static const OSSL_PARAM *on_gettable(void *provider)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0), OSSL_PARAM_END};

    (void)provider;
    return gettable;
}

/* The KEM's context holds nothing but which key it is of. */
struct decapsulation {
    struct bundle *bundle;
};

static void *on_kem_new(void *provider)
{
    (void)provider;
    return OPENSSL_zalloc(sizeof(struct decapsulation));
}

static void on_kem_free(void *context)
{
    OPENSSL_free(context);
}

static int on_kem_init(void *context, void *key, const OSSL_PARAM *params)
{
    struct decapsulation *d = context;

    (void)params;
    d->bundle = key;
    return 1;
}

/* The peer's key is hostile: libcrypto checks that it is a point of the curve. */
static bool derive(EVP_PKEY *own, const struct cursor *peer_key, uint8_t secret[SECRET_BYTES])
{
    size_t len = SECRET_BYTES;

    if (!own)
        return false;
    EVP_PKEY *peer = EVP_PKEY_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(hello_engine.libctx, own, NULL);

    bool good = peer && context && EVP_PKEY_copy_parameters(peer, own) == 1 &&
                EVP_PKEY_set1_encoded_public_key(peer, peer_key->at, peer_key->left) == 1 &&
                EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_derive_set_peer(context, peer) == 1 &&
                EVP_PKEY_derive(context, secret, &len) == 1 && len == SECRET_BYTES;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(peer);
    return good;
}

static int on_decapsulate(void *context, unsigned char *secret, size_t *secret_len, const unsigned char *in, size_t len)
{
    const struct decapsulation *d = context;
    struct cursor peer = cursor_of(in, len);
    unsigned group = cursor_u16(&peer);

    *secret_len = SECRET_BYTES;
    if (!secret)
        return 1;
    if (group == GROUP_X25519 && peer.left == X25519_BYTES)
        return derive(d->bundle->x25519, &peer, secret);
    if (group != GROUP_P256 || peer.left != P256_BYTES)
        return 0;
    EVP_PKEY *own = key_of_p256(d->bundle);
    bool good = derive(own, &peer, secret);
    EVP_PKEY_free(own);
    return good;
}

/* OpenSSL 3.5 insists on both directions. */
static int on_encapsulate(void *context, unsigned char *out, size_t *out_len, unsigned char *secret, size_t *secret_len)
{
    (void)context;
    (void)out;
    (void)out_len;
    (void)secret;
    (void)secret_len;
    return 0;
}

#define FUNCTION(id, f)                     \
    {                                       \
        OSSL_FUNC_##id, (void (*)(void))(f) \
    }

static const OSSL_DISPATCH key_functions[] = {
    FUNCTION(KEYMGMT_NEW, on_new),
    FUNCTION(KEYMGMT_FREE, on_free),
    FUNCTION(KEYMGMT_GEN_INIT, on_generate_init),
    FUNCTION(KEYMGMT_GEN_SET_PARAMS, on_generate_set),
    FUNCTION(KEYMGMT_GEN_SETTABLE_PARAMS, on_generate_settable),
    FUNCTION(KEYMGMT_GEN, on_generate),
    FUNCTION(KEYMGMT_GEN_CLEANUP, on_generate_end),
    FUNCTION(KEYMGMT_HAS, on_has),
    FUNCTION(KEYMGMT_GET_PARAMS, on_get_params),
    FUNCTION(KEYMGMT_GETTABLE_PARAMS, on_gettable),
    {0, NULL},
};

static const OSSL_DISPATCH kem_functions[] = {
    FUNCTION(KEM_NEWCTX, on_kem_new),
    FUNCTION(KEM_FREECTX, on_kem_free),
    FUNCTION(KEM_ENCAPSULATE_INIT, on_kem_init),
    FUNCTION(KEM_ENCAPSULATE, on_encapsulate),
    FUNCTION(KEM_DECAPSULATE_INIT, on_kem_init),
    FUNCTION(KEM_DECAPSULATE, on_decapsulate),
    {0, NULL},
};

const OSSL_ALGORITHM hello_key_managers[] = {
    {"HOTFLEET-BUNDLE", "provider=hotfleet", key_functions, ""},
    {NULL, NULL, NULL, NULL},
};

const OSSL_ALGORITHM hello_kems[] = {
    {"HOTFLEET-BUNDLE", "provider=hotfleet", kem_functions, ""},
    {NULL, NULL, NULL, NULL},
};

int hello_bundle_capabilities(void *provider, const char *capability, OSSL_CALLBACK *callback, void *arg)
{
    static char name[] = HELLO_BUNDLE_NAME;
    static char algorithm[] = "HOTFLEET-BUNDLE";
    static unsigned id = HELLO_BUNDLE_GROUP;
    static unsigned bits = 128;
    static unsigned is_kem = 1;
    static int version = TLS1_3_VERSION;
    static int never = -1;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_CAPABILITY_TLS_GROUP_NAME, name, sizeof name),
        OSSL_PARAM_utf8_string(OSSL_CAPABILITY_TLS_GROUP_NAME_INTERNAL, name, sizeof name),
        OSSL_PARAM_utf8_string(OSSL_CAPABILITY_TLS_GROUP_ALG, algorithm, sizeof algorithm),
        OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_ID, &id),
        OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_SECURITY_BITS, &bits),
        OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MIN_TLS, &version),
        OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MAX_TLS, &version),
        OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MIN_DTLS, &never),
        OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MAX_DTLS, &never),
        OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_IS_KEM, &is_kem),
        OSSL_PARAM_END,
    };

    (void)provider;
    return strcasecmp(capability, "TLS-GROUP") != 0 || callback(params, arg);
}
