/* Questions to name servers by c-ares, and what becomes of the answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "coordinator/resolver_core.h"

#define CLASS_IN      1
#define TYPE_A        1
#define TYPE_AAAA     28
#define FLAG_TC       2   /* in the third byte of a message */
#define UDP_BYTES_MAX 512 /* of an answer to a question without EDNS (RFC 1035 4.2.1) */
#define TCP_TRIES_MAX 3   /* of one question, when servers close without an answer */

void resolver_leave_questions(struct job *job)
{
    for (int family = 0; family < FAMILIES; family++) {
        struct question *q = job->questions[family];
        job->questions[family] = NULL;
        if (!q)
            continue;
        q->job = NULL;
        /* By TCP it is alone on its line, which is wanted by others. */
        if (q->line && q->tcp_tries > 0)
            ares_cancel(q->line->channel);
    }
}

static bool is_failure_of_servers(enum outcome o)
{
    return o == OUTCOME_DNS_SERVFAIL || o == OUTCOME_DNS_TIMEOUT || o == OUTCOME_RESOURCE_EXHAUSTED;
}

/* One outcome of two: an answer goes before all, and "no such name" counts only when nothing else was said. */
static enum outcome combine(const struct resolver *r, const enum outcome outcomes[FAMILIES])
{
    static const enum outcome by_weight[] = {OUTCOME_OK, OUTCOME_RESOURCE_EXHAUSTED, OUTCOME_DNS_SERVFAIL,
                                             OUTCOME_DNS_TIMEOUT};

    for (size_t i = 0; i < sizeof by_weight / sizeof by_weight[0]; i++) {
        for (int family = 0; family < FAMILIES; family++) {
            if (r->wanted[family] && outcomes[family] == by_weight[i])
                return by_weight[i];
        }
    }
    return OUTCOME_DNS_NXDOMAIN;
}

static void merge_addresses(struct job *job)
{
    uint32_t count = 0;

    for (int family = 0; family < FAMILIES; family++)
        count += job->found[family].count;
    job->addresses = resolver_must_have(calloc(count ? count : 1, sizeof job->addresses[0]));
    for (int family = 0; family < FAMILIES; family++) {
        struct resolver_found *found = &job->found[family];
        uint32_t room = STORE_ADDRESSES_MAX - job->answer.count;
        uint32_t taken = found->count < room ? found->count : room;
        if (taken > 0)
            memcpy(job->addresses + job->answer.count, found->addresses, taken * sizeof job->addresses[0]);
        job->answer.count += taken;
    }
}

/* How long the answer holds, in microseconds. Half an answer is asked for again as soon as a failure is. */
static uint64_t lifetime_us(const struct resolver *r, const struct job *job)
{
    const struct options *o = r->options;
    uint64_t ms = (uint64_t)RESOLVER_TTL_MAX_S * 1000;
    bool half = false;

    if (job->answer.outcome == OUTCOME_RESOURCE_EXHAUSTED)
        return 0;
    if (job->answer.outcome != OUTCOME_OK)
        return o->dns_negative_ttl * 1000;
    for (int family = 0; family < FAMILIES; family++) {
        half |= r->wanted[family] && is_failure_of_servers(job->outcomes[family]);
        if (job->found[family].count > 0 && job->found[family].ttl_s * UINT64_C(1000) < ms)
            ms = job->found[family].ttl_s * UINT64_C(1000);
    }
    if (half && ms > o->dns_negative_ttl)
        ms = o->dns_negative_ttl;
    if (ms < o->dns_ttl_min)
        ms = o->dns_ttl_min;
    if (ms > o->dns_update_interval)
        ms = o->dns_update_interval;
    return ms * 1000;
}

static void job_keep(struct resolver *r, const struct job *job)
{
    char key[RESOLVER_KEY_MAX];
    size_t bytes = job->answer.count * sizeof job->addresses[0];
    struct store_dns *dns = resolver_must_have(malloc(sizeof *dns + bytes));

    dns->expires_wall_us = job->answer.expires_wall_us;
    dns->outcome = job->answer.outcome;
    dns->count = job->answer.count;
    memcpy(dns->addresses, job->addresses, bytes);
    store_dns_put(r->store, key, resolver_store_key(r, job, key), dns);
    free(dns);
}

/* Every question is answered, or its time is up. */
static void job_settle(struct resolver *r, struct job *job)
{
    uint64_t took_us = clock_us() - job->asked_us;
    uint64_t lives_us;

    resolver_leave_questions(job);
    merge_addresses(job);
    job->answer.outcome = combine(r, job->outcomes);
    job->answer.took_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    lives_us = lifetime_us(r, job);
    job->answer.expires_wall_us = clock_wall_us() + lives_us;
    if (lives_us > 0)
        job_keep(r, job);
    resolver_job_answer(r, job);
}

