/* Sockets, TLS and HTTP/2 of the scripted server. */
#include "tests/unit/worker_origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static EVP_PKEY *key;
static X509 *certificate;
static char ca_path[] = "/tmp/hotfleet-ca-XXXXXX";

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "origin: %s: %s\n", what, strerror(errno));
    abort();
}

static void remove_ca(void)
{
    unlink(ca_path);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    must(extension && X509_add_ext(x, extension, -1), "extension");
    X509_EXTENSION_free(extension);
}

static void make_certificate(void)
{
    X509_NAME *name;

    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    must(key && certificate, "key");
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a.test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate, NID_subject_alt_name, "DNS:a.test,DNS:b.test,DNS:*.wild.test,IP:127.0.0.1");
    must(X509_sign(certificate, key, EVP_sha256()) > 0, "signature");
}

const char *origin_ca_file(void)
{
    if (certificate)
        return ca_path;
    make_certificate();
    int fd = mkstemp(ca_path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    must(file && PEM_write_X509(file, certificate) == 1, "certificate file");
    fclose(file);
    atexit(remove_ca);
    return ca_path;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                           unsigned in_len, void *arg)
{
    const struct origin *o = arg;
    const unsigned char *wanted = (const unsigned char *)(o->kind == ORIGIN_H2 ? "\x02h2" : "\x08http/1.1");
    unsigned char *found;

    (void)ssl;
    if (SSL_select_next_proto(&found, out_len, wanted, wanted[0] + 1u, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = found;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_context(struct origin *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    origin_ca_file();
    must(ctx && SSL_CTX_use_certificate(ctx, certificate) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1, "context");
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, o);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"t", 1);
    return ctx;
}

struct origin *origin_new(enum origin_kind kind)
{
    struct origin *o = calloc(1, sizeof *o);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof to;

    must(o, "memory");
    o->kind = kind;
    o->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(o->fd >= 0 && bind(o->fd, (struct sockaddr *)&to, len) == 0 && listen(o->fd, 128) == 0 &&
             getsockname(o->fd, (struct sockaddr *)&to, &len) == 0,
         "listen");
    o->port = ntohs(to.sin_port);
    if (kind != ORIGIN_PLAIN)
        o->tls = make_context(o);
    return o;
}

void origin_limit_tls(struct origin *o, int version)
{
    SSL_CTX_set_max_proto_version(o->tls, version);
}

static int on_limit(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len, X509 *x,
                    size_t i, int *alert, void *arg)
{
    static const unsigned char limit[2] = {0, 16};

    (void)ssl;
    (void)type;
    (void)context;
    (void)x;
    (void)i;
    (void)alert;
    (void)arg;
    *out = limit;
    *len = sizeof limit;
    return 1;
}

void origin_spoil_extensions(struct origin *o)
{
    SSL_CTX_add_custom_ext(o->tls, 28, SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS, on_limit, NULL, NULL,
                           NULL, NULL);
}

static void close_fd(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

void origin_free(struct origin *o)
{
    for (unsigned i = 0; i < o->peer_count; i++) {
        struct peer *p = o->peers[i];
        close_fd(p);
        nghttp2_session_del(p->session);
        SSL_free(p->ssl);
        buffer_fini(&p->in);
        buffer_fini(&p->out);
        free(p);
    }
    SSL_CTX_free(o->tls);
    if (o->fd >= 0)
        close(o->fd);
    free(o);
}

struct peer *origin_last(const struct origin *o)
{
    return o->peer_count ? o->peers[o->peer_count - 1] : NULL;
}

unsigned origin_open_count(const struct origin *o)
{
    unsigned n = 0;

    for (unsigned i = 0; i < o->peer_count; i++)
        n += o->peers[i]->fd >= 0 && !o->peers[i]->ended && !o->peers[i]->broken;
    return n;
}

/* Writes as much of p->out as is taken. */
static void drain_out(struct peer *p)
{
    while (p->fd >= 0 && p->out.len) {
        size_t n = 0;
        if (p->ssl) {
            ERR_clear_error();
            if (SSL_write_ex(p->ssl, p->out.data, p->out.len < 16384 ? p->out.len : 16384, &n) != 1)
                return;
        } else {
            ssize_t sent = send(p->fd, p->out.data, p->out.len, MSG_NOSIGNAL);
            if (sent <= 0)
                return;
            n = (size_t)sent;
        }
        buffer_consume(&p->out, n);
    }
}

void peer_send(struct peer *p, const void *data, size_t len)
{
    buffer_append(&p->out, data, len);
    drain_out(p);
}

void peer_say(struct peer *p, const char *text)
{
    peer_send(p, text, strlen(text));
}

void peer_notify(struct peer *p)
{
    drain_out(p);
    ERR_clear_error();
    if (p->ssl)
        SSL_shutdown(p->ssl);
}

void peer_close(struct peer *p)
{
    peer_notify(p);
    /* Whole bytes first: a close with unread input would be a reset. */
    shutdown(p->fd, SHUT_WR);
    p->stopped = false;
}

void peer_cut(struct peer *p)
{
    drain_out(p);
    shutdown(p->fd, SHUT_WR);
}

void peer_reset(struct peer *p)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close_fd(p);
}

unsigned peer_heard(const struct peer *p, const char *word)
{
    const char *at = p->in.data;
    const char *end = at + p->in.len;
    unsigned n = 0;

    while (at && (at = memmem(at, (size_t)(end - at), word, strlen(word)))) {
        n++;
        at += strlen(word);
    }
    return n;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *p = user;

    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        p->streams[p->requests++ % PEER_STREAMS_MAX] = frame->hd.stream_id;
        p->origin->requests++;
        if (p->origin->on_request)
            p->origin->on_request(p, frame->hd.stream_id);
    }
    p->resets += frame->hd.type == NGHTTP2_RST_STREAM;
    p->goaways += frame->hd.type == NGHTTP2_GOAWAY;
    p->pongs += frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK);
    return 0;
}

