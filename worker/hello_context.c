/* An SSL_CTX that can do what a profile's hello promises: its ciphers, groups, signature algorithms, versions and ALPN.
 */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "worker/hello_parts.h"

#define EXTENSION_MARK 0xfd5a /* never sent: its callback runs before the PSK binders are computed */

enum { EXTENSION_STATUS = 5, EXTENSION_SIGNATURES = 13, EXTENSION_TICKET = 35, EXTENSION_VERSIONS = 43 };

struct named {
    uint16_t code;
    const char *name;
};

static const struct named group_names[] = {{GROUP_X25519, "X25519"},
                                           {GROUP_P256, "P-256"},
                                           {0x0018, "P-384"},
                                           {0x0019, "P-521"},
                                           {0x0100, "ffdhe2048"},
                                           {0x0101, "ffdhe3072"},
                                           {GROUP_MLKEM, "X25519MLKEM768"}};

static const struct named signature_names[] = {{0x0403, "ecdsa_secp256r1_sha256"},
                                               {0x0503, "ecdsa_secp384r1_sha384"},
                                               {0x0603, "ecdsa_secp521r1_sha512"},
                                               {0x0804, "rsa_pss_rsae_sha256"},
                                               {0x0805, "rsa_pss_rsae_sha384"},
                                               {0x0806, "rsa_pss_rsae_sha512"},
                                               {0x0401, "rsa_pkcs1_sha256"},
                                               {0x0501, "rsa_pkcs1_sha384"},
                                               {0x0601, "rsa_pkcs1_sha512"},
                                               {0x0203, "ECDSA+SHA1"},
                                               {0x0201, "RSA+SHA1"}};

static const char *name_of(const struct named *names, size_t count, uint16_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i].code == code)
            return names[i].name;
    }
    return NULL;
}

/* Adds to a list with colons; it always ends with a NUL that is not counted. */
static void list_add(struct buffer *list, const char *prefix, const char *name)
{
    buffer_printf(list, "%s%s%s", list->len ? ":" : "", prefix, name);
    buffer_append_char(list, '\0');
    list->len--;
}

static bool in_list(const struct hello_extension *e, uint16_t code)
{
    for (size_t i = 0; e && i < e->list_count; i++) {
        if (e->list[i] == code)
            return true;
    }
    return false;
}

/* Ciphers that libssl does not have are skipped: the hello names them all the same, and a server that picks one of them
 * ends the handshake. */
static bool set_ciphers(SSL_CTX *ctx, const struct hello_layout *layout)
{
    SSL *ssl = SSL_new(ctx);
    struct buffer old = {0};
    struct buffer new = {0};

    if (!ssl)
        return false;
    for (size_t i = 0; i < layout->cipher_count; i++) {
        uint16_t code = layout->ciphers[i];
        const unsigned char bytes[2] = {(unsigned char)(code >> 8), (unsigned char)code};
        const SSL_CIPHER *cipher = code == HELLO_GREASE ? NULL : SSL_CIPHER_find(ssl, bytes);
        if (cipher)
            list_add(code >> 8 == 0x13 ? &new : &old, "", SSL_CIPHER_get_name(cipher));
    }
    SSL_free(ssl);
    bool good = (!old.len || SSL_CTX_set_cipher_list(ctx, old.data)) &&
                (!new.len || SSL_CTX_set_ciphersuites(ctx, new.data)) && old.len + new.len > 0;
    buffer_fini(&old);
    buffer_fini(&new);
    return good;
}

static bool set_groups(struct hello_context *c)
{
    const struct hello_extension *groups = hello_layout_find(c->profile->hello, EXTENSION_GROUPS);
    const struct hello_extension *shares = hello_layout_find(c->profile->hello, EXTENSION_KEY_SHARE);
    struct buffer list = {0};

    if (!groups)
        return true;
    c->bundles = !hello_engine.many_shares && in_list(shares, GROUP_X25519) && in_list(shares, GROUP_P256);
    if (c->bundles)
        list_add(&list, "", HELLO_BUNDLE_NAME);
    for (size_t i = 0; i < groups->list_count; i++) {
        uint16_t code = groups->list[i];
        const char *name = name_of(group_names, sizeof group_names / sizeof group_names[0], code);
        if (name && (code != GROUP_MLKEM || hello_engine.has_mlkem))
            list_add(&list, hello_engine.many_shares && in_list(shares, code) ? "*" : "", name);
    }
    bool good = list.len && SSL_CTX_set1_groups_list(c->ssl_ctx, list.data) == 1;
    buffer_fini(&list);
    return good;
}

/* Each once: libssl refuses the repetitions that some browsers send. */
static bool set_signatures(SSL_CTX *ctx, const struct hello_layout *layout)
{
    const struct hello_extension *e = hello_layout_find(layout, EXTENSION_SIGNATURES);
    struct cursor c = cursor_of(e ? e->body : NULL, e ? e->body_len : 0);
    struct cursor codes = cursor_vector(&c, 2);
    uint16_t seen[HELLO_BODY_MAX];
    size_t count = 0;
    struct buffer list = {0};

    while (!codes.bad && codes.left > 0) {
        uint16_t code = cursor_u16(&codes);
        const char *name = name_of(signature_names, sizeof signature_names / sizeof signature_names[0], code);
        size_t i = 0;
        while (i < count && seen[i] != code)
            i++;
        if (i == count && name)
            list_add(&list, "", name);
        seen[count++] = code;
    }
    bool good = !list.len || SSL_CTX_set1_sigalgs_list(ctx, list.data) == 1;
    buffer_fini(&list);
    return good;
}

