/* Asks name servers: a table of names under way, each with those who wait for it; a queue in front of the name servers;
 * and answers that are given in a turn of the loop of their own, so that no caller is called back from within its call.
 */
#include "coordinator/resolver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/resolver_core.h"

#define HOSTS_FILE    "/etc/hosts"
#define ASKING_MAX    256 /* names with the name servers at a time: a burst of new hosts must not flood them */
#define ASK_PER_TURN  64  /* c-ares takes a full socket buffer for a dead server, so bursts are kept short */
#define TELL_PER_TURN 256
#define TICK_MS_MAX   50

static const unsigned job_moves[JOB_STATES_COUNT] = {
    [JOB_WAITING] = 1u << JOB_ASKING | 1u << JOB_ANSWERED,
    [JOB_ASKING] = 1u << JOB_ANSWERED,
    [JOB_ANSWERED] = 0,
};

void *resolver_must_have(void *memory)
{
    if (!memory)
        die("out of memory: no room for the names that are being resolved");
    return memory;
}

void resolver_wake(struct resolver *r)
{
    static const struct timeval at_once = {0, 0};

    /* A timer, not event_active(): the loop then looks at its sockets between two turns. */
    if (!event_pending(r->turn, EV_TIMEOUT, NULL))
        event_add(r->turn, &at_once);
}

static struct job **bucket_of(struct resolver *r, const char *name, size_t name_len)
{
    uint64_t hash = r->hash_seed;

    for (size_t i = 0; i < name_len; i++)
        hash = (hash ^ (unsigned char)name[i]) * 1099511628211u;
    return &r->buckets[(hash ^ hash >> 32) % RESOLVER_BUCKETS];
}

static struct job *job_find(struct resolver *r, const char *name, size_t name_len)
{
    struct job *job = *bucket_of(r, name, name_len);

    while (job && (job->name_len != name_len || memcmp(job->name, name, name_len) != 0))
        job = job->bucket_next;
    return job;
}

static struct job *job_new(struct resolver *r, const char *name, size_t name_len)
{
    struct job *job = resolver_must_have(calloc(1, sizeof *job + name_len + 1));
    struct job **bucket = bucket_of(r, name, name_len);

    memcpy(job->name, name, name_len);
    job->name_len = name_len;
    job->waiters_end = &job->waiters;
    job->bucket_next = *bucket;
    *bucket = job;
    job->state = JOB_WAITING;
    TAILQ_INSERT_TAIL(&r->jobs[JOB_WAITING], job, link);
    return job;
}

void resolver_job_move(struct resolver *r, struct job *job, enum job_state to)
{
    assert(job_moves[job->state] & 1u << to);
    r->asking -= job->state == JOB_ASKING;
    r->asking += to == JOB_ASKING;
    TAILQ_REMOVE(&r->jobs[job->state], job, link);
    TAILQ_INSERT_TAIL(&r->jobs[to], job, link);
    job->state = to;
}

void resolver_job_answer(struct resolver *r, struct job *job)
{
    if (job->answer.outcome != OUTCOME_OK)
        STATS_ADD(r->page, dns_failures, 1);
    job->answer.addresses = job->addresses;
    resolver_job_move(r, job, JOB_ANSWERED);
    resolver_wake(r);
}

/* Takes the job out of its list and the table. */
static void job_unlink(struct resolver *r, struct job *job)
{
    struct job **at = bucket_of(r, job->name, job->name_len);

    while (*at != job)
        at = &(*at)->bucket_next;
    *at = job->bucket_next;
    TAILQ_REMOVE(&r->jobs[job->state], job, link);
}

static void job_free(struct job *job)
{
    resolver_leave_questions(job);
    while (job->waiters) {
        struct waiter *w = job->waiters;
        job->waiters = w->next;
        free(w);
    }
    for (int family = 0; family < FAMILIES; family++)
        free(job->found[family].addresses);
    free(job->addresses);
    free(job);
}

static void ask_waiting(struct resolver *r)
{
    struct job *job;

    for (unsigned asked = 0; asked < ASK_PER_TURN && r->asking < ASKING_MAX; asked++) {
        job = TAILQ_FIRST(&r->jobs[JOB_WAITING]);
        if (!job)
            break;
        resolver_ask(r, job);
    }
    if (r->questions_open > 0 && !event_pending(r->tick, EV_TIMEOUT, NULL))
        event_add(r->tick, &r->tick_period);
}

