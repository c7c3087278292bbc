#pragma once
/* A name server on loopback for tests, on the test's own loop: UDP and TCP at one free port. The first label of a name
 * (up to a '-') tells it how to behave; see scripted_records() and scripted_answer(). The maker frees it with
 * server_free(). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TYPE_A     1
#define TYPE_CNAME 5
#define TYPE_AAAA  28
#define CONNS_MAX  64
#define HELD_MAX   2048
#define MANY       3000
#define ANSWER_MAX 65535

struct held {
    uint8_t query[512];
    size_t len;
    struct sockaddr_in from;
};

struct server {
    struct event_base *base;
    int udp, tcp;
    uint16_t port;
    struct event *on_udp, *on_tcp, *on_hold;
    struct event *conns[CONNS_MAX];
    bool close_tcp_after_answer, deaf;
    struct held *held; /* of names that begin with "hold" */
    unsigned held_count, held_most;
    unsigned udp_queries, tcp_queries, tcp_conns, a_queries, aaaa_queries;
};

struct reply {
    uint8_t *bytes;
    size_t len, question_len;
    unsigned answers;
};

static inline void put_bytes(struct reply *r, const void *data, size_t len)
{
    assert_true(r->len + len <= ANSWER_MAX);
    memcpy(r->bytes + r->len, data, len);
    r->len += len;
}

static inline void put_u16(struct reply *r, unsigned value)
{
    uint8_t two[2] = {(uint8_t)(value >> 8), (uint8_t)value};

    put_bytes(r, two, 2);
}

/* `name` in the usual text; NULL for the question's name. */
static inline void put_name(struct reply *r, const char *name)
{
    if (!name) {
        put_u16(r, 0xc00c);
        return;
    }
    while (*name) {
        size_t len = strcspn(name, ".");
        uint8_t length = (uint8_t)len;
        put_bytes(r, &length, 1);
        put_bytes(r, name, len);
        name += len + (name[len] == '.');
    }
    put_bytes(r, "", 1);
}

static inline void put_record(struct reply *r, const char *owner, unsigned type, uint32_t ttl, const void *data,
                              size_t len)
{
    put_name(r, owner);
    put_u16(r, type);
    put_u16(r, 1);
    put_u16(r, ttl >> 16);
    put_u16(r, ttl & 0xffff);
    put_u16(r, (unsigned)len);
    put_bytes(r, data, len);
    r->answers++;
}

static inline void put_address(struct reply *r, const char *owner, unsigned type, uint32_t ttl, unsigned last)
{
    uint8_t v4[4] = {10, 0, (uint8_t)(last >> 8), (uint8_t)last};
    uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [14] = (uint8_t)(last >> 8), [15] = (uint8_t)last};

    put_record(r, owner, type, ttl, type == TYPE_A ? v4 : v6, type == TYPE_A ? 4 : 16);
}

static inline void put_alias(struct reply *r, const char *owner, const char *to, uint32_t ttl)
{
    uint8_t bytes[256];
    struct reply target = {.bytes = bytes};

    put_name(&target, to);
    put_record(r, owner, TYPE_CNAME, ttl, bytes, target.len);
}

static inline bool is(const char *label, const char *name)
{
    return strcmp(label, name) == 0;
}

enum { CODE_OK = 0, CODE_SERVFAIL = 2, CODE_NXDOMAIN = 3, CODE_NOTIMP = 4, CODE_REFUSED = 5, SILENCE = 100 };

