#pragma once
/* A resolver with all that it stands on, for tests: a loop, two scripted name servers, a map in a directory of its own.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "coordinator/resolver.h"
#include "tests/unit/scripted_dns.h"

#define TEST_GIVE_UP_S 20

struct house {
    struct event_base *base;
    struct server *server, *second;
    char dir[64];
    struct store *store;
    struct options options;
    struct stats_page page;
    struct resolver *resolver;
    char *items[2];
    char texts[2][64];
};

/* What one name came to. */
struct told {
    struct house *house;
    unsigned times, wait_for;
    enum outcome outcome;
    uint32_t count, took_us;
    uint64_t lives_us; /* from the moment of telling */
    struct address first, last;
};

static inline void on_told(void *user, const struct resolver_answer *a)
{
    struct told *t = user;
    uint64_t now = clock_wall_us();

    t->times++;
    t->outcome = a->outcome;
    t->count = a->count;
    t->took_us = a->took_us;
    t->lives_us = a->expires_wall_us > now ? a->expires_wall_us - now : 0;
    assert_int_equal(a->outcome == OUTCOME_OK, a->count > 0);
    if (a->count > 0) {
        t->first = a->addresses[0];
        t->last = a->addresses[a->count - 1];
    }
    if (t->times == t->wait_for)
        event_base_loopbreak(t->house->base);
}

static inline void run_for(struct house *h, long us)
{
    struct timeval limit = {us / 1000000, us % 1000000};

    event_base_loopexit(h->base, &limit);
    event_base_dispatch(h->base);
}

/* Until somebody breaks the loop. */
static inline void run(struct house *h)
{
    run_for(h, TEST_GIVE_UP_S * 1000000L);
}

static inline void start(struct house *h)
{
    const char *reason = NULL;

    if (resolver_open(&h->resolver, h->base, h->store, &h->options, &h->page, &reason) != OUTCOME_OK)
        fail_msg("%s", reason);
}

static inline void restart(struct house *h)
{
    resolver_close(h->resolver);
    start(h);
}

static inline void use_servers(struct house *h, uint16_t first, uint16_t second)
{
    h->options.resolvers = (struct option_list){.items = h->items, .count = second ? 2 : 1};
    h->items[0] = h->texts[0];
    h->items[1] = h->texts[1];
    snprintf(h->texts[0], sizeof h->texts[0], "127.0.0.1:%u", first);
    snprintf(h->texts[1], sizeof h->texts[1], "127.0.0.1:%u", second);
    restart(h);
}

static inline struct told ask(struct house *h, const char *name)
{
    struct told t = {.house = h, .wait_for = 1};

    resolver_query(h->resolver, name, strlen(name), on_told, &t);
    assert_int_equal(t.times, 0);
    run(h);
    if (t.times != 1)
        fail_msg("%s: told %u times", name, t.times);
    return t;
}

static inline uint16_t closed_port(struct house *h)
{
    struct server *gone = server_new(h->base);
    uint16_t port = gone->port;

    server_free(gone);
    return port;
}

static inline int make_house(void **state)
{
    struct house *h = calloc(1, sizeof *h);
    const char *reason = NULL;

    h->base = event_base_new();
    h->server = server_new(h->base);
    h->second = server_new(h->base);
    snprintf(h->dir, sizeof h->dir, "/tmp/test-resolver-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    assert_int_equal(store_open(&h->store, h->dir, false, &reason), OUTCOME_OK);
    h->options.dns_timeout = 2000;
    h->options.dns_ttl_min = 5000;
    h->options.dns_update_interval = 1800000;
    h->options.dns_negative_ttl = 30000;
    use_servers(h, h->server->port, 0);
    *state = h;
    return 0;
}

static inline int remove_house(void **state)
{
    struct house *h = *state;
    static const char *const files[] = {"data.mdb", "lock.mdb", "hotfleet.lock"};
    char path[128];

    resolver_close(h->resolver);
    store_close(h->store);
    server_free(h->server);
    server_free(h->second);
    event_base_free(h->base);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", h->dir, files[i]);
        unlink(path);
    }
    int left = rmdir(h->dir);
    free(h);
    return left;
}

#define assert_seconds(lives_us, seconds) assert_in_range(lives_us, ((seconds)-2) * 1000000ull, (seconds)*1000000ull)
