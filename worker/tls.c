/* The TLS context, the BIO between libssl and our buffers, and the handshake. */
#include "worker/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/conn.h"
#include "worker/hello.h"
#include "worker/pool.h"
#include "worker/session.h"
#include "worker/verify.h"

static int conn_index; /* where an SSL keeps its conn */

static int bio_read(BIO *bio, char *out, size_t size, size_t *len_out)
{
    struct conn *conn = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (conn->net_len == 0) {
        *len_out = 0;
        if (!conn->net_eof)
            BIO_set_retry_read(bio);
        return 0;
    }
    size_t n = conn->net_len < size ? conn->net_len : size;
    memcpy(out, conn->net, n);
    conn->net += n;
    conn->net_len -= n;
    *len_out = n;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *len_out)
{
    conn_send_raw(BIO_get_data(bio), data, len);
    *len_out = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct conn *conn = BIO_get_data(bio);

    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return conn->net_eof && conn->net_len == 0;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;

    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");
        if (!method || !BIO_meth_set_read_ex(method, bio_read) || !BIO_meth_set_write_ex(method, bio_write) ||
            !BIO_meth_set_ctrl(method, bio_ctrl))
            die("out of memory: libssl has no room for a BIO method");
    }
    return method;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    session_take(SSL_get_ex_data(ssl, conn_index), session);
    return 0;
}

static int on_certificates(X509_STORE_CTX *ctx, void *arg)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct conn *conn = SSL_get_ex_data(ssl, conn_index);
    struct worker *w = conn->worker;
    struct verify_peer peer = {conn->host->verify_name, conn->host->is_ip, SSL_get_SSL_CTX(ssl), w->now_us,
                               clock_wall_us()};
    bool remembered;

    (void)arg;
    int result = verify_chain(w->verified, ctx, &peer, &remembered);
    if (remembered)
        STATS_ADD(w->page, chains_remembered, 1);
    return result;
}

static int keylog_fd = -1;

/* The format of NSS key logs, which Wireshark reads; one write a line, so that workers can share the file. */
static void on_keylog(const SSL *ssl, const char *line)
{
    char text[1024];
    int len = snprintf(text, sizeof text, "%s\n", line);

    (void)ssl;
    if (len > 0 && (size_t)len < sizeof text) {
        ssize_t n = write(keylog_fd, text, (size_t)len);
        (void)n;
    }
}

static void open_keylog(SSL_CTX *ctx)
{
    const char *path = getenv("SSLKEYLOGFILE");

    if (!path || !*path)
        return;
    keylog_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (keylog_fd >= 0)
        SSL_CTX_set_keylog_callback(ctx, on_keylog);
    else
        log_event(LOG_WARN, "no-key-log", "file=\"%s\" error=\"%s\"", path, strerror(errno));
}

bool tls_offers_h2(const struct options *options)
{
    /* A raw request is one of HTTP/1.1. */
    return strcmp(options->http_version, "1.1") != 0 && !*options->raw_request;
}

/* What is the same for plain and exact hellos. */
static void configure(SSL_CTX *ctx, const struct options *options)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    SSL_CTX_set_verify(ctx, options->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!options->insecure)
        SSL_CTX_set_cert_verify_callback(ctx, on_certificates, NULL);
}

/* In wire form (RFC 7301 3.1). */
static const unsigned char *protocols(const struct options *options)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    static const unsigned char only_h1[] = "\x08http/1.1";
    static const unsigned char only_h2[] = "\x02h2";

    if (!tls_offers_h2(options))
        return only_h1;
    return strcmp(options->http_version, "2") == 0 ? only_h2 : both;
}

SSL_CTX *tls_context_new(const struct options *options, const char **reason_out)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx) {
        *reason_out = "libssl could not make a context";
        return NULL;
    }
    conn_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    configure(ctx, options);
    bool trusted = *options->cacert ? SSL_CTX_load_verify_file(ctx, options->cacert) == 1
                                    : options->insecure || SSL_CTX_set_default_verify_paths(ctx) == 1;
    if (!trusted) {
        *reason_out = "the file of --cacert can't be read as PEM certificates";
        SSL_CTX_free(ctx);
        return NULL;
    }
    open_keylog(ctx);
    SSL_CTX_set_alpn_protos(ctx, protocols(options), (unsigned)strlen((const char *)protocols(options)));
    return ctx;
}

static void warn_plain(const char *profile, const char *reason)
{
    log_event(LOG_WARN, "plain-hello", "profile=%s reason=\"this TLS library fails a test: %s\"", profile, reason);
}

