/* The stub origin: listeners, a name server that knows no name, and the loop.
 *
 *     stub_origin [--cert FILE --key FILE] [--ledger] [--slow ADDRESS=MS]...
 *
 * prints its ports as one JSON line and lives until its standard input ends. Ports, on all of 127.0.0.0/8:
 *     http, https   answer 200; https speaks HTTP/2 too, and is there with a certificate
 *     refused       bound, not listening
 *     dns           UDP: every name is NXDOMAIN
 *     control       GET /group?N tells of the addresses 127.N.0.0/16: the peaks of open sockets, counted exactly with
 *                   --ledger; connections and requests. /reset?N tells it and forgets
 * A request's path may ask for more than that:
 *     /delay/MS/…   answered after MS milliseconds
 *     /queue/MS/…   its address answers such requests one by one, MS milliseconds after each other
 *     /status/N/…   answered with status N
 *     /close/…      answered, and the connection closed; /cut/… closed without an answer
 * With --slow all requests to ADDRESS are answered as /queue/MS/ is. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/origin/stub.h"

#define BACKLOG       4096
#define FRESH_MAX     512u
#define DNS_HEADER    12u
#define DNS_QUESTION  4u /* type and class, behind the name */
#define DNS_IS_ANSWER 0x80u
#define DNS_AVAILABLE 0x80u
#define DNS_NO_NAME   0x03u

uint64_t stub_clock_us(void)
{
    return clock_us();
}

static int bind_free(int kind, uint16_t *port_out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    /* Nobody else's traffic; where that is not permitted it is as open as any test server. */
    if (fd >= 0)
        (void)!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        die("no socket: %s", strerror(errno));
    *port_out = ntohs(address.sin_port);
    return fd;
}

static void accept_all(struct stub_listener *l)
{
    struct stub_conn *fresh[FRESH_MAX];
    unsigned count = 0;
    int fd;

    /* All that wait are taken before any is counted: whoever is connected counts. */
    while (count < FRESH_MAX && (fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct stub_conn *c = stub_conn_new(l, fd);
        if (c)
            fresh[count++] = c;
    }
    for (unsigned i = 0; i < count && l->counted; i++)
        stub_ledger_count(fresh[i]);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    accept_all(arg);
}

static void listen_on(struct stub_listener *l, struct event_base *base)
{
    l->base = base;
    l->fd = bind_free(SOCK_STREAM, &l->port);
    l->event = event_new(base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
    if (listen(l->fd, BACKLOG) != 0 || !l->event || event_add(l->event, NULL))
        die("can't listen: %s", strerror(errno));
}

/* --- the name server --- */

/* The length of a query's header and question; 0 when it is none. */
static size_t question_end(const uint8_t *query, size_t len)
{
    size_t at = DNS_HEADER;

    while (at < len && query[at] != 0)
        at += (size_t)query[at] + 1;
    at += 1 + DNS_QUESTION;
    return at <= len ? at : 0;
}

static void on_query(evutil_socket_t fd, short what, void *arg)
{
    uint8_t query[512];
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t n;

    (void)what;
    (void)arg;
    while ((n = recvfrom((int)fd, query, sizeof query, 0, (struct sockaddr *)&from, &from_len)) > 0) {
        size_t len = n > (ssize_t)DNS_HEADER ? question_end(query, (size_t)n) : 0;
        if (len == 0)
            continue;
        query[2] |= DNS_IS_ANSWER;
        query[3] = DNS_AVAILABLE | DNS_NO_NAME;
        memset(query + 6, 0, 6);
        (void)!sendto((int)fd, query, len, 0, (struct sockaddr *)&from, from_len);
    }
}

/* --- TLS --- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                           unsigned in_len, void *arg)
{
    static const unsigned char known[] = "\x02h2\x08http/1.1";

    (void)ssl;
    (void)arg;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, known, sizeof known - 1, in, in_len) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static SSL_CTX *tls_open(const char *cert, const char *key)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

    if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        die("no certificate in %s and %s", cert, key);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(tls, choose_protocol, NULL);
    return tls;
}

/* --- the process --- */

static void on_parent(evutil_socket_t fd, short what, void *arg)
{
    char byte[256];

    (void)what;
    if (read((int)fd, byte, sizeof byte) == 0)
        event_base_loopbreak(arg);
}

static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void note_slow(const char *text)
{
    char address[INET_ADDRSTRLEN];
    struct in_addr ip;
    unsigned long ms;

    if (sscanf(text, "%15[0-9.]=%lu", address, &ms) != 2 || inet_pton(AF_INET, address, &ip) != 1)
        die("--slow takes ADDRESS=MS, not %s", text);
    stub_ledger_slow(ntohl(ip.s_addr), ms * 1000);
}

static void serve(struct event_base *base, struct stub_listener *http, struct stub_listener *https,
                  struct stub_listener *control)
{
    uint16_t refused, dns;

    listen_on(http, base);
    if (https->tls)
        listen_on(https, base);
    listen_on(control, base);
    (void)bind_free(SOCK_STREAM, &refused);
    int names = bind_free(SOCK_DGRAM, &dns);
    struct event *query = event_new(base, names, EV_READ | EV_PERSIST, on_query, NULL);
    struct event *parent = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_parent, base);
    if (!query || !parent || event_add(query, NULL) || event_add(parent, NULL))
        die("standard input must be a pipe or a terminal");
    printf("{\"http\": %u, \"https\": %u, \"refused\": %u, \"dns\": %u, \"control\": %u}\n", http->port, https->port,
           refused, dns, control->port);
    fflush(stdout);
    event_base_dispatch(base);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"cert", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"ledger", no_argument, NULL, 'l'},
                                            {"slow", required_argument, NULL, 's'},
                                            {0}};
    static struct stub_listener http, https, control;
    const char *cert = NULL;
    const char *key = NULL;
    int option;

    log_open("stub_origin", LOG_WARN);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'c')
            cert = optarg;
        else if (option == 'k')
            key = optarg;
        else if (option == 'l')
            http.counted = https.counted = true;
        else if (option == 's')
            note_slow(optarg);
        else
            return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raise_file_limit();
    control.control = true;
    https.tls = cert && key ? tls_open(cert, key) : NULL;
    struct event_base *base = event_base_new();
    if (!base)
        die("out of memory: no room for the loop");
    serve(base, &http, &https, &control);
    return 0;
}
