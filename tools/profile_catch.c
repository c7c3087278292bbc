/* The listener, the run, and what comes of HTTP/2 up to the first request. */
#include "tools/profile_catch.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/h2_frames.h"

#define WAIT_SECONDS 10
#define FRAMES_MAX   65536

static int listen_on_loopback(uint16_t *port_out)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *port_out = ntohs(at.sin_port);
    return fd;
}

/* The run: this very program, one worker, one URL; what becomes of it is of no interest. */
static pid_t start_run(const struct profile *profile, const char *dir, uint16_t port)
{
    char resolve[64];
    char url[64];
    int input[2];

    snprintf(resolve, sizeof resolve, "profiles.test:%u:127.0.0.1", port);
    int len = snprintf(url, sizeof url, "https://profiles.test:%u/\n", port);
    if (pipe2(input, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        char *const argv[] = {"hotfleet",
                              "run",
                              "--profile",
                              (char *)(uintptr_t)profile->name,
                              "--profiles",
                              (char *)(uintptr_t)dir,
                              "--resolve",
                              resolve,
                              "--http-version",
                              "auto",
                              "--retry",
                              "0",
                              "-w",
                              "1",
                              "-o",
                              "/dev/null",
                              "--state",
                              "",
                              "-s",
                              "-k",
                              "--allow-private",
                              NULL};
        dup2(input[0], STDIN_FILENO);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(input[0]);
    ssize_t n = pid > 0 ? write(input[1], url, (size_t)len) : 0;
    (void)n;
    close(input[1]);
    return pid;
}

static bool give_certificate(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *x = X509_new();

    bool good = key && x && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) &&
                X509_gmtime_adj(X509_getm_notBefore(x), -60) && X509_gmtime_adj(X509_getm_notAfter(x), 3600) &&
                X509_set_pubkey(x, key) && X509_sign(x, key, EVP_sha256()) && SSL_CTX_use_certificate(ctx, x) == 1 &&
                SSL_CTX_use_PrivateKey(ctx, key) == 1;
    X509_free(x);
    EVP_PKEY_free(key);
    return good;
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned len,
                     void *arg)
{
    static const unsigned char h2[] = "\2h2";

    (void)ssl;
    (void)arg;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, h2, 3, in, len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static void on_message(int sent, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
    struct profile_catch *caught = arg;

    (void)version;
    (void)ssl;
    if (!sent && type == SSL3_RT_HANDSHAKE && len > 0 && *(const uint8_t *)data == 1 && caught->hello.len == 0)
        buffer_append(&caught->hello, data, len);
}

static SSL *accept_one(SSL_CTX *ctx, int listener, struct profile_catch *caught)
{
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    struct timeval limit = {.tv_sec = WAIT_SECONDS};

    int fd = poll(&ready, 1, WAIT_SECONDS * 1000) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (fd < 0)
        return NULL;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    SSL *ssl = SSL_new(ctx);
    BIO *bio = BIO_new_socket(fd, BIO_CLOSE);
    if (!ssl || !bio) {
        SSL_free(ssl);
        close(fd);
        return NULL;
    }
    SSL_set_bio(ssl, bio, bio);
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, caught);
    SSL_accept(ssl);
    return ssl;
}

static void catch_http2(SSL *ssl, struct profile_catch *caught)
{
    struct buffer bytes = {0};
    size_t n = 0;

    for (bool whole = false; !whole && bytes.len < FRAMES_MAX;) {
        struct h2_frames f = {0};
        buffer_reserve(&bytes, 16384);
        if (SSL_read_ex(ssl, bytes.data + bytes.len, 16384, &n) != 1)
            break;
        bytes.len += n;
        whole = h2_frames_read(bytes.data, bytes.len, &f);
        if (whole)
            snprintf(caught->http2, sizeof caught->http2, "%.*s|%u|%.*s|%.*s", (int)f.settings.len, f.settings.data,
                     f.window_update, f.priorities.len ? (int)f.priorities.len : 1,
                     f.priorities.len ? f.priorities.data : "0", (int)f.pseudo.len, f.pseudo.data);
        h2_frames_fini(&f);
    }
    buffer_fini(&bytes);
}

bool profile_catch(const struct profile *profile, const char *dir, struct profile_catch *caught,
                   const char **reason_out)
{
    uint16_t port = 0;
    int listener = listen_on_loopback(&port);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    pid_t pid = -1;
    SSL *ssl = NULL;

    *caught = (struct profile_catch){0};
    *reason_out = "no listener could be made";
    if (listener >= 0 && ctx && give_certificate(ctx)) {
        SSL_CTX_set_alpn_select_cb(ctx, choose_h2, NULL);
        *reason_out = "the run made no connection in time";
        pid = start_run(profile, dir, port);
        ssl = pid > 0 ? accept_one(ctx, listener, caught) : NULL;
    }
    if (ssl)
        catch_http2(ssl, caught);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    if (listener >= 0)
        close(listener);
    if (pid > 0) {
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
    }
    return caught->hello.len > 0;
}
