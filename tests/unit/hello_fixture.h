#pragma once
/* A client with the engine's filter against a server of libssl, in memory. Included by one test each. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "common/client_hello.h"
#include "worker/hello_parts.h"

#define ROUNDS_MAX 40
#define TEST_HOST  "a.test"

struct pair {
    SSL *client, *server;
    BIO *wire;           /* the server's end, for tampering */
    struct buffer hello; /* the last ClientHello that the server got */
    unsigned hellos;
    struct hello_stats stats; /* as they were when the filter went */
};

static EVP_PKEY *ca_key;
static X509 *ca;
static SSL_SESSION *kept;

static X509 *make_certificate(EVP_PKEY *key, const char *name, long from, long to, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *x = X509_new();
    X509V3_CTX v3;

    assert_int_equal(X509_set_version(x, 2), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), issuer ? 2 : 1);
    X509_gmtime_adj(X509_getm_notBefore(x), from);
    X509_gmtime_adj(X509_getm_notAfter(x), to);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    X509V3_set_ctx(&v3, issuer ? issuer : x, x, NULL, NULL, 0);
    char names[64];
    snprintf(names, sizeof names, "DNS:%s", name);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, issuer ? NID_subject_alt_name : NID_basic_constraints,
                                            issuer ? names : "critical,CA:TRUE");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    assert_true(X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256()) > 0);
    return x;
}

__attribute__((unused)) static SSL_CTX *server_new(const char *key_type, const char *name, long from, long to)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = strcmp(key_type, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                                                 : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *x = make_certificate(key, name, from, to, ca, ca_key);

    assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"t", 1);
    X509_free(x);
    EVP_PKEY_free(key);
    return ctx;
}

__attribute__((unused)) static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static struct hello_context *context_of(const struct profile *profile, const char *alpn)
{
    struct hello_context *c =
        hello_context_new(profile, (const unsigned char *)alpn, alpn ? (unsigned)strlen(alpn) : 0);

    assert_non_null(c);
    SSL_CTX_set_session_cache_mode(c->ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl_ctx, keep_session);
    SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_PEER, NULL);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(c->ssl_ctx), ca);
    return c;
}

__attribute__((unused)) static struct hello_context *context_for(const char *profile, const char *alpn)
{
    return context_of(profile_find(profile), alpn);
}

__attribute__((unused)) static void on_message(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
                                               void *arg)
{
    struct pair *p = arg;
    const uint8_t *bytes = data;

    (void)version;
    (void)ssl;
    if (sent || type != SSL3_RT_HANDSHAKE || len == 0 || bytes[0] != MESSAGE_CLIENT_HELLO)
        return;
    buffer_clear(&p->hello);
    buffer_append(&p->hello, data, len);
    p->hellos++;
}

__attribute__((unused)) static void pair_open(struct pair *p, const struct hello_context *c, SSL_CTX *server)
{
    BIO *near;
    BIO *far;

    *p = (struct pair){0};
    p->client = SSL_new(c->ssl_ctx);
    p->server = SSL_new(server);
    assert_int_equal(BIO_new_bio_pair(&near, 0, &far, 0), 1);
    p->wire = far;
    SSL_set_bio(p->server, far, far);
    assert_true(hello_attach(p->client, c, near));
    SSL_set_connect_state(p->client);
    SSL_set_accept_state(p->server);
    SSL_set_msg_callback(p->server, on_message);
    SSL_set_msg_callback_arg(p->server, p);
    assert_int_equal(SSL_set1_host(p->client, TEST_HOST), 1);
    assert_int_equal(SSL_set_tlsext_host_name(p->client, TEST_HOST), 1);
    ERR_clear_error();
}

__attribute__((unused)) static void pair_close(struct pair *p)
{
    /* Else the server forgets the session. */
    SSL_shutdown(p->server);
    SSL_shutdown(p->client);
    SSL_free(p->client);
    SSL_free(p->server);
    buffer_fini(&p->hello);
    ERR_clear_error();
}

/* One turn of each side; false when one of them failed. */
__attribute__((unused)) static bool turn(struct pair *p, bool *done_out)
{
    int c = SSL_do_handshake(p->client);
    bool failed = c != 1 && SSL_get_error(p->client, c) != SSL_ERROR_WANT_READ;

    if (hello_stats_of(p->client))
        p->stats = *hello_stats_of(p->client);
    int s = failed ? 1 : SSL_do_handshake(p->server);
    failed = failed || (s != 1 && SSL_get_error(p->server, s) != SSL_ERROR_WANT_READ);
    *done_out = c == 1 && s == 1;
    return !failed;
}

__attribute__((unused)) static bool pair_shake(struct pair *p)
{
    bool done = false;

    for (int i = 0; i < ROUNDS_MAX && !done; i++) {
        if (!turn(p, &done))
            return false;
    }
    return done && hello_detach(p->client);
}

/* Both directions carry data, and a session comes with it. */
__attribute__((unused)) static void assert_talks(struct pair *p)
{
    char text[8];
    size_t n;

    assert_int_equal(SSL_write_ex(p->client, "ping", 4, &n), 1);
    assert_int_equal(SSL_read_ex(p->server, text, sizeof text, &n), 1);
    assert_int_equal(n, 4);
    assert_int_equal(SSL_write_ex(p->server, "pong", 4, &n), 1);
    assert_int_equal(SSL_read_ex(p->client, text, sizeof text, &n), 1);
    assert_memory_equal(text, "pong", 4);
}

/* A handshake that ends well, resumed if it is to be. */
__attribute__((unused)) static void shake(const struct hello_context *c, SSL_CTX *server, bool resume, struct pair *p)
{
    pair_open(p, c, server);
    if (resume)
        assert_int_equal(SSL_set_session(p->client, kept), 1);
    if (!pair_shake(p)) {
        ERR_print_errors_fp(stderr);
        fail_msg("%s: the handshake failed", c->profile->name);
    }
    assert_talks(p);
    if (SSL_session_reused(p->client) != resume)
        fail_msg("%s: resumed, or not, against what was asked", c->profile->name);
}

static int fixture_setup(void **state)
{
    const char *reason;

    (void)state;
    if (!hello_engine_open(&reason))
        return -1;
    ca_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    ca = make_certificate(ca_key, "test ca", -60, 3600, NULL, NULL);
    return 0;
}

static int fixture_teardown(void **state)
{
    (void)state;
    SSL_SESSION_free(kept);
    kept = NULL;
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    hello_engine_close();
    return 0;
}