static void open_session(struct peer *p)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    uint32_t limit = p->origin->streams_max == ORIGIN_NO_STREAMS ? 0 : p->origin->streams_max;
    nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limit};

    must(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0, "nghttp2");
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    /* What a server must not say is what clients are to be tested with. */
    nghttp2_option_set_no_http_messaging(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, 64u << 20);
    must(nghttp2_session_server_new2(&p->session, callbacks, p, option) == 0, "session");
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, &settings, p->origin->streams_max ? 1 : 0);
}

void peer_flush(struct peer *p)
{
    const uint8_t *data;
    ssize_t n;

    /* No more than a turn can take: the rest stays in the session. */
    while (p->session && p->out.len < 1u << 20 && (n = nghttp2_session_mem_send(p->session, &data)) > 0)
        buffer_append(&p->out, data, (size_t)n);
    drain_out(p);
}

static ssize_t read_filler(nghttp2_session *session, int32_t stream, uint8_t *out, size_t size, uint32_t *flags,
                           nghttp2_data_source *source, void *user)
{
    uint64_t *left = source->ptr;
    size_t n = *left < size ? (size_t)*left : size;

    (void)session;
    (void)stream;
    (void)user;
    memset(out, 'x', n);
    *left -= n;
    if (*left == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

void peer_answer(struct peer *p, int32_t stream, const char *status, const char *const *fields, uint64_t body_len)
{
    nghttp2_nv nv[32] = {{.name = (uint8_t *)(uintptr_t) ":status",
                          .namelen = 7,
                          .value = (uint8_t *)(uintptr_t)status,
                          .valuelen = strlen(status)}};
    nghttp2_data_provider provider = {.read_callback = read_filler};
    uint64_t *left = &p->body_left[(uint32_t)stream / 2 % PEER_STREAMS_MAX];
    size_t count = 1;

    for (; fields && fields[0] && count < 32; fields += 2)
        nv[count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)fields[0],
                                   .namelen = strlen(fields[0]),
                                   .value = (uint8_t *)(uintptr_t)fields[1],
                                   .valuelen = strlen(fields[1])};
    *left = body_len;
    provider.source.ptr = left;
    must(nghttp2_submit_response(p->session, stream, nv, count, body_len ? &provider : NULL) == 0, "answer");
}

/* Goes on with the handshake; true when it is done, now or before. */
static bool shake(struct peer *p)
{
    if (p->open)
        return true;
    if (p->ssl) {
        ERR_clear_error();
        if (SSL_accept(p->ssl) != 1)
            return false;
        const unsigned char *name;
        unsigned len;
        SSL_get0_alpn_selected(p->ssl, &name, &len);
        if (len == 2)
            open_session(p);
    }
    p->open = true;
    if (p->origin->on_open)
        p->origin->on_open(p);
    peer_flush(p);
    return true;
}

static void note_end(struct peer *p, bool clean)
{
    p->ended = clean;
    p->broken = !clean;
}

/* Reads once; the number of bytes, 0 for none. */
static size_t read_some(struct peer *p, char *out, size_t size)
{
    size_t n = 0;

    if (p->ended || p->broken)
        return 0;
    if (!p->ssl) {
        ssize_t got = recv(p->fd, out, size, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            note_end(p, got == 0);
        return got > 0 ? (size_t)got : 0;
    }
    ERR_clear_error();
    if (SSL_read_ex(p->ssl, out, size, &n) == 1)
        return n;
    int error = SSL_get_error(p->ssl, 0);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        note_end(p, error == SSL_ERROR_ZERO_RETURN);
    return 0;
}

static void take(struct peer *p, const char *data, size_t len)
{
    if (p->session) {
        if (nghttp2_session_mem_recv(p->session, (const uint8_t *)data, len) < 0)
            p->broken = true;
        peer_flush(p);
        return;
    }
    buffer_append(&p->in, data, len);
    if (p->origin->on_bytes)
        p->origin->on_bytes(p);
}

static bool peer_turn(struct peer *p)
{
    static char chunk[65536];
    bool moved = false;

    if (p->fd < 0 || !shake(p))
        return false;
    for (int i = 0; i < 64 && p->fd >= 0 && !p->stopped; i++) {
        size_t n = read_some(p, chunk, sizeof chunk);
        if (n == 0)
            break;
        moved = true;
        take(p, chunk, n);
    }
    if (p->fd >= 0)
        peer_flush(p);
    return moved;
}

bool origin_turn(struct origin *o)
{
    bool moved = false;
    int fd;

    if (o->deaf)
        return false;
    while (o->fd >= 0 && o->peer_count < ORIGIN_PEERS_MAX &&
           (fd = accept4(o->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        int one = 1;
        must(p, "memory");
        /* What is said together is to be there together. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        *p = (struct peer){.origin = o, .fd = fd};
        if (o->tls) {
            p->ssl = SSL_new(o->tls);
            must(p->ssl && SSL_set_fd(p->ssl, fd) == 1, "SSL");
        }
        o->peers[o->peer_count++] = p;
        moved = true;
    }
    for (unsigned i = 0; i < o->peer_count; i++)
        moved |= peer_turn(o->peers[i]);
    return moved;
}

void script_answer(struct peer *p)
{
    char *end;

    while ((end = p->in.data ? memmem(p->in.data, p->in.len, "\r\n\r\n", 4) : NULL)) {
        buffer_consume(&p->in, (size_t)(end + 4 - p->in.data));
        p->requests++;
        p->origin->requests++;
        peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    }
}

void script_answer_h2(struct peer *p, int32_t stream)
{
    peer_answer(p, stream, "200", NULL, 2);
}