static bool set_alpn(struct hello_context *c, const unsigned char *own, unsigned own_len)
{
    const struct hello_extension *e = hello_layout_find(c->profile->hello, EXTENSION_ALPN);
    struct cursor of_layout = cursor_of(e ? e->body : NULL, e ? e->body_len : 0);
    struct cursor list = own ? cursor_of(own, own_len) : cursor_vector(&of_layout, 2);

    c->own_alpn = own != NULL;
    if (list.bad || list.left == 0 || c->profile->draw == PROFILE_DRAWN_NO_ALPN)
        return true;
    bool good = SSL_CTX_set_alpn_protos(c->ssl_ctx, list.at, (unsigned)list.left) == 0;
    while (!list.bad && list.left > 0) {
        struct cursor name = cursor_vector(&list, 1);
        c->offers_h2 |= name.left == 2 && memcmp(name.at, "h2", 2) == 0;
    }
    return good;
}

/* Runs while the hello is being built: from here on the digests know whose it is. */
static int on_mark(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len, X509 *x, size_t i,
                   int *alert, void *arg)
{
    struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);
    uint8_t random[HELLO_RANDOM_BYTES];

    (void)type;
    (void)context;
    (void)out;
    (void)len;
    (void)x;
    (void)i;
    (void)alert;
    (void)arg;
    if (h && SSL_get_client_random(ssl, random, sizeof random) == sizeof random)
        hello_register(h, random);
    return 0;
}

/* Signed certificate timestamps are asked for as browsers do, and not looked at. */
static int on_timestamps_asked(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len,
                               X509 *x, size_t i, int *alert, void *arg)
{
    (void)ssl;
    (void)type;
    (void)x;
    (void)i;
    (void)alert;
    (void)arg;
    *out = NULL;
    *len = 0;
    return (context & SSL_EXT_CLIENT_HELLO) != 0;
}

static int on_timestamps(SSL *ssl, unsigned type, unsigned context, const unsigned char *in, size_t len, X509 *x,
                         size_t i, int *alert, void *arg)
{
    (void)ssl;
    (void)type;
    (void)context;
    (void)in;
    (void)len;
    (void)x;
    (void)i;
    (void)alert;
    (void)arg;
    return 1;
}

static bool set_extensions(SSL_CTX *ctx, const struct hello_layout *layout)
{
    if (!SSL_CTX_add_custom_ext(ctx, EXTENSION_MARK, SSL_EXT_CLIENT_HELLO, on_mark, NULL, NULL, NULL, NULL))
        return false;
    if (hello_layout_find(layout, EXTENSION_STATUS))
        SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
    if (!hello_layout_find(layout, EXTENSION_TICKET))
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_options(ctx, SSL_OP_NO_ENCRYPT_THEN_MAC);
#ifdef SSL_OP_NO_RX_CERTIFICATE_COMPRESSION
    SSL_CTX_set_options(ctx, SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);
#endif
    return !hello_layout_find(layout, EXTENSION_SCT) ||
           SSL_CTX_add_custom_ext(ctx, EXTENSION_SCT,
                                  SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO | SSL_EXT_TLS1_3_CERTIFICATE,
                                  on_timestamps_asked, NULL, NULL, on_timestamps, NULL);
}

enum hello_grade hello_grade_of(const struct hello_layout *layout)
{
    const struct hello_extension *groups = hello_layout_find(layout, EXTENSION_GROUPS);

    return in_list(groups, GROUP_KYBER_DRAFT) || (in_list(groups, GROUP_MLKEM) && !hello_engine.has_mlkem)
               ? HELLO_PARTIAL
               : HELLO_EXACT;
}

struct hello_context *hello_context_new(const struct profile *profile, const unsigned char *alpn, unsigned alpn_len)
{
    struct hello_context *c = calloc(1, sizeof *c);
    const struct hello_layout *layout = profile->hello;

    if (!c)
        return NULL;
    c->profile = profile;
    c->grade = hello_grade_of(layout);
    c->ssl_ctx = SSL_CTX_new_ex(hello_engine.libctx, HELLO_PROPERTIES, TLS_client_method());
    bool modern = hello_layout_find(layout, EXTENSION_VERSIONS) != NULL;
    if (c->ssl_ctx && set_ciphers(c->ssl_ctx, layout) && set_groups(c) && set_signatures(c->ssl_ctx, layout) &&
        set_alpn(c, alpn, alpn_len) && set_extensions(c->ssl_ctx, layout) &&
        SSL_CTX_set_min_proto_version(c->ssl_ctx, TLS1_2_VERSION) &&
        SSL_CTX_set_max_proto_version(c->ssl_ctx, modern ? TLS1_3_VERSION : TLS1_2_VERSION)) {
        if (hello_engine.on_keylog)
            SSL_CTX_set_keylog_callback(c->ssl_ctx, hello_on_keylog);
        return c;
    }
    ERR_clear_error();
    hello_context_free(c);
    return NULL;
}

void hello_context_free(struct hello_context *c)
{
    if (c)
        SSL_CTX_free(c->ssl_ctx);
    free(c);
}