static void job_tell(struct resolver *r, struct job *job)
{
    job_unlink(r, job);
    while (job->waiters) {
        struct waiter *w = job->waiters;
        job->waiters = w->next;
        w->on_answer(w->user, &job->answer);
        free(w);
    }
    job_free(job);
}

static void on_turn(evutil_socket_t fd, short what, void *user)
{
    struct resolver *r = user;
    struct job *job;

    (void)fd;
    (void)what;
    ask_waiting(r);
    resolver_ask_by_tcp(r);
    r->telling = true;
    for (unsigned told = 0; told < TELL_PER_TURN && (job = TAILQ_FIRST(&r->jobs[JOB_ANSWERED])) != NULL; told++)
        job_tell(r, job);
    r->telling = false;
    if (!TAILQ_EMPTY(&r->jobs[JOB_ANSWERED]) || (!TAILQ_EMPTY(&r->jobs[JOB_WAITING]) && r->asking < ASKING_MAX))
        resolver_wake(r);
}

static void on_tick(evutil_socket_t fd, short what, void *user)
{
    struct resolver *r = user;

    (void)fd;
    (void)what;
    resolver_lines_tick(r);
    resolver_check_deadlines(r);
    resolver_ask_by_tcp(r);
    if (r->questions_open == 0)
        event_del(r->tick);
}

static bool is_loopback_name(const struct job *job)
{
    static const char tail[] = ".localhost";
    size_t len = sizeof tail - 1;

    return (job->name_len == len - 1 && memcmp(job->name, tail + 1, len - 1) == 0) ||
           (job->name_len > len && memcmp(job->name + job->name_len - len, tail, len) == 0);
}

/* The addresses of the families that are wanted, IPv4 first. False when there are none. */
static bool take_fixed(struct resolver *r, struct job *job, const struct address *addresses, uint32_t count)
{
    job->addresses = resolver_must_have(calloc(count, sizeof job->addresses[0]));
    for (int family = 0; family < FAMILIES; family++) {
        for (uint32_t i = 0; i < count; i++) {
            if (r->wanted[family] && addresses[i].family == (family == FAMILY_IPV4 ? 4 : 6))
                job->addresses[job->answer.count++] = addresses[i];
        }
    }
    if (job->answer.count > 0)
        return true;
    free(job->addresses);
    job->addresses = NULL;
    return false;
}

/* As ordinary tools do it: what stands in the hosts file is never asked for; localhost and all below it is this machine
 * (RFC 6761 6.3). */
static bool answer_from_hosts(struct resolver *r, struct job *job)
{
    static const struct address loopback[] = {{.family = 4, .bytes = {127, 0, 0, 1}},
                                              {.family = 6, .bytes = {[15] = 1}}};
    const struct address *addresses = loopback;
    uint32_t count = 2;

    if (!address_table_find(r->hosts, job->name, job->name_len, 0, &addresses, &count) && !is_loopback_name(job))
        return false;
    if (!take_fixed(r, job, addresses, count))
        return false;
    job->answer.outcome = OUTCOME_OK;
    job->answer.expires_wall_us = clock_wall_us() + r->options->dns_update_interval * 1000;
    resolver_job_answer(r, job);
    return true;
}

size_t resolver_store_key(const struct resolver *r, const struct job *job, char out[RESOLVER_KEY_MAX])
{
    size_t suffix_len = strlen(r->store_suffix);

    memcpy(out, job->name, job->name_len);
    memcpy(out + job->name_len, r->store_suffix, suffix_len);
    return job->name_len + suffix_len;
}

static bool answer_from_store(struct resolver *r, struct job *job)
{
    char key[RESOLVER_KEY_MAX];
    struct store_dns *dns = NULL;

    uint64_t now = clock_wall_us();
    if (store_dns_get(r->store, key, resolver_store_key(r, job, key), now, &dns) != OUTCOME_OK)
        return false;
    /* It was kept while dns_update_interval was longer. */
    if (dns->outcome == OUTCOME_OK && dns->expires_wall_us - now > r->options->dns_update_interval * 1000) {
        free(dns);
        return false;
    }
    job->addresses = resolver_must_have(calloc(dns->count ? dns->count : 1, sizeof job->addresses[0]));
    memcpy(job->addresses, dns->addresses, dns->count * sizeof job->addresses[0]);
    job->answer.outcome = dns->outcome;
    job->answer.count = dns->count;
    job->answer.expires_wall_us = dns->expires_wall_us;
    free(dns);
    STATS_ADD(r->page, dns_cached, 1);
    resolver_job_answer(r, job);
    return true;
}