/* True when this process cannot open a socket: then no server is to blame. */
static bool is_short_of_descriptors(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        close(fd);
        return false;
    }
    return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
}

static enum outcome outcome_of_status(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
        return OUTCOME_DNS_NXDOMAIN;
    case ARES_ETIMEOUT:
        return OUTCOME_DNS_TIMEOUT;
    case ARES_ENOMEM:
        return OUTCOME_RESOURCE_EXHAUSTED;
    case ARES_ECONNREFUSED: /* also c-ares' word for SERVFAIL, and for a socket that it could not open */
        return is_short_of_descriptors() ? OUTCOME_RESOURCE_EXHAUSTED : OUTCOME_DNS_SERVFAIL;
    default:
        return OUTCOME_DNS_SERVFAIL;
    }
}

static void question_end(struct question *q, enum outcome outcome)
{
    struct resolver *r = q->resolver;
    struct job *job = q->job;

    if (job) {
        job->questions[q->family] = NULL;
        job->outcomes[q->family] = outcome;
        if (!job->questions[FAMILY_IPV4] && !job->questions[FAMILY_IPV6])
            job_settle(r, job);
    }
    r->questions_open--;
    free(q);
}

/* Not asked from here: this may be within c-ares. */
static void question_wait_for_tcp(struct question *q)
{
    q->tcp_tries++;
    STAILQ_INSERT_TAIL(&q->resolver->tcp_waiting, q, link);
    resolver_wake(q->resolver);
}

/* c-ares cuts what is longer than a plain UDP answer may be, whether it is marked as truncated or not. */
static bool is_cut(const struct question *q, const unsigned char *message, int len)
{
    return q->tcp_tries == 0 && len >= 12 && ((message[2] & FLAG_TC) != 0 || len >= UDP_BYTES_MAX);
}

/* A line that was closed without an answer says nothing about the name. */
static bool is_worth_another_try(const struct question *q, int status)
{
    return status == ARES_ECONNREFUSED && q->tcp_tries > 0 && q->tcp_tries < TCP_TRIES_MAX;
}

static void on_line_answer(void *user, int status, int timeouts, unsigned char *message, int len)
{
    struct question *q = user;

    (void)timeouts;
    q->line->questions--;
    q->line = NULL;
    if (!q->job)
        question_end(q, OUTCOME_DNS_TIMEOUT);
    else if (message ? is_cut(q, message, len) : is_worth_another_try(q, status))
        question_wait_for_tcp(q);
    else if (message && len > 0)
        question_end(q, resolver_answer_parse(message, (size_t)len, q->family == FAMILY_IPV4 ? 4 : 6,
                                              &q->job->found[q->family]));
    else
        question_end(q, outcome_of_status(status));
}

static void question_send(struct question *q, struct line *line)
{
    q->line = line;
    line->questions++;
    ares_query(line->channel, q->job->name, CLASS_IN, q->family == FAMILY_IPV4 ? TYPE_A : TYPE_AAAA, on_line_answer, q);
}

void resolver_ask(struct resolver *r, struct job *job)
{
    struct question *questions[FAMILIES] = {NULL};

    resolver_job_move(r, job, JOB_ASKING);
    STATS_ADD(r->page, dns_queries, 1);
    job->asked_us = clock_us();
    job->deadline_us = job->asked_us + r->options->dns_timeout * 1000;
    /* Both stand before either is asked: c-ares may answer from within ares_query(). */
    for (int family = 0; family < FAMILIES; family++) {
        if (!r->wanted[family])
            continue;
        questions[family] = resolver_must_have(calloc(1, sizeof *questions[family]));
        *questions[family] = (struct question){.resolver = r, .job = job, .family = (enum family_index)family};
        job->questions[family] = questions[family];
        job->outcomes[family] = OUTCOME_DNS_TIMEOUT;
        r->questions_open++;
    }
    for (int family = 0; family < FAMILIES; family++) {
        if (questions[family])
            question_send(questions[family], &r->udp);
    }
}

static struct question *next_for_tcp(struct resolver *r)
{
    struct question *q;

    while ((q = STAILQ_FIRST(&r->tcp_waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&r->tcp_waiting, link);
        if (q->job)
            return q;
        question_end(q, OUTCOME_DNS_TIMEOUT);
    }
    return NULL;
}

void resolver_ask_by_tcp(struct resolver *r)
{
    for (int i = 0; i < RESOLVER_TCP_LINES; i++) {
        if (r->tcp[i].questions > 0)
            continue;
        struct question *q = next_for_tcp(r);
        if (!q)
            return;
        question_send(q, &r->tcp[i]);
    }
}

void resolver_check_deadlines(struct resolver *r)
{
    struct job *job;
    uint64_t now = clock_us();

    /* All have the same time, so they run out in the order in which they were asked. */
    while ((job = TAILQ_FIRST(&r->jobs[JOB_ASKING])) != NULL && job->deadline_us <= now)
        job_settle(r, job);
}
