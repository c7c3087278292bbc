/* A connection of the stub origin: its bytes, plain or TLS, its requests in HTTP/1.1, and the answers that it owes. */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/origin/stub.h"

#define READ_BYTES 16384

/* What a target asks for, in its first segments. */
struct wish {
    unsigned status;
    uint64_t delay_us, queue_us;
    bool close, cut;
};

static void read_requests(struct stub_conn *c);

static void hold(struct stub_conn *c)
{
    c->nested++;
}

static void let_go(struct stub_conn *c)
{
    struct stub_answer *a;

    if (--c->nested > 0 || !c->dead)
        return;
    while ((a = LIST_FIRST(&c->answers)))
        /* The analyzer does not see that each is taken out of the list. */
        stub_answer_free(a); // NOLINT(clang-analyzer-unix.Malloc)
    if (c->h2)
        nghttp2_session_del(c->h2);
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    SSL_free(c->ssl);
    if (c->host)
        stub_ledger_leave(c);
    close(c->fd);
    buffer_fini(&c->in);
    buffer_fini(&c->out);
    free(c);
}

void stub_conn_end(struct stub_conn *c)
{
    c->dead = true;
}

void stub_answer_free(struct stub_answer *a)
{
    LIST_REMOVE(a, entry);
    if (a->timer)
        event_free(a->timer);
    free(a);
}

/* --- bytes --- */

