/* Proves in memory that the engine and this libssl agree: handshakes against a server of our own, whose every Finished
 * covers the hello that it received, not the one that libssl built. */
#include <openssl/err.h>
#include <string.h>

#include "worker/hello_parts.h"

#define ROUNDS_MAX 20

static SSL_SESSION *session; /* the last that a server gave */

static int on_session(SSL *ssl, SSL_SESSION *given)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = given;
    return 1;
}

/* A certificate for nobody, which nobody looks at. */
static bool give_certificate(SSL_CTX *server)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *x = X509_new();

    bool good = key && x && X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) &&
                X509_gmtime_adj(X509_getm_notBefore(x), -60) && X509_gmtime_adj(X509_getm_notAfter(x), 3600) &&
                X509_set_pubkey(x, key) && X509_sign(x, key, EVP_sha256()) && SSL_CTX_use_certificate(server, x) == 1 &&
                SSL_CTX_use_PrivateKey(server, key) == 1;
    X509_free(x);
    EVP_PKEY_free(key);
    return good;
}

static bool shake_hands(SSL *client, SSL *server)
{
    char byte;
    size_t n;

    for (int i = 0; i < ROUNDS_MAX; i++) {
        int from_client = SSL_do_handshake(client);
        int from_server = SSL_do_handshake(server);
        if (from_client == 1 && from_server == 1) {
            /* Tickets come behind the handshake. */
            return hello_detach(client) && SSL_write_ex(server, "x", 1, &n) && SSL_read_ex(client, &byte, 1, &n);
        }
        if ((from_client != 1 && SSL_get_error(client, from_client) != SSL_ERROR_WANT_READ) ||
            (from_server != 1 && SSL_get_error(server, from_server) != SSL_ERROR_WANT_READ))
            return false;
    }
    return false;
}

struct want {
    const char *name;
    int version;
    const char *groups; /* of the server */
    bool retried, resumed;
};

static bool run(const struct hello_context *context, SSL_CTX *server_ctx, const struct want *want)
{
    SSL *client = SSL_new(context->ssl_ctx);
    SSL *server = SSL_new(server_ctx);
    BIO *near = NULL;
    BIO *far = NULL;
    bool good = client && server && BIO_new_bio_pair(&near, 0, &far, 0) == 1 && hello_attach(client, context, near);

    if (far)
        SSL_set_bio(server, far, far);
    if (good) {
        SSL_set_connect_state(client);
        SSL_set_accept_state(server);
        good = SSL_set_max_proto_version(server, want->version) && SSL_set1_groups_list(server, want->groups) &&
               SSL_set_tlsext_host_name(client, "self.test") && (!want->resumed || SSL_set_session(client, session));
    }
    const struct hello_stats *stats = client ? hello_stats_of(client) : NULL;
    if (good && stats) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
        SSL_do_handshake(client);
        good = (stats->retries == 1) == want->retried && stats->hellos == 1 + stats->retries && stats->hashed > 0;
    }
    good = good && shake_hands(client, server) && SSL_version(client) == want->version &&
           SSL_session_reused(client) == want->resumed;
    if (client)
        SSL_shutdown(client);
    SSL_free(client);
    SSL_free(server);
    return good;
}

static bool run_all(const struct hello_context *context, SSL_CTX *server_ctx, const char **reason_out)
{
    static const struct want wants[] = {
        {"a handshake of TLS 1.3", TLS1_3_VERSION, "X25519", false, false},
        {"a handshake with a PSK", TLS1_3_VERSION, "P-256", false, true},
        /* The dearest, by P-384: so there is none without a PSK, which leans on nothing that this does not. */
        {"a handshake with a HelloRetryRequest and a PSK", TLS1_3_VERSION, "P-384", true, true},
        {"a handshake of TLS 1.2", TLS1_2_VERSION, "X25519", false, false},
        {"a resumed handshake of TLS 1.2", TLS1_2_VERSION, "X25519", false, true},
    };

    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++) {
        if (!run(context, server_ctx, &wants[i])) {
            *reason_out = wants[i].name;
            return false;
        }
    }
    return true;
}

bool hello_self_test(const char **reason_out)
{
    /* Of the profiles it has the most to it: two key shares. */
    struct hello_context *context = hello_context_new(profile_find("firefox-120-windows"), NULL, 0);
    SSL_CTX *server = SSL_CTX_new(TLS_server_method());

    *reason_out = "making a context";
    bool good = context && server && give_certificate(server);
    if (good) {
        SSL_CTX_set_session_cache_mode(context->ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context->ssl_ctx, on_session);
        good = run_all(context, server, reason_out);
    }
    SSL_SESSION_free(session);
    session = NULL;
    SSL_CTX_free(server);
    hello_context_free(context);
    ERR_clear_error();
    return good;
}
