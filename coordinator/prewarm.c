/* Giving out the orders of pre-warms in batches, and counting what became of them. */
#include "coordinator/prewarm.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/prewarm_entry.h"
#include "coordinator/prewarm_tally.h"

#define TRIES      3     /* for one connection */
#define AGAIN_US   20000 /* how soon an order that no worker took is given again */
#define STATUS_OK  200
#define STATUS_NO  503
#define STATUS_BAD 400

struct warming;

/* An order's user: whose it is, and which try of its connection. */
struct rank {
    struct warming *warming;
    unsigned tries; /* made before it */
};

/* One pre-warm under way. */
struct warming {
    TAILQ_ENTRY(warming) link;
    struct prewarm *prewarm;
    struct admin_request *request; /* that waits for the end, or NULL */
    struct host *host;             /* held */
    bool from_options;
    uint32_t wanted;
    uint32_t to_try[TRIES]; /* connections by the tries that were made for them */
    uint32_t under_way, in_batch;
    uint32_t warmed, failed;   /* connections */
    enum outcome last_failure; /* OUTCOME_OK: none */
    uint64_t started_us, until_us, next_batch_us;
    struct rank ranks[TRIES];
    struct prewarm_tally tally;
};

struct prewarm {
    struct steering_parts parts;
    struct event *timer;
    TAILQ_HEAD(, warming) warmings;
    uint32_t under_way; /* of all */
};

static uint32_t left_to_try(const struct warming *w)
{
    uint32_t left = 0;

    for (unsigned i = 0; i < TRIES; i++)
        left += w->to_try[i];
    return left;
}

static void put_host(const struct host *host, struct buffer *out)
{
    buffer_printf(out, "%s://%.*s:%u", host->scheme == URL_HTTPS ? "https" : "http", host->name_len, host->name,
                  host->port);
}

/* --- the end of one --- */

static void answer(struct warming *w, const struct buffer *name, uint64_t took_us)
{
    struct buffer out = {0};

    json_open(&out);
    json_member_string(&out, "host", name->data, name->len);
    json_member_uint(&out, "wanted", w->wanted);
    json_member_uint(&out, "warmed", w->warmed);
    json_member_uint(&out, "failed", w->failed);
    if (w->last_failure != OUTCOME_OK) {
        const char *code = outcome_name(w->last_failure);
        json_member_string(&out, "error_code", code, strlen(code));
    }
    json_key(&out, "took_ms");
    json_put_ms(&out, took_us);
    json_key(&out, "addresses");
    prewarm_tally_put_json(&w->tally, &out);
    json_close(&out);
    buffer_append_char(&out, '\n');
    admin_answer(w->request, w->failed ? STATUS_NO : STATUS_OK, ADMIN_JSON, out.data, out.len);
    buffer_fini(&out);
}

static void free_warming(struct warming *w)
{
    TAILQ_REMOVE(&w->prewarm->warmings, w, link);
    prewarm_tally_fini(&w->tally);
    free(w);
}

static void end(struct warming *w)
{
    struct prewarm *p = w->prewarm;
    uint64_t took_us = clock_us() - w->started_us;
    struct buffer name = {0};
    struct buffer addresses = {0};

    put_host(w->host, &name);
    prewarm_tally_put_text(&w->tally, &addresses);
    log_event(w->failed ? LOG_WARN : LOG_INFO, "prewarmed",
              "host=%.*s warmed=%u failed=%u took_ms=%llu addresses=\"%.*s\" last_failure=%s", (int)name.len, name.data,
              w->warmed, w->failed, (unsigned long long)(took_us / 1000), (int)addresses.len,
              addresses.data ? addresses.data : "",
              w->last_failure == OUTCOME_OK ? "none" : outcome_name(w->last_failure));
    if (w->request)
        answer(w, &name, took_us);
    buffer_fini(&name);
    buffer_fini(&addresses);
    frontier_let_go(p->parts.frontier, w->host);
    free_warming(w);
}

/* Connections that no try is left for. */
static void give_up(struct warming *w, uint32_t count, enum outcome outcome)
{
    if (count == 0)
        return;
    w->failed += count;
    w->last_failure = outcome;
    STATS_ADD(w->prewarm->parts.page, prewarm_failures, count);
}

static void give_up_all(struct warming *w, enum outcome outcome)
{
    give_up(w, left_to_try(w), outcome);
    memset(w->to_try, 0, sizeof w->to_try);
}

/* --- orders --- */

static void turn(struct prewarm *p);

