/* The stub origin's memory of its connections: by address and port, and by group of addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "tests/origin/stub.h"

#define BUCKETS   4096u
#define GROUPS    256u
#define SLOWS_MAX 64u

static struct stub_host *hosts[BUCKETS];
static struct stub_group groups[GROUPS];
static struct {
    uint32_t address;
    uint64_t slow_us;
} slows[SLOWS_MAX];
static unsigned slow_count;

void stub_ledger_slow(uint32_t address, uint64_t slow_us)
{
    if (slow_count == SLOWS_MAX)
        die("too many slow addresses");
    slows[slow_count].address = address;
    slows[slow_count++].slow_us = slow_us;
}

struct stub_host *stub_ledger_host(uint32_t address, uint16_t port)
{
    struct stub_host **bucket = &hosts[((address ^ (uint32_t)port << 16) * 2654435761u) >> 20];
    struct stub_host *h = *bucket;

    while (h && (h->address != address || h->port != port))
        h = h->next;
    if (h)
        return h;
    h = calloc(1, sizeof *h);
    if (!h)
        die("out of memory: no room for a host");
    h->address = address;
    h->port = port;
    for (unsigned i = 0; i < slow_count; i++)
        h->slow_us = slows[i].address == address ? slows[i].slow_us : h->slow_us;
    h->next = *bucket;
    *bucket = h;
    return h;
}

void stub_ledger_enter(struct stub_conn *c, uint32_t address, uint16_t port)
{
    c->host = stub_ledger_host(address, port);
    c->group = &groups[address >> 16 & 0xff];
    c->host->accepted++;
    c->group->accepted++;
    c->host->open++;
    c->group->open++;
    LIST_INSERT_HEAD(&c->host->conns, c, of_host);
    LIST_INSERT_HEAD(&c->group->conns, c, of_group);
}

void stub_ledger_leave(struct stub_conn *c)
{
    c->host->open--;
    c->group->open--;
    LIST_REMOVE(c, of_host);
    LIST_REMOVE(c, of_group);
}

static bool is_established(const struct stub_conn *c)
{
    uint8_t state = 0;
    socklen_t len = sizeof state;

    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &state, &len) == 0 && state == TCP_ESTABLISHED;
}

static unsigned established_of_host(const struct stub_host *h)
{
    const struct stub_conn *c;
    unsigned count = 0;

    LIST_FOREACH(c, &h->conns, of_host)
    {
        count += is_established(c);
    }
    return count;
}

static unsigned established_of_group(const struct stub_group *g)
{
    const struct stub_conn *c;
    unsigned count = 0;

    LIST_FOREACH(c, &g->conns, of_group)
    {
        count += is_established(c);
    }
    return count;
}

void stub_ledger_count(const struct stub_conn *c)
{
    /* What is open by our own books is never less than what is established. */
    if (c->host->open > c->host->peak) {
        unsigned count = established_of_host(c->host);
        c->host->peak = count > c->host->peak ? count : c->host->peak;
    }
    if (c->group->open > c->group->peak) {
        unsigned count = established_of_group(c->group);
        c->group->peak = count > c->group->peak ? count : c->group->peak;
    }
}

static void tell_group(uint32_t number, struct buffer *out)
{
    const struct stub_group *g = &groups[number];
    const char *comma = "";

    buffer_printf(out, "{\"peak\":%u,\"open\":%u,\"accepted\":%lu,\"requests\":%lu,\"hosts\":{", g->peak,
                  established_of_group(g), g->accepted, g->requests);
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (const struct stub_host *h = hosts[i]; h; h = h->next) {
            if ((h->address >> 16 & 0xff) != number)
                continue;
            struct in_addr address = {.s_addr = htonl(h->address)};
            char text[INET_ADDRSTRLEN];
            inet_ntop(AF_INET, &address, text, sizeof text);
            buffer_printf(out, "%s\"%s:%u\":{\"peak\":%u,\"open\":%u,\"accepted\":%lu,\"requests\":%lu}", comma, text,
                          h->port, h->peak, established_of_host(h), h->accepted, h->requests);
            comma = ",";
        }
    }
    buffer_append_str(out, "}}\n");
}

static void reset_group(uint32_t number)
{
    groups[number].accepted = groups[number].requests = 0;
    groups[number].peak = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct stub_host *h = hosts[i]; h; h = h->next) {
            if ((h->address >> 16 & 0xff) != number)
                continue;
            h->accepted = h->requests = 0;
            h->peak = 0;
        }
    }
}

void stub_ledger_tell(const char *target, size_t len, struct buffer *out)
{
    const char *mark = memchr(target, '?', len);
    uint32_t number = mark ? (uint32_t)strtoul(mark + 1, NULL, 10) % GROUPS : 0;

    if (len > 6 && memcmp(target, "/reset", 6) == 0)
        reset_group(number);
    tell_group(number, out);
}