/* The answers to names that have some; returns the code. */
static inline unsigned scripted_records(struct reply *r, const char *label, unsigned type, bool tcp)
{
    if (is(label, "nx"))
        return CODE_NXDOMAIN;
    if (is(label, "fail"))
        return CODE_SERVFAIL;
    if (is(label, "refused"))
        return CODE_REFUSED;
    if (is(label, "notimp"))
        return CODE_NOTIMP;
    if (is(label, "silent") || (is(label, "tcsilent") && tcp))
        return SILENCE;
    if (is(label, "nodata"))
        return CODE_OK;
    if (type == TYPE_AAAA) {
        if (is(label, "half") || is(label, "nodatafail"))
            return CODE_SERVFAIL;
        if (is(label, "halfslow") || is(label, "nodataslow"))
            return SILENCE;
        if (is(label, "failslow"))
            return SILENCE;
        if (is(label, "v4only"))
            return CODE_OK;
    }
    if (is(label, "nodatafail") || is(label, "nodataslow"))
        return CODE_OK;
    if (is(label, "failslow"))
        return CODE_SERVFAIL;
    if (is(label, "chain")) {
        put_alias(r, NULL, "b.example", 300);
        put_alias(r, "b.example", "C.example", 20);
        put_address(r, "c.Example", type, 100, 1);
    } else if (is(label, "reversed")) {
        put_address(r, "c.example", type, 100, 1);
        put_alias(r, "b.example", "c.example", 300);
        put_address(r, "other.example", type, 1, 66);
        put_alias(r, NULL, "b.example", 40);
    } else if (is(label, "loop")) {
        put_alias(r, NULL, "b.example", 300);
        put_alias(r, "b.example", "loop.example", 300);
    } else if (is(label, "zero")) {
        put_address(r, NULL, type, 0, 1);
    } else if (is(label, "giant")) {
        put_address(r, NULL, type, 0x7fffffff, 1);
    } else if (is(label, "topbit")) {
        put_address(r, NULL, type, 0xffffffff, 1);
    } else if (is(label, "many") && tcp) {
        for (unsigned i = 0; i < MANY / (type == TYPE_A ? 1 : 3); i++)
            put_address(r, NULL, type, 60, i - i % 2);
    } else if (is(label, "dup")) {
        put_address(r, NULL, type, 60, 2);
        put_address(r, NULL, type, 50, 1);
        put_address(r, NULL, type, 60, 2);
    } else {
        put_address(r, NULL, type, type == TYPE_A ? 60 : 90, 1);
    }
    return CODE_OK;
}

/* Puts the reply to a query together; returns false for silence. */
static inline bool scripted_answer(struct reply *r, const uint8_t *query, size_t len, bool tcp)
{
    char label[64] = "";
    size_t at = 12;

    assert_in_range(len, 17, 511);
    memcpy(label, query + 13, query[12] < 63 ? query[12] : 0);
    label[strcspn(label, "-")] = '\0';
    while (query[at])
        at += 1u + query[at];
    unsigned type = (unsigned)query[at + 1] << 8 | query[at + 2];
    r->question_len = at + 5 - 12;
    r->len = r->answers = 0;
    put_bytes(r, query, at + 5);
    unsigned code = scripted_records(r, label, type, tcp);
    if (code == SILENCE)
        return false;
    bool truncated = !tcp && (is(label, "tc") || is(label, "tcsilent") || is(label, "many"));
    if (truncated) {
        r->len = 12 + r->question_len;
        r->answers = 0;
    }
    if (is(label, "garbage"))
        r->len = 12 + r->question_len;
    if (is(label, "garbage"))
        put_bytes(r, "\xc0\xff\xee\x99garbage", 11);
    if (is(label, "otherquestion"))
        r->bytes[13] ^= 1;
    if (is(label, "wrongid"))
        r->bytes[0] ^= 0x55;
    r->bytes[2] = (uint8_t)(0x81 | (truncated ? 2 : 0));
    r->bytes[3] = (uint8_t)(0x80 | code);
    r->bytes[7] = (uint8_t)r->answers;
    r->bytes[6] = (uint8_t)(r->answers >> 8);
    return true;
}

static uint8_t answer_bytes[ANSWER_MAX];

static inline void answer_udp(struct server *s, const uint8_t *query, size_t len, const struct sockaddr_in *to)
{
    struct reply r = {.bytes = answer_bytes};

    if (len > 18 && memcmp(query + 13, "nothing", 7) == 0) /* an empty datagram and a short one before the answer */ {
        sendto(s->udp, "", 0, 0, (const struct sockaddr *)to, sizeof *to);
        sendto(s->udp, query, 5, 0, (const struct sockaddr *)to, sizeof *to);
    }
    if (scripted_answer(&r, query, len, false))
        sendto(s->udp, r.bytes, r.len, 0, (const struct sockaddr *)to, sizeof *to);
}

static inline void count_query(struct server *s, const uint8_t *query, size_t len)
{
    s->a_queries += query[len - 3] == TYPE_A;
    s->aaaa_queries += query[len - 3] == TYPE_AAAA;
}

static inline void on_udp(evutil_socket_t fd, short what, void *user)
{
    struct server *s = user;
    struct held h = {.len = 0};
    socklen_t from_len = sizeof h.from;
    ssize_t n;

    (void)what;
    while ((n = recvfrom(fd, h.query, sizeof h.query, MSG_DONTWAIT, (struct sockaddr *)&h.from, &from_len)) > 0) {
        h.len = (size_t)n;
        s->udp_queries++;
        count_query(s, h.query, h.len);
        if (s->deaf)
            continue;
        if (memcmp(h.query + 13, "hold", 4) == 0) {
            assert_in_range(s->held_count, 0, HELD_MAX - 1);
            s->held[s->held_count++] = h;
            if (s->held_count > s->held_most)
                s->held_most = s->held_count;
        } else {
            answer_udp(s, h.query, h.len, &h.from);
        }
    }
}