static void on_done(void *user, const struct chore_answer *a)
{
    const struct rank *rank = user;
    struct warming *w = rank->warming;
    struct prewarm *p = w->prewarm;
    bool warmed = a->outcome == OUTCOME_OK;

    w->under_way--;
    p->under_way--;
    prewarm_tally_add(&w->tally, &p->parts.region->table, a->ip, warmed);
    if (warmed) {
        w->warmed++;
        STATS_ADD(p->parts.page, prewarmed, 1);
    } else if (rank->tries + 1 < TRIES) {
        w->to_try[rank->tries + 1]++;
    } else {
        give_up(w, 1, a->outcome);
    }
    turn(p);
}

/* False: no worker takes it now. */
static bool give_one(struct warming *w)
{
    struct prewarm *p = w->prewarm;
    unsigned tries = 0;

    while (tries < TRIES - 1 && w->to_try[tries] == 0)
        tries++;
    struct chore_order order = {
        .kind = TASK_PREWARM, .host = w->host, .ip = IP_NONE, .on_done = on_done, .user = &w->ranks[tries]};
    if (!chores_give(p->parts.chores, chores_pick(p->parts.chores), &order))
        return false;
    w->to_try[tries]--;
    w->under_way++;
    w->in_batch++;
    p->under_way++;
    return true;
}

/* Gives what may be given; returns when to come back, UINT64_MAX: with the next answer. */
static uint64_t give(struct warming *w, uint64_t now)
{
    const struct prewarm *p = w->prewarm;
    const struct options *o = p->parts.options;

    if (now >= w->next_batch_us)
        w->in_batch = 0;
    while (left_to_try(w) > 0 && p->under_way < (uint32_t)o->prewarm_concurrency) {
        if (w->in_batch >= (uint32_t)o->prewarm_batch)
            return w->next_batch_us;
        if (w->in_batch == 0)
            w->next_batch_us = now + o->prewarm_delay * 1000;
        if (!give_one(w))
            return now + AGAIN_US;
    }
    return UINT64_MAX;
}

static bool is_draining(const struct prewarm *p)
{
    return atomic_load_explicit(&p->parts.region->header->draining, memory_order_relaxed) != REGION_RUNS;
}

/* Brings one further; returns when it is to be looked at again, 0: it has ended. */
static uint64_t step(struct warming *w, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    if (w->host->state == HOST_FAILED)
        give_up_all(w, w->host->failure);
    else if (now >= w->until_us || is_draining(w->prewarm))
        give_up_all(w, OUTCOME_DEADLINE);
    else if (w->host->state == HOST_USABLE)
        next = give(w, now);
    if (left_to_try(w) == 0 && w->under_way == 0) {
        end(w);
        return 0;
    }
    if (left_to_try(w) > 0 && w->until_us < next)
        next = w->until_us;
    return next;
}