/* No server needs to be asked for a name that no name can be. A backslash would be an escape to c-ares. */
static bool answer_impossible(struct resolver *r, struct job *job)
{
    if (job->name_len > 0 && job->name_len <= RESOLVER_NAME_MAX && !memchr(job->name, '\0', job->name_len) &&
        !memchr(job->name, '\\', job->name_len))
        return false;
    job->answer.outcome = OUTCOME_DNS_NXDOMAIN;
    job->answer.expires_wall_us = clock_wall_us() + r->options->dns_negative_ttl * 1000;
    resolver_job_answer(r, job);
    return true;
}

static void query(struct resolver *r, const char *name, size_t name_len, bool anew, resolver_on_answer on_answer,
                  void *user)
{
    struct waiter *w = resolver_must_have(calloc(1, sizeof *w));

    if (name_len > 1 && name[name_len - 1] == '.')
        name_len--;
    struct job *job = job_find(r, name, name_len);
    if (!job) {
        job = job_new(r, name, name_len);
        if (!answer_impossible(r, job) && !answer_from_hosts(r, job) && (anew || !answer_from_store(r, job)))
            resolver_wake(r);
    }
    w->on_answer = on_answer;
    w->user = user;
    *job->waiters_end = w;
    job->waiters_end = &w->next;
}

void resolver_query(struct resolver *r, const char *name, size_t name_len, resolver_on_answer on_answer, void *user)
{
    query(r, name, name_len, false, on_answer, user);
}

void resolver_query_anew(struct resolver *r, const char *name, size_t name_len, resolver_on_answer on_answer,
                         void *user)
{
    query(r, name, name_len, true, on_answer, user);
}

static void open_loop(struct resolver *r)
{
    uint64_t period_ms = r->options->dns_timeout / 20;

    if (period_ms < 1)
        period_ms = 1;
    if (period_ms > TICK_MS_MAX)
        period_ms = TICK_MS_MAX;
    r->tick_period = (struct timeval){.tv_usec = (suseconds_t)(period_ms * 1000)};
    r->turn = resolver_must_have(event_new(r->base, -1, 0, on_turn, r));
    r->tick = resolver_must_have(event_new(r->base, -1, EV_PERSIST, on_tick, r));
}

enum outcome resolver_open(struct resolver **resolver_out, struct event_base *base, struct store *store,
                           const struct options *options, struct stats_page *page, const char **reason_out)
{
    struct resolver *r = resolver_must_have(calloc(1, sizeof *r));

    *r = (struct resolver){.base = base, .store = store, .options = options, .page = page, .store_suffix = ""};
    for (int state = 0; state < JOB_STATES_COUNT; state++)
        TAILQ_INIT(&r->jobs[state]);
    STAILQ_INIT(&r->tcp_waiting);
    r->wanted[FAMILY_IPV4] = options->ipv4 || !options->ipv6;
    r->wanted[FAMILY_IPV6] = options->ipv6 || !options->ipv4;
    if (!r->wanted[FAMILY_IPV4] || !r->wanted[FAMILY_IPV6])
        r->store_suffix = r->wanted[FAMILY_IPV4] ? "/4" : "/6";
    /* Names come from outside: a list of them must not be made to fall on one bucket. */
    if (getrandom(&r->hash_seed, sizeof r->hash_seed, GRND_NONBLOCK) < 0)
        r->hash_seed = clock_us();
    enum outcome outcome = resolver_lines_open(r, reason_out);
    if (outcome != OUTCOME_OK) {
        free(r);
        return outcome;
    }
    r->hosts = resolver_hosts_open(HOSTS_FILE);
    open_loop(r);
    *resolver_out = r;
    return OUTCOME_OK;
}

void resolver_close(struct resolver *r)
{
    if (!r)
        return;
    assert(!r->telling);
    for (int state = 0; state < JOB_STATES_COUNT; state++) {
        for (struct job *job = TAILQ_FIRST(&r->jobs[state]); job;) {
            struct job *next = TAILQ_NEXT(job, link);
            job_free(job);
            job = next;
        }
    }
    resolver_lines_close(r);
    for (struct question *q = STAILQ_FIRST(&r->tcp_waiting); q;) {
        struct question *next = STAILQ_NEXT(q, link);
        free(q);
        q = next;
    }
    event_free(r->turn);
    event_free(r->tick);
    address_table_free(r->hosts);
    free(r);
}