/* Lets what is held pile up between two ticks. */
static inline void on_hold(evutil_socket_t fd, short what, void *user)
{
    struct server *s = user;

    (void)fd;
    (void)what;
    for (unsigned i = 0; i < s->held_count; i++)
        answer_udp(s, s->held[i].query, s->held[i].len, &s->held[i].from);
    s->held_count = 0;
}

static inline void on_tcp_query(evutil_socket_t fd, short what, void *user)
{
    struct server *s = user;
    uint8_t query[514];
    struct reply r = {.bytes = answer_bytes};
    bool close_now = true;

    (void)what;
    if (recv(fd, query, 2, MSG_WAITALL) == 2) {
        size_t len = (size_t)query[0] << 8 | query[1];
        assert_in_range(len, 17, 511);
        assert_int_equal(recv(fd, query + 2, len, MSG_WAITALL), (ssize_t)len);
        s->tcp_queries++;
        if (scripted_answer(&r, query + 2, len, true)) {
            uint8_t head[2] = {(uint8_t)(r.len >> 8), (uint8_t)r.len};
            assert_int_equal(send(fd, head, 2, MSG_NOSIGNAL), 2);
            assert_int_equal(send(fd, r.bytes, r.len, MSG_NOSIGNAL), (ssize_t)r.len);
        }
        close_now = s->close_tcp_after_answer;
    }
    for (int i = 0; i < CONNS_MAX && close_now; i++) {
        if (s->conns[i] && event_get_fd(s->conns[i]) == fd) {
            event_free(s->conns[i]);
            s->conns[i] = NULL;
            close(fd);
            return;
        }
    }
}

static inline void on_tcp(evutil_socket_t fd, short what, void *user)
{
    struct server *s = user;
    int conn = accept(fd, NULL, NULL);
    int room = 1 << 20;

    (void)what;
    assert_true(conn >= 0);
    setsockopt(conn, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    for (int i = 0; i < CONNS_MAX; i++) {
        if (s->conns[i])
            continue;
        s->tcp_conns++;
        s->conns[i] = event_new(s->base, conn, EV_READ | EV_PERSIST, on_tcp_query, s);
        event_add(s->conns[i], NULL);
        return;
    }
    fail_msg("more than %d TCP connections", CONNS_MAX);
}

static inline struct server *server_new(struct event_base *base)
{
    struct server *s = calloc(1, sizeof *s);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct timeval hold = {0, 20000};
    int room = 4 << 20;

    s->base = base;
    s->held = calloc(HELD_MAX, sizeof *s->held);
    /* The same free port for both; another process may take the second, so try again. */
    for (int tries = 0; tries < 20; tries++) {
        s->udp = socket(AF_INET, SOCK_DGRAM, 0);
        s->tcp = socket(AF_INET, SOCK_STREAM, 0);
        at.sin_port = 0;
        assert_int_equal(bind(s->udp, (struct sockaddr *)&at, sizeof at), 0);
        assert_int_equal(getsockname(s->udp, (struct sockaddr *)&at, &len), 0);
        if (bind(s->tcp, (struct sockaddr *)&at, sizeof at) == 0 && listen(s->tcp, 64) == 0)
            break;
        close(s->udp);
        close(s->tcp);
        assert_int_not_equal(tries, 19);
    }
    s->port = ntohs(at.sin_port);
    setsockopt(s->udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    s->on_udp = event_new(base, s->udp, EV_READ | EV_PERSIST, on_udp, s);
    s->on_tcp = event_new(base, s->tcp, EV_READ | EV_PERSIST, on_tcp, s);
    s->on_hold = event_new(base, -1, EV_PERSIST, on_hold, s);
    event_add(s->on_udp, NULL);
    event_add(s->on_tcp, NULL);
    event_add(s->on_hold, &hold);
    return s;
}

static inline void server_free(struct server *s)
{
    for (int i = 0; i < CONNS_MAX; i++) {
        if (!s->conns[i])
            continue;
        close(event_get_fd(s->conns[i]));
        event_free(s->conns[i]);
    }
    event_free(s->on_udp);
    event_free(s->on_tcp);
    event_free(s->on_hold);
    close(s->udp);
    close(s->tcp);
    free(s->held);
    free(s);
}