void tls_open_hellos(struct worker *w)
{
    const char *reason = "out of memory";

    if (w->hellos_tried || strcmp(w->options.hello, "plain") == 0)
        return;
    w->hellos_tried = true;
    w->hellos_open = hello_engine_open(&reason) && hello_self_test(&reason);
    ERR_clear_error();
    if (!w->hellos_open) {
        warn_plain(w->options.profile, reason);
        hello_engine_close();
        return;
    }
    if (keylog_fd >= 0)
        hello_set_keylog(on_keylog);
}

void tls_close_hellos(struct worker *w)
{
    if (w->hellos_open)
        hello_engine_close();
    w->hellos_open = false;
}

struct hello_context *tls_hello_new(struct worker *w, const struct profile *profile)
{
    const struct options *o = &w->options;
    /* What the browser offers stands unless the user asks for something else. */
    bool browsers = strcmp(o->http_version, "auto") == 0 && tls_offers_h2(o);
    const unsigned char *alpn = browsers ? NULL : protocols(o);

    tls_open_hellos(w);
    if (!w->hellos_open)
        return NULL;
    struct hello_context *hello = hello_context_new(profile, alpn, alpn ? (unsigned)strlen((const char *)alpn) : 0);
    ERR_clear_error();
    if (!hello) {
        warn_plain(profile->name, "out of memory");
        return NULL;
    }
    configure(hello->ssl_ctx, o);
    SSL_CTX_set1_cert_store(hello->ssl_ctx, SSL_CTX_get_cert_store(w->tls));
    return hello;
}

/* Whether the peer of this connection, or of the one that its session is from, was verified; or need not be. */
static bool is_trusted(const struct conn *conn)
{
    return conn->worker->options.insecure || SSL_get_verify_result(conn->ssl) == X509_V_OK;
}

static void offer_session(struct conn *conn)
{
    /* The result of the session's own verification is the connection's once it is offered. */
    if (session_offer(conn) && !is_trusted(conn)) {
        SSL_set_session(conn->ssl, NULL);
        session_refused(conn);
    }
}

static _Atomic uint32_t *host_flags(const struct conn *conn)
{
    return &conn->worker->region.table.hosts[conn->host->index].flags;
}

enum outcome tls_start(struct conn *conn)
{
    struct worker *w = conn->worker;
    struct pool_host *host = conn->host;
    const struct hello_context *hello = conn->browser->hello;
    conn->exact = hello && !(atomic_load_explicit(host_flags(conn), memory_order_relaxed) & HOST_PLAIN_HELLO);
    SSL *ssl = SSL_new(conn->exact ? hello->ssl_ctx : w->tls);
    BIO *bio = ssl ? BIO_new(bio_method()) : NULL;

    if (!bio) {
        SSL_free(ssl);
        return OUTCOME_RESOURCE_EXHAUSTED;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    if (!conn->exact) {
        SSL_set_bio(ssl, bio, bio);
    } else if (!hello_attach(ssl, hello, bio)) {
        SSL_free(ssl);
        return OUTCOME_RESOURCE_EXHAUSTED;
    } else if (w->options.seed) {
        hello_draw_by(ssl, &conn->draw);
    }
    SSL_set_connect_state(ssl);
    SSL_set_ex_data(ssl, conn_index, conn);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    /* Without the name to hold against the certificate there is no verification. */
    bool named = host->is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, host->verify_name) == 1
                             : X509_VERIFY_PARAM_set1_host(param, host->verify_name, 0) == 1 &&
                                   SSL_set_tlsext_host_name(ssl, host->verify_name) == 1;
    if (!named) {
        SSL_free(ssl);
        ERR_clear_error();
        return OUTCOME_RESOURCE_EXHAUSTED;
    }
    conn->ssl = ssl;
    offer_session(conn);
    ERR_clear_error();
    return OUTCOME_OK;
}

/* Every path that meets an error clears libssl's queue: SSL_get_error() trusts that it was empty before the call. */
static enum outcome describe_failure(struct conn *conn)
{
    long verified = SSL_get_verify_result(conn->ssl);
    unsigned long error = ERR_peek_last_error();

    if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        snprintf(conn->detail, sizeof conn->detail, "%s", X509_verify_cert_error_string(verified));
        ERR_clear_error();
        return OUTCOME_CERT_INVALID;
    }
    const char *reason = ERR_reason_error_string(error);
    snprintf(conn->detail, sizeof conn->detail, "%s", reason ? reason : "the TLS library gives no reason");
    ERR_clear_error();
    return OUTCOME_TLS_ERROR;
}

static void note_parameters(struct conn *conn)
{
    conn->tls_version = SSL_version(conn->ssl) == TLS1_3_VERSION ? "TLS1.3" : "TLS1.2";
    conn->tls_cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(conn->ssl));
    if (!conn->tls_cipher)
        conn->tls_cipher = "unknown";
    conn->tls_resumed = SSL_session_reused(conn->ssl) != 0;
}