static void turn(struct prewarm *p)
{
    uint64_t now = clock_us();
    uint64_t next = UINT64_MAX;
    struct warming *following;

    for (struct warming *w = TAILQ_FIRST(&p->warmings); w; w = following) {
        following = TAILQ_NEXT(w, link);
        uint64_t at = step(w, now);
        if (at != 0 && at < next)
            next = at;
    }
    if (next == UINT64_MAX) {
        event_del(p->timer);
        return;
    }
    uint64_t left = next > now ? next - now : 0;
    struct timeval tv = {.tv_sec = (time_t)(left / 1000000), .tv_usec = (suseconds_t)(left % 1000000)};
    event_add(p->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    turn(arg);
}

static void on_answer(void *user, struct host *host, enum outcome outcome, const struct address *before,
                      uint32_t before_count)
{
    (void)host;
    (void)outcome;
    (void)before;
    (void)before_count;
    turn(user);
}

/* --- the beginning of one --- */

/* More than the limits let live is asked for: it is tried all the same, for the limits are those of now. */
static void warn_of_limits(const struct prewarm *p, const struct url *url, uint32_t wanted)
{
    const struct options *o = p->parts.options;
    const struct {
        const char *name, *what;
        int64_t limit;
    } limits[] = {
        {"max_conns_per_host", "no more are made", o->max_conns_per_host},
        {"max_connections", "no more are made", o->max_connections},
        {"max_idle_conns", "what is idle above it is closed again", o->max_idle_conns},
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if ((int64_t)wanted > limits[i].limit)
            log_event(LOG_WARN, "prewarm-above-limit", "host=%.*s wanted=%u %s=%lld; %s: raise it", url->host_len,
                      url->text + url->host_offset, wanted, limits[i].name, (long long)limits[i].limit, limits[i].what);
    }
}

/* NULL: the table of hosts is full. */
static struct warming *begin(struct prewarm *p, const struct url *url, uint32_t wanted)
{
    struct warming *w = calloc(1, sizeof *w);
    struct host *host = w ? frontier_host(p->parts.frontier, url) : NULL;

    if (!w)
        die("out of memory: no room for a pre-warm");
    if (!host) {
        free(w);
        return NULL;
    }
    *w = (struct warming){.prewarm = p, .host = host, .wanted = wanted, .to_try = {wanted}};
    w->started_us = clock_us();
    w->until_us = w->started_us + p->parts.options->prewarm_timeout * 1000;
    for (unsigned i = 0; i < TRIES; i++)
        w->ranks[i] = (struct rank){w, i};
    TAILQ_INSERT_TAIL(&p->warmings, w, link);
    warn_of_limits(p, url, wanted);
    return w;
}

static void refuse(struct admin_request *request, const char *what, const char *text, const char *reason)
{
    char message[512];
    int len = snprintf(message, sizeof message, "%s \"%.200s\": %s\n", what, text, reason);

    admin_answer(request, STATUS_BAD, ADMIN_TEXT, message, (size_t)len);
}

static void on_request(void *user, struct admin_request *request)
{
    struct prewarm *p = user;
    const char *host = admin_query(request, "host");
    const char *n = admin_query(request, "n");
    const char *reason = "it is missing";
    struct buffer text = {0};
    struct warming *w;
    struct url url;
    uint32_t count;

    if (!host || prewarm_host_parse(host, strlen(host), &text, &url, &reason) != OUTCOME_OK) {
        refuse(request, "host", host ? host : "", reason);
    } else if (!n || prewarm_count_parse(n, &count, &reason) != OUTCOME_OK) {
        refuse(request, "n", n ? n : "", reason);
    } else if (!(w = begin(p, &url, count))) {
        refuse(request, "host", host, "there is no room among the hosts that are in use; raise max_hosts");
    } else {
        char started[48];
        if (admin_query(request, "wait"))
            w->request = request;
        int len = snprintf(started, sizeof started, "{\"started\":%u}\n", count);
        if (!w->request)
            admin_answer(request, STATUS_OK, ADMIN_JSON, started, (size_t)len);
        turn(p);
    }
    buffer_fini(&text);
}

static void begin_options(struct prewarm *p)
{
    const struct options *o = p->parts.options;
    struct buffer text = {0};
    const char *reason;
    struct url url;
    uint32_t count;

    for (size_t i = 0; i < o->prewarm.count; i++) {
        /* options_check() has seen that they parse. */
        if (prewarm_entry_parse(o->prewarm.items[i], &text, &url, &count, &reason) != OUTCOME_OK)
            continue;
        struct warming *w = begin(p, &url, count);
        if (w)
            w->from_options = true;
        else
            log_event(LOG_WARN, "prewarm-without-room", "entry=\"%s\" hint=\"raise --max-hosts\"", o->prewarm.items[i]);
    }
    buffer_fini(&text);
    turn(p);
}

static const struct admin_action actions[] = {{"POST", "/prewarm", on_request}};

struct prewarm *prewarm_new(const struct steering_parts *parts)
{
    struct prewarm *p = calloc(1, sizeof *p);

    if (!p)
        die("out of memory: no room for pre-warms");
    p->parts = *parts;
    TAILQ_INIT(&p->warmings);
    p->timer = evtimer_new(parts->base, on_timer, p);
    if (!p->timer)
        die("out of memory: no room for the timer of pre-warms");
    frontier_watch(parts->frontier, on_answer, p);
    admin_add(parts->admin, actions, sizeof actions / sizeof actions[0], p);
    if (!parts->options->dry_run)
        begin_options(p);
    return p;
}

bool prewarm_is_starting(const struct prewarm *p)
{
    const struct warming *w;

    TAILQ_FOREACH(w, &p->warmings, link)
    {
        if (w->from_options)
            return true;
    }
    return false;
}

void prewarm_free(struct prewarm *p)
{
    if (!p)
        return;
    for (struct warming *w = TAILQ_FIRST(&p->warmings), *next; w; w = next) {
        next = TAILQ_NEXT(w, link);
        free_warming(w);
    }
    event_free(p->timer);
    free(p);
}
