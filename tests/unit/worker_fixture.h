#pragma once
/* A worker without its process: struct worker over a real region, the coordinator's ends of both rings, hosts with
 * published addresses, and a loop that is turned by hand in the order of worker/main.c. Whenever the worker would go to
 * sleep, all that must be true then is checked: each fetch in one list with a timer armed, gauges and cells equal to
 * the connections there are, nothing left owing. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "shm/task.h"
#include "tests/unit/worker_origin.h"
#include "worker/conn.h"
#include "worker/fetch.h"
#include "worker/pool.h"
#include "worker/worker.h"

#define FIXTURE_HOSTS_MAX   16
#define FIXTURE_ORIGINS_MAX 8
#define OTHER_WORKER        1 /* has cells of its own, and no process */

struct fixture_plan {
    const char *const *options; /* "name=value" up to NULL; on top of allow_private, cacert and retry_delay 0 */
    uint32_t record_ring_bytes; /* 0: 1 MiB */
};

/* A message from the worker. */
struct told {
    struct result_message m;
    char *text; /* what follows it, NUL-terminated */
};

struct fixture_host {
    uint32_t index, generation;
    const char *name;
    uint8_t scheme;
    uint16_t port;
};

struct fixture {
    struct worker *w;
    struct ring tasks, records;
    struct fixture_host hosts[FIXTURE_HOSTS_MAX];
    unsigned host_count;
    uint32_t ips, refs; /* used in the shared tables */
    struct told *told;
    size_t told_count, told_max;
    uint64_t asked;
    struct origin *origins[FIXTURE_ORIGINS_MAX];
    unsigned origin_count;
    bool reader_stopped; /* the record ring is not drained */
    bool unchecked;      /* the checks before sleep are left out */
};

/* What a task asks for; what is NULL or 0 is absent. */
struct ask {
    const char *url, *method, *headers, *body, *tag, *first_url, *input, *profile;
    uint32_t flags; /* TASK_URL_IS_FIRST and TASK_INPUT_IS_URL follow by themselves */
    const uint16_t *chain;
    unsigned chain_count;
    uint32_t avoid; /* with `avoids`: an address that has failed it */
    bool avoids;
    uint32_t attempts;
    uint64_t started_us;
};

void fixture_open(struct fixture *x, const struct fixture_plan *plan);
/* Closes as main.c does, and asserts that no lease, gauge or connection is left. */
void fixture_close(struct fixture *x);

/* An origin turned together with the worker, freed by fixture_close(). */
struct origin *fixture_origin(struct fixture *x, enum origin_kind kind);
/* A host with `count` addresses, texts as "127.0.0.1". */
struct fixture_host *fixture_host(struct fixture *x, uint8_t scheme, const char *name, uint16_t port,
                                  const char *const *addresses, unsigned count);
/* "a.test" at 127.0.0.1 on the origin's port. */
struct fixture_host *fixture_host_at(struct fixture *x, const char *name, const struct origin *o);
/* The index of an address in the shared table; IP_NONE: not there. */
uint32_t fixture_ip(const struct fixture *x, const char *address);

/* Puts a task into the ring; returns its seq, counted from 0. */
uint64_t fixture_ask(struct fixture *x, const struct fixture_host *host, const struct ask *ask);
/* Puts a chore into the ring; returns its seq. `host` may be NULL, and so may `url`, which a TASK_CHECK has. */
uint64_t fixture_order(struct fixture *x, enum task_kind kind, const struct fixture_host *host, uint32_t ip,
                       uint32_t flags, const char *url);
/* A GET of /seq, `count` of them. */
void fixture_get(struct fixture *x, const struct fixture_host *host, unsigned count);

void fixture_turn(struct fixture *x);
/* Copies `text` without its NUL. */
void fixture_put(char *at, const char *text);
void fixture_turns(struct fixture *x, unsigned count);
/* Turns until `count` messages were told in all; fails the test when they do not come within `limit_ms` (0: 5 s). */
void fixture_until_told(struct fixture *x, size_t count, unsigned limit_ms);
/* Turns until the condition holds; fails the test after 5 s. */
#define fixture_until(x, condition)                                 \
    do {                                                            \
        uint64_t give_up_us = clock_us() + 5000000;                 \
        while (!(condition)) {                                      \
            fixture_turn(x);                                        \
            if (clock_us() > give_up_us)                            \
                fail_msg("this did not come true: %s", #condition); \
        }                                                           \
    } while (0)
/* Turns for so many milliseconds. */
void fixture_pass_ms(struct fixture *x, unsigned ms);

/* The message about task `seq`; fails the test when there is none or more than one. */
const struct told *fixture_told(const struct fixture *x, uint64_t seq);
void assert_outcome(const struct fixture *x, uint64_t seq, enum result_kind kind, enum outcome outcome);
void assert_tells(const struct fixture *x, uint64_t seq, const char *part);
void assert_tells_not(const struct fixture *x, uint64_t seq, const char *part);
/* How many messages are of this kind and outcome. */
size_t fixture_count(const struct fixture *x, enum result_kind kind, enum outcome outcome);

struct pool_host *fixture_pool_host(const struct fixture *x, const struct fixture_host *host);
/* Walks all lists and compares; called before each sleep unless x->unchecked. */
void fixture_check(const struct fixture *x);
#define fixture_gauge(x, name) ((int64_t)STATS_GET((x)->w->page, name))