/* How many bytes went; 0 none now, -1 never again. */
static ssize_t put(struct stub_conn *c, const char *data, size_t len)
{
    ssize_t n;

    if (c->ssl) {
        n = SSL_write(c->ssl, data, (int)len);
        if (n > 0)
            return n;
        int error = SSL_get_error(c->ssl, (int)n);
        return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    n = send(c->fd, data, len, MSG_NOSIGNAL);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static ssize_t take(struct stub_conn *c, char *to, size_t room)
{
    ssize_t n;

    if (c->ssl) {
        n = SSL_read(c->ssl, to, (int)room);
        if (n > 0)
            return n;
        int error = SSL_get_error(c->ssl, (int)n);
        return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    n = recv(c->fd, to, room, 0);
    return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void flush(struct stub_conn *c)
{
    while (!c->dead && c->out.len > 0) {
        ssize_t n = put(c, c->out.data, c->out.len);
        if (n < 0)
            stub_conn_end(c);
        if (n <= 0)
            break;
        buffer_consume(&c->out, (size_t)n);
    }
    if (c->dead)
        return;
    if (c->out.len > 0)
        event_add(c->writable, NULL);
    else if (c->last)
        stub_conn_end(c);
}

void stub_conn_send(struct stub_conn *c, const void *data, size_t len)
{
    buffer_append(&c->out, data, len);
    flush(c);
}

/* --- answers --- */

static const char *reason(unsigned status)
{
    return status == 200 ? "OK" : "Stub";
}

static void answer_h1(struct stub_conn *c, const struct stub_answer *a)
{
    char text[256];

    c->last |= a->close;
    int len = snprintf(
        text, sizeof text, "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %u\r\n%s\r\n%s", a->status,
        reason(a->status), STUB_BODY_LEN, a->close ? "Connection: close\r\n" : "", a->head ? "" : STUB_BODY);
    stub_conn_send(c, text, (size_t)len);
    c->busy = false;
}

static void give(struct stub_answer *a)
{
    struct stub_conn *c = a->conn;

    if (c->h2) {
        stub_h2_answer(c, a);
        return;
    }
    if (a->cut)
        stub_conn_end(c);
    else
        answer_h1(c, a);
    stub_answer_free(a);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    struct stub_answer *a = arg;
    struct stub_conn *c = a->conn;

    (void)fd;
    (void)what;
    hold(c);
    give(a);
    if (c->h2 && !stub_h2_flush(c))
        stub_conn_end(c);
    if (!c->dead && !c->h2)
        read_requests(c);
    let_go(c);
}

/* Reads "/WORD/NUMBER" at the start of a target; false when it is another word. */
static bool wish_number(const char *target, const char *word, uint64_t *number_out)
{
    size_t len = strlen(word);

    if (strncmp(target, word, len) != 0 || !isdigit((unsigned char)target[len]))
        return false;
    *number_out = strtoull(target + len, NULL, 10);
    return true;
}

static struct wish wish_of(const char *target)
{
    struct wish w = {.status = 200};
    uint64_t number;

    if (wish_number(target, "/delay/", &number))
        w.delay_us = number * 1000;
    else if (wish_number(target, "/queue/", &number))
        w.queue_us = number * 1000;
    else if (wish_number(target, "/status/", &number))
        w.status = (unsigned)(number % 1000);
    w.close = strncmp(target, "/close/", 7) == 0;
    w.cut = strncmp(target, "/cut/", 5) == 0;
    return w;
}

static uint64_t wait_of(struct stub_host *h, const struct wish *w)
{
    uint64_t now = stub_clock_us();
    uint64_t queue_us = w->queue_us ? w->queue_us : h->slow_us;

    if (queue_us == 0)
        return w->delay_us;
    h->free_at_us = (h->free_at_us > now ? h->free_at_us : now) + queue_us;
    return h->free_at_us - now;
}

void stub_conn_owe(struct stub_conn *c, int32_t stream, bool head, const char *target, size_t target_len)
{
    char start[64];
    struct stub_answer *a = calloc(1, sizeof *a);

    if (!a)
        die("out of memory: no room for an answer");
    snprintf(start, sizeof start, "%.*s", (int)target_len, target);
    struct wish w = wish_of(start);
    *a = (struct stub_answer){
        .conn = c, .stream = stream, .status = w.status, .head = head, .close = w.close, .cut = w.cut};
    LIST_INSERT_HEAD(&c->answers, a, entry);
    c->busy = true;
    c->host->requests++;
    c->group->requests++;
    uint64_t wait_us = wait_of(c->host, &w);
    if (wait_us == 0) {
        give(a);
        return;
    }
    struct timeval tv = {.tv_sec = (time_t)(wait_us / 1000000), .tv_usec = (suseconds_t)(wait_us % 1000000)};
    a->timer = evtimer_new(c->listener->base, on_due, a);
    if (!a->timer || event_add(a->timer, &tv))
        die("out of memory: no room for a timer");
}

static void answer_control(struct stub_conn *c, const char *target, size_t len)
{
    struct buffer body = {0};

    stub_ledger_tell(target, len, &body);
    buffer_printf(&c->out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", body.len);
    buffer_append(&c->out, body.data, body.len);
    buffer_fini(&body);
    c->last = true;
    flush(c);
}

/* --- requests --- */

static uint64_t content_length(const char *head)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");

    return field ? strtoull(field + 17, NULL, 10) : 0;
}

/* `head` is a whole one, ended by a NUL in place of its empty line. */
static void read_request(struct stub_conn *c, const char *head)
{
    const char *target = strchr(head, ' ');
    const char *end = target ? strpbrk(target + 1, " \r") : NULL;

    if (!end || *end != ' ') {
        stub_conn_end(c);
        return;
    }
    c->skip = content_length(head);
    if (c->listener->control)
        answer_control(c, target + 1, (size_t)(end - target - 1));
    else
        stub_conn_owe(c, 0, strncmp(head, "HEAD ", 5) == 0, target + 1, (size_t)(end - target - 1));
}

static void skip_body(struct stub_conn *c)
{
    size_t n = c->skip < c->in.len ? (size_t)c->skip : c->in.len;

    c->skip -= n;
    buffer_consume(&c->in, n);
}

static void read_requests(struct stub_conn *c)
{
    char head[STUB_REQUEST_MAX + 1];

    for (;;) {
        skip_body(c);
        if (c->dead || c->last || c->busy || c->skip > 0 || c->in.len == 0)
            return;
        const char *end = memmem(c->in.data, c->in.len, "\r\n\r\n", 4);
        size_t len = end ? (size_t)(end - c->in.data) : c->in.len;
        if (len > STUB_REQUEST_MAX) {
            stub_conn_end(c);
            return;
        }
        if (!end)
            return;
        memcpy(head, c->in.data, len);
        head[len] = '\0';
        buffer_consume(&c->in, len + 4);
        read_request(c, head);
    }
}

static bool shake_hands(struct stub_conn *c)
{
    const unsigned char *protocol;
    unsigned len;
    int done = SSL_accept(c->ssl);

    if (done <= 0) {
        int error = SSL_get_error(c->ssl, done);
        if (error == SSL_ERROR_WANT_WRITE)
            event_add(c->writable, NULL);
        if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ)
            stub_conn_end(c);
        return false;
    }
    c->shaking = false;
    SSL_get0_alpn_selected(c->ssl, &protocol, &len);
    if (len == 2 && memcmp(protocol, "h2", 2) == 0 && !stub_h2_open(c))
        stub_conn_end(c);
    return true;
}

static void read_all(struct stub_conn *c)
{
    char bytes[READ_BYTES];
    ssize_t n;

    while (!c->dead && (n = take(c, bytes, sizeof bytes)) != 0) {
        if (n < 0 || (c->h2 && !stub_h2_take(c, (const uint8_t *)bytes, (size_t)n))) {
            stub_conn_end(c);
        } else if (!c->h2) {
            buffer_append(&c->in, bytes, (size_t)n);
            read_requests(c);
        }
        /* TLS may hold more than the socket shows. */
        if (!c->ssl && n > 0 && (size_t)n < sizeof bytes)
            break;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct stub_conn *c = arg;

    (void)fd;
    (void)what;
    hold(c);
    if (!c->shaking || shake_hands(c))
        read_all(c);
    let_go(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct stub_conn *c = arg;

    (void)fd;
    (void)what;
    hold(c);
    if (c->shaking)
        (void)shake_hands(c);
    else
        flush(c);
    let_go(c);
}

struct stub_conn *stub_conn_new(struct stub_listener *listener, int fd)
{
    struct sockaddr_in own = {0};
    socklen_t len = sizeof own;
    int one = 1;
    struct stub_conn *c;

    if (getsockname(fd, (struct sockaddr *)&own, &len) != 0) {
        close(fd);
        return NULL;
    }
    c = calloc(1, sizeof *c);
    if (!c)
        die("out of memory: no room for a connection");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->listener = listener;
    c->fd = fd;
    LIST_INIT(&c->answers);
    c->readable = event_new(listener->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(listener->base, fd, EV_WRITE, on_writable, c);
    c->ssl = listener->tls ? SSL_new(listener->tls) : NULL;
    c->shaking = c->ssl != NULL;
    if (!c->readable || !c->writable || (listener->tls && !c->ssl) || event_add(c->readable, NULL))
        die("out of memory: no room for a connection's events");
    if (c->ssl) {
        SSL_set_fd(c->ssl, fd);
        SSL_set_accept_state(c->ssl);
    }
    if (!listener->control)
        stub_ledger_enter(c, ntohl(own.sin_addr.s_addr), ntohs(own.sin_port));
    return c;
}
