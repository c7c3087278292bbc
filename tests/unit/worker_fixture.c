/* Setting up, turning, checking and closing the worker of tests. */
#include "tests/unit/worker_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/url.h"
#include "worker/health.h"
#include "worker/inbox.h"
#include "worker/outbox.h"
#include "worker/tls.h"
#include "worker/turn.h"
#include "worker/verify.h"

#define TASK_RING_BYTES (16u << 20)
#define UNTIL_MS        5000

static void set_option(struct options *o, const char *pair)
{
    struct options_error error;
    char name[64];
    const char *equals = strchr(pair, '=');

    assert_non_null(equals);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    if (!options_set(o, name, equals + 1, "test", &error))
        fail_msg("%s", error.message);
}

static void set_options(struct worker *w, const struct fixture_plan *plan)
{
    char cacert[128];

    options_init(&w->options);
    snprintf(cacert, sizeof cacert, "cacert=%s", origin_ca_file());
    set_option(&w->options, cacert);
    set_option(&w->options, "allow_private=true");
    set_option(&w->options, "retry_delay=0");
    /* All connections alike, but for tests of profiles. */
    set_option(&w->options, "profile=none");
    for (const char *const *pair = plan ? plan->options : NULL; pair && *pair; pair++)
        set_option(&w->options, *pair);
}