/* What a plain hello would not help against: the certificate, an answer that is no TLS, and TLS 1.0 or 1.1. */
static bool is_for_any_hello(int reason)
{
    return reason == SSL_R_CERTIFICATE_VERIFY_FAILED || reason == SSL_R_WRONG_VERSION_NUMBER ||
           reason == SSL_R_UNSUPPORTED_PROTOCOL;
}

/* Libssl or the filter ended the handshake, not the server: the host gets a plain hello from here on, by a connection
 * of its own. */
static bool failed_for_exact(const struct conn *conn)
{
    unsigned long error = ERR_peek_last_error();

    return conn->exact && ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) < SSL_AD_REASON_OFFSET &&
           !is_for_any_hello(ERR_GET_REASON(error));
}

static enum outcome go_plain(struct conn *conn)
{
    atomic_fetch_or_explicit(host_flags(conn), HOST_PLAIN_HELLO, memory_order_relaxed);
    STATS_ADD(conn->worker->page, hello_fallbacks, 1);
    return OUTCOME_CONNECTION_CLOSED;
}

/* Some browsers of old offer protocols that nobody speaks any more. */
static bool chose_known_protocol(const struct conn *conn)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(conn->ssl, &name, &len);
    return len == 0 || (len == 2 && memcmp(name, "h2", 2) == 0) || (len == 8 && memcmp(name, "http/1.1", 8) == 0);
}

/* The filter goes when the handshake is done. */
static bool end_exact(struct conn *conn)
{
    if (!conn->exact)
        return true;
    bool clean = hello_detach(conn->ssl) && chose_known_protocol(conn);
    if (!clean)
        snprintf(conn->detail, sizeof conn->detail, "the server's end of the handshake can't be used");
    return clean;
}

enum outcome tls_handshake(struct conn *conn)
{
    int n = SSL_do_handshake(conn->ssl);

    if (n == 1) {
        if (!end_exact(conn))
            return go_plain(conn);
        /* Verification may leave words about what it tried and did not need. */
        ERR_clear_error();
        note_parameters(conn);
        if (!conn->tls_resumed)
            session_refused(conn);
        if (is_trusted(conn))
            return OUTCOME_OK;
        snprintf(conn->detail, sizeof conn->detail, "%s",
                 X509_verify_cert_error_string(SSL_get_verify_result(conn->ssl)));
        return OUTCOME_CERT_INVALID;
    }
    int error = SSL_get_error(conn->ssl, n);
    if (error == SSL_ERROR_WANT_READ && !conn->net_eof)
        return OUTCOME_AGAIN;
    /* It may have been the session that the server could not stand. */
    session_refused(conn);
    if (conn->net_eof && conn->net_len == 0 &&
        (error != SSL_ERROR_SSL || ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
        ERR_clear_error();
        snprintf(conn->detail, sizeof conn->detail, "in the TLS handshake");
        return OUTCOME_CONNECTION_CLOSED;
    }
    bool go = failed_for_exact(conn);
    enum outcome outcome = describe_failure(conn);
    return go ? go_plain(conn) : outcome;
}

bool tls_chose_h2(const struct conn *conn)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(conn->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

enum outcome tls_read(struct conn *conn, char *out, size_t size, size_t *len_out)
{
    if (SSL_read_ex(conn->ssl, out, size, len_out) == 1)
        return OUTCOME_OK;
    int error = SSL_get_error(conn->ssl, 0);
    if (error == SSL_ERROR_WANT_READ)
        return conn->net_eof ? OUTCOME_CONNECTION_BROKEN : OUTCOME_AGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return OUTCOME_CONNECTION_CLOSED;
    if (conn->net_eof && conn->net_len == 0) {
        ERR_clear_error();
        return OUTCOME_CONNECTION_BROKEN;
    }
    session_spoiled(conn);
    describe_failure(conn);
    return OUTCOME_TLS_ERROR;
}

enum outcome tls_write(struct conn *conn, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        size_t n = 0;
        if (SSL_write_ex(conn->ssl, at, len, &n) != 1) {
            describe_failure(conn);
            return OUTCOME_TLS_ERROR;
        }
        at += n;
        len -= n;
    }
    return OUTCOME_OK;
}

void tls_close(struct conn *conn)
{
    if (SSL_is_init_finished(conn->ssl))
        SSL_shutdown(conn->ssl);
    ERR_clear_error();
}

void tls_free_buffers(struct conn *conn)
{
    SSL_free_buffers(conn->ssl);
}