static void attach(struct fixture *x, const struct fixture_plan *plan)
{
    struct worker *w = x->w;
    struct region_sizes sizes = {
        .workers = 2,
        .task_ring_capacity = TASK_RING_BYTES,
        .record_ring_capacity = plan && plan->record_ring_bytes ? plan->record_ring_bytes : 1u << 20,
        .hosts_max = FIXTURE_HOSTS_MAX,
        .ips_max = 64,
        .ip_refs_max = 256,
    };

    assert_int_equal(region_create(&w->region, &sizes, NULL), OUTCOME_OK);
    w->shared = &w->region.header->worker[0];
    w->page = region_page(&w->region, 0);
    ring_attach_consumer(&w->tasks, region_task_ring(&w->region, 0), sizes.task_ring_capacity);
    ring_attach_producer(&w->records, region_record_ring(&w->region, 0), sizes.record_ring_capacity);
    ring_attach_producer(&x->tasks, region_task_ring(&w->region, 0), sizes.task_ring_capacity);
    ring_attach_consumer(&x->records, region_record_ring(&w->region, 0), sizes.record_ring_capacity);
    w->wake_fd = -1;
    w->coordinator_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void fixture_open(struct fixture *x, const struct fixture_plan *plan)
{
    const char *reason = "";

    *x = (struct fixture){.w = calloc(1, sizeof *x->w)};
    struct worker *w = x->w;
    assert_non_null(w);
    log_open("test", LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    set_options(w, plan);
    attach(x, plan);
    TAILQ_INIT(&w->dirty);
    TAILQ_INIT(&w->dead);
    TAILQ_INIT(&w->unsent);
    TAILQ_INIT(&w->spare);
    w->now_us = clock_us();
    w->turn = 1;
    w->base = event_base_new();
    assert_non_null(w->base);
    assert_true(source_list_open(&w->sources, &w->options.bind_ip, &reason, &reason));
    assert_true(status_set_parse(&w->healthy, &w->options.healthy_status, &reason, &reason));
    assert_true(request_defaults_init(&w->defaults, &w->options, &reason));
    w->tls = tls_context_new(&w->options, &reason);
    assert_non_null(w->tls);
    browsers_open(w);
    w->verified = verify_table_new();
    w->pool = pool_new(w);
    health_open(w);
}

struct origin *fixture_origin(struct fixture *x, enum origin_kind kind)
{
    assert_true(x->origin_count < FIXTURE_ORIGINS_MAX);
    return x->origins[x->origin_count++] = origin_new(kind);
}

uint32_t fixture_ip(const struct fixture *x, const char *address)
{
    struct address wanted;

    assert_true(address_parse(address, strlen(address), &wanted));
    for (uint32_t i = 0; i < x->ips; i++) {
        if (address_equal(&x->w->region.table.ips[i], &wanted))
            return i;
    }
    return IP_NONE;
}

struct fixture_host *fixture_host(struct fixture *x, uint8_t scheme, const char *name, uint16_t port,
                                  const char *const *addresses, unsigned count)
{
    struct iptable *t = &x->w->region.table;
    struct fixture_host *host = &x->hosts[x->host_count];
    uint32_t first = x->refs;

    assert_true(x->host_count < FIXTURE_HOSTS_MAX);
    *host = (struct fixture_host){.index = x->host_count++, .name = name, .scheme = scheme, .port = port};
    for (unsigned i = 0; i < count; i++) {
        uint32_t ip = fixture_ip(x, addresses[i]);
        if (ip == IP_NONE) {
            ip = x->ips++;
            assert_true(address_parse(addresses[i], strlen(addresses[i]), &t->ips[ip]));
        }
        t->ip_refs[x->refs++] = ip;
    }
    host->generation = iptable_host_set(t, host->index, scheme, name, strlen(name), port);
    iptable_host_publish(t, host->index, first, count);
    return host;
}

struct fixture_host *fixture_host_at(struct fixture *x, const char *name, const struct origin *o)
{
    static const char *const here[] = {"127.0.0.1"};

    return fixture_host(x, o->kind == ORIGIN_PLAIN ? URL_HTTP : URL_HTTPS, name, o->port, here, 1);
}

static void put_text(struct buffer *b, const char *text, uint32_t *len_out)
{
    *len_out = text ? (uint32_t)strlen(text) : 0;
    buffer_append(b, text, *len_out);
}

uint64_t fixture_ask(struct fixture *x, const struct fixture_host *host, const struct ask *ask)
{
    struct task_message m = {.seq = x->asked,
                             .slot = (uint32_t)x->asked,
                             .host = host->index,
                             .host_generation = host->generation,
                             .flags = ask->flags | (ask->first_url ? 0 : TASK_URL_IS_FIRST) |
                                      (ask->input ? 0 : TASK_INPUT_IS_URL),
                             .attempts = ask->attempts,
                             .started_us = ask->started_us,
                             .first_attempt_wall_us = ask->started_us ? clock_wall_us() : 0,
                             .chain_count = (uint16_t)ask->chain_count,
                             .avoid_count = ask->avoids,
                             .profile = ask->profile ? profile_set_find(ask->profile, strlen(ask->profile)) : 0};
    struct buffer text = {0}, url_text = {0}, first_text = {0};
    struct url url, first = {0};
    const char *reason = "";

    assert_int_equal(url_parse(ask->url, strlen(ask->url), NULL, &url_text, &url, &reason), OUTCOME_OK);
    if (ask->first_url)
        assert_int_equal(url_parse(ask->first_url, strlen(ask->first_url), NULL, &first_text, &first, &reason),
                         OUTCOME_OK);
    m.url_len = url.len, m.host_offset = url.host_offset, m.host_len = url.host_len, m.port = url.port;
    m.path_offset = url.path_offset, m.path_len = url.path_len, m.scheme = (uint8_t)url.scheme;
    m.first_url_len = first.len, m.first_host_offset = first.host_offset, m.first_host_len = first.host_len;
    m.first_port = first.port, m.first_path_offset = first.path_offset, m.first_path_len = first.path_len;
    m.first_scheme = (uint8_t)first.scheme;
    buffer_append(&text, &ask->avoid, ask->avoids * sizeof ask->avoid);
    buffer_append(&text, ask->chain, ask->chain_count * sizeof(uint16_t));
    buffer_append(&text, url.text, url.len);
    buffer_append(&text, first.text, first.len);
    put_text(&text, ask->input, &m.input_len);
    put_text(&text, ask->method, &m.method_len);
    put_text(&text, ask->headers, &m.headers_len);
    put_text(&text, ask->body, &m.body_len);
    put_text(&text, ask->tag, &m.tag_len);
    uint8_t *at = ring_reserve(&x->tasks, (uint32_t)(sizeof m + text.len));
    assert_non_null(at);
    memcpy(at, &m, sizeof m);
    if (text.data)
        memcpy(at + sizeof m, text.data, text.len);
    ring_commit(&x->tasks, (uint32_t)(sizeof m + text.len));
    ring_publish(&x->tasks);
    buffer_fini(&text);
    buffer_fini(&url_text);
    buffer_fini(&first_text);
    return x->asked++;
}

uint64_t fixture_order(struct fixture *x, enum task_kind kind, const struct fixture_host *host, uint32_t ip,
                       uint32_t flags, const char *url_text)
{
    uint64_t seq = CHORE_SEQ | x->asked;
    struct task_message m = {.seq = seq,
                             .slot = (uint32_t)x->asked++,
                             .host = host ? host->index : UINT32_MAX,
                             .host_generation = host ? host->generation : 0,
                             .flags = flags | TASK_URL_IS_FIRST | TASK_INPUT_IS_URL | TASK_NO_BODY,
                             .ip = ip,
                             .kind = (uint8_t)kind};
    struct buffer text = {0};
    struct url url = {0};
    const char *reason = "";

    if (url_text)
        assert_int_equal(url_parse(url_text, strlen(url_text), NULL, &text, &url, &reason), OUTCOME_OK);
    m.url_len = url.len, m.host_offset = url.host_offset, m.host_len = url.host_len, m.port = url.port;
    m.path_offset = url.path_offset, m.path_len = url.path_len, m.scheme = (uint8_t)url.scheme;
    uint8_t *at = ring_reserve(&x->tasks, (uint32_t)sizeof m + url.len);
    assert_non_null(at);
    memcpy(at, &m, sizeof m);
    if (url.len)
        memcpy(at + sizeof m, url.text, url.len);
    ring_commit(&x->tasks, (uint32_t)sizeof m + url.len);
    ring_publish(&x->tasks);
    buffer_fini(&text);
    return seq;
}

void fixture_get(struct fixture *x, const struct fixture_host *host, unsigned count)
{
    while (count-- > 0) {
        char url[400];
        snprintf(url, sizeof url, "%s://%s:%u/%llu", host->scheme == URL_HTTPS ? "https" : "http", host->name,
                 host->port, (unsigned long long)x->asked);
        fixture_ask(x, host, &(struct ask){.url = url});
    }
}

static void collect(struct fixture *x)
{
    const void *message;
    uint32_t len;

    if (x->reader_stopped)
        return;
    while (ring_peek(&x->records, &message, &len) == OUTCOME_OK) {
        assert_true(len >= sizeof(struct result_message));
        if (x->told_count == x->told_max) {
            x->told_max = x->told_max ? 2 * x->told_max : 64;
            x->told = realloc(x->told, x->told_max * sizeof *x->told);
            assert_non_null(x->told);
        }
        struct told *told = &x->told[x->told_count++];
        memcpy(&told->m, message, sizeof told->m);
        assert_int_equal(len, sizeof told->m + told->m.len);
        told->text = calloc(1, told->m.len + 1);
        assert_non_null(told->text);
        memcpy(told->text, (const char *)message + sizeof told->m, told->m.len);
        ring_advance(&x->records);
    }
    ring_release(&x->records);
}

/* One turn as worker/main.c makes it, without the wait. */
static void worker_turn(struct fixture *x)
{
    struct worker *w = x->w;

    turn_run(w);
    if (!x->unchecked)
        fixture_check(x);
    w->turn++;
    event_base_loop(w->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    w->now_us = clock_us();
}

void fixture_put(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
}

void fixture_turn(struct fixture *x)
{
    bool moved = false;

    worker_turn(x);
    collect(x);
    for (unsigned i = 0; i < x->origin_count; i++)
        moved |= origin_turn(x->origins[i]);
    if (!moved)
        usleep(200);
}

void fixture_turns(struct fixture *x, unsigned count)
{
    while (count-- > 0)
        fixture_turn(x);
}

void fixture_pass_ms(struct fixture *x, unsigned ms)
{
    uint64_t until_us = clock_us() + (uint64_t)ms * 1000;

    while (clock_us() < until_us)
        fixture_turn(x);
}

void fixture_until_told(struct fixture *x, size_t count, unsigned limit_ms)
{
    uint64_t until_us = clock_us() + (uint64_t)(limit_ms ? limit_ms : UNTIL_MS) * 1000;

    while (x->told_count < count) {
        fixture_turn(x);
        if (clock_us() > until_us && x->told_count < count)
            fail_msg("%zu of %zu messages came", x->told_count, count);
    }
    assert_int_equal(x->told_count, count);
}

const struct told *fixture_told(const struct fixture *x, uint64_t seq)
{
    const struct told *found = NULL;

    for (size_t i = 0; i < x->told_count; i++) {
        if (x->told[i].m.seq != seq)
            continue;
        if (found)
            fail_msg("task %llu was told of twice", (unsigned long long)seq);
        found = &x->told[i];
    }
    if (!found)
        fail_msg("task %llu was not told of", (unsigned long long)seq);
    return found;
}

void assert_outcome(const struct fixture *x, uint64_t seq, enum result_kind kind, enum outcome outcome)
{
    const struct told *told = fixture_told(x, seq);

    if (told->m.kind != kind || told->m.outcome != outcome)
        fail_msg("task %llu: kind %u, outcome %s instead of kind %u, %s; %s", (unsigned long long)seq, told->m.kind,
                 outcome_name((enum outcome)told->m.outcome), kind, outcome_name(outcome), told->text);
}

void assert_tells(const struct fixture *x, uint64_t seq, const char *part)
{
    if (!strstr(fixture_told(x, seq)->text, part))
        fail_msg("no %s in %s", part, fixture_told(x, seq)->text);
}

void assert_tells_not(const struct fixture *x, uint64_t seq, const char *part)
{
    if (strstr(fixture_told(x, seq)->text, part))
        fail_msg("there is %s in %s", part, fixture_told(x, seq)->text);
}

size_t fixture_count(const struct fixture *x, enum result_kind kind, enum outcome outcome)
{
    size_t n = 0;

    for (size_t i = 0; i < x->told_count; i++)
        n += x->told[i].m.kind == kind && x->told[i].m.outcome == outcome;
    return n;
}

struct pool_host *fixture_pool_host(const struct fixture *x, const struct fixture_host *host)
{
    struct pool_host *found = pool_host_get(x->w->pool, host->index, host->generation);

    assert_non_null(found);
    return found;
}

struct census {
    int64_t idle, active, dialing, for_checks; /* the last: those being made that the line does not count on */
    unsigned conns, waiting;
};

static void check_fetch(const struct worker *w, const struct fetch *f, enum fetch_state state, const struct conn *conn)
{
    assert_int_equal(f->state, state);
    assert_ptr_equal(f->conn, conn);
    /* Nothing waits for ever. */
    assert_true(f->timer.place > 0 && f->timer.expires_us <= f->deadline_us);
    assert_ptr_equal(f->worker, w);
}

static void check_conns(const struct worker *w, const struct conn_list *list, bool pooled, struct census *c)
{
    const struct conn *conn;
    const struct fetch *f;

    TAILQ_FOREACH(conn, list, link)
    {
        unsigned active = 0;
        assert_ptr_equal(conn->list, list);
        assert_true(conn->state != CONN_DEAD && conn->fd >= 0);
        assert_int_equal(conn->pooled, pooled);
        TAILQ_FOREACH(f, &conn->fetches, link)
        {
            active++;
            check_fetch(w, f, FETCH_ACTIVE, conn);
        }
        assert_int_equal(conn->active, active);
        /* What has nothing to do is idle, and its time runs. */
        assert_int_equal(conn->is_idle, pooled && active == 0);
        if (conn->is_idle || !pooled)
            assert_true(conn->timer.place > 0 && conn->timer.expires_us != TIMER_NEVER);
        c->conns++;
        c->idle += conn->is_idle;
        c->active += pooled && !conn->is_idle;
        c->dialing += !pooled;
        c->for_checks += conn->intended && conn->intended->m.kind == TASK_CHECK;
    }
}

static void check_host(const struct fixture *x, const struct fixture_host *host, struct census *c)
{
    const struct pool_host *h = fixture_pool_host(x, host);
    const struct fetch *f;
    unsigned before = c->conns;
    unsigned waiting = 0;
    int64_t dialing = c->dialing - c->for_checks;

    check_conns(x->w, &h->ready, true, c);
    check_conns(x->w, &h->suspect, true, c);
    check_conns(x->w, &h->busy, true, c);
    check_conns(x->w, &h->dialing, false, c);
    TAILQ_FOREACH(f, &h->waiters, link)
    {
        waiting++;
        check_fetch(x->w, f, FETCH_WAITING, NULL);
    }
    assert_int_equal(h->waiting, waiting);
    assert_int_equal(h->conns, c->conns - before);
    assert_int_equal(h->dialing_count, c->dialing - c->for_checks - dialing);
    assert_int_equal(iptable_host_cell(&x->w->region.table, host->index, 0), h->conns);
    c->waiting += waiting;
}

void fixture_check(const struct fixture *x)
{
    struct worker *w = x->w;
    struct census c = {0};

    assert_true(TAILQ_EMPTY(&w->dead) && TAILQ_EMPTY(&w->dirty));
    for (unsigned i = 0; i < x->host_count; i++) {
        /* A slot that was written anew is another host. */
        if (atomic_load(&w->region.table.hosts[x->hosts[i].index].generation) == x->hosts[i].generation)
            check_host(x, &x->hosts[i], &c);
    }
    assert_int_equal(pool_waiting(w->pool), c.waiting);
    assert_int_equal(fixture_gauge(x, waiting), c.waiting);
    assert_int_equal(fixture_gauge(x, conns_idle), c.idle);
    assert_int_equal(fixture_gauge(x, conns_active), c.active);
    assert_int_equal(fixture_gauge(x, conns_dialing), c.dialing);
    assert_int_equal(atomic_load(&w->region.table.fleet_cells[0]), c.conns);
    /* The worker may sleep for long now: what it still owes would wait as long. */
    if (w->slot_freed && c.waiting)
        fail_msg("asleep although a slot was freed and %u fetches wait", c.waiting);
    if (!TAILQ_EMPTY(&w->unsent) && !atomic_load(&w->shared->wants_room))
        fail_msg("asleep with unsent results, and the coordinator does not know");
}

static void close_all(struct fixture *x)
{
    struct worker *w = x->w;

    w->closing = true;
    pool_close_all(w->pool);
    conn_sweep(w);
    /* What still waits ends here, so that its memory is given back. */
    for (unsigned i = 0; i < x->host_count; i++) {
        struct pool_host *h = pool_host_get(w->pool, x->hosts[i].index, x->hosts[i].generation);
        struct fetch *f;
        while (h && (f = TAILQ_FIRST(&h->waiters))) {
            pool_forget(w->pool, f);
            fetch_fail(f, OUTCOME_DEADLINE, NULL);
        }
    }
    x->reader_stopped = false;
    for (int i = 0; i < 1000; i++) {
        collect(x);
        if (outbox_retry(w))
            break;
        outbox_publish(w, true);
    }
    outbox_publish(w, true);
    collect(x);
}

static void check_closed(const struct fixture *x)
{
    const struct iptable *t = &x->w->region.table;

    assert_int_equal(atomic_load(&t->fleet_cells[0]), 0);
    for (uint32_t i = 0; i < t->hosts_max; i++)
        assert_int_equal(iptable_host_cell(t, i, 0), 0);
    for (uint32_t i = 0; i < t->ips_max; i++)
        assert_int_equal(atomic_load(&t->ip_cells[(size_t)i * t->workers]), 0);
    assert_int_equal(fixture_gauge(x, conns_idle), 0);
    assert_int_equal(fixture_gauge(x, conns_active), 0);
    assert_int_equal(fixture_gauge(x, conns_dialing), 0);
    assert_int_equal(fixture_gauge(x, waiting), 0);
    assert_int_equal(STATS_GET(x->w->page, dials), STATS_GET(x->w->page, closes));
}

void fixture_close(struct fixture *x)
{
    struct worker *w = x->w;

    close_all(x);
    check_closed(x);
    for (unsigned i = 0; i < x->origin_count; i++)
        origin_free(x->origins[i]);
    for (size_t i = 0; i < x->told_count; i++)
        free(x->told[i].text);
    free(x->told);
    fetch_free_all(w);
    pool_free(w->pool);
    browsers_close(w);
    verify_table_free(w->verified);
    SSL_CTX_free(w->tls);
    request_defaults_fini(&w->defaults);
    source_list_close(&w->sources);
    timers_fini(&w->timers);
    buffer_fini(&w->line);
    buffer_fini(&w->out);
    buffer_fini(&w->lower);
    buffer_fini(&w->location);
    event_base_free(w->base);
    options_fini(&w->options);
    region_close(&w->region);
    close(w->coordinator_fd);
    free(w);
}
