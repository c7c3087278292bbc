/* Beginning, judging and ending of probes. */
#include "worker/probe.h"

#include "common/log.h"
#include "worker/access.h"
#include "worker/answer.h"
#include "worker/conn.h"
#include "worker/health.h"
#include "worker/pool.h"
#include "worker/tls.h"

/* The request of a HEAD probe: as one for the host's root, without anything that the options add for input lines but
 * their header fields. */
static void set_request(struct fetch *f, const struct pool_host *host)
{
    uint16_t usual = host->tls ? 443 : 80;

    buffer_clear(&f->text);
    buffer_append_str(&f->text, host->tls ? "https://" : "http://");
    size_t host_offset = f->text.len;
    buffer_append(&f->text, host->name, host->name_len);
    if (host->port != usual)
        buffer_printf(&f->text, ":%u", host->port);
    size_t path_offset = f->text.len;
    buffer_append_char(&f->text, '/');
    f->url = (struct url){
        .text = f->text.data,
        .len = (uint32_t)f->text.len,
        .host_offset = (uint16_t)host_offset,
        .host_len = (uint16_t)host->name_len,
        .port = host->port,
        .path_offset = (uint16_t)path_offset,
        .path_len = 1,
        .scheme = host->tls ? URL_HTTPS : URL_HTTP,
    };
    f->first_url = f->url;
    f->method = (struct span){"HEAD", 4};
    f->headers = f->body = f->tag = f->input = (struct span){0};
}

static struct fetch *carrier_new(struct conn *conn)
{
    struct worker *w = conn->worker;
    struct fetch *f = fetch_take_spare(w);

    f->m = (struct task_message){.kind = TASK_PROBE, .flags = TASK_NO_BODY | TASK_CROSSED, .ip = IP_NONE};
    set_request(f, conn->host);
    answer_reset(f);
    f->host = conn->host;
    f->conn = conn;
    f->state = FETCH_ACTIVE;
    f->head_request = true;
    f->reused = f->unprocessed = false;
    f->attempts = 0;
    f->stream_id = 0;
    f->sent_us = w->now_us;
    f->deadline_us = w->now_us + w->options.test_timeout * 1000;
    timer_set(&w->timers, &f->timer, f->deadline_us);
    return f;
}

/* Takes the probe off its connection and makes its fetch spare. */
static void take_off(struct fetch *f)
{
    struct conn *conn = f->conn;

    conn->probe = NULL;
    f->conn = NULL;
    fetch_discard(f);
    /* Its buffers came back with the bytes of the probe. */
    if (conn->state == CONN_OPEN && conn->tls_slim && conn->active == 0)
        tls_free_buffers(conn);
}

static void begin(struct conn *conn)
{
    struct worker *w = conn->worker;

    conn->last_checked_us = w->now_us;
    conn->probe = carrier_new(conn);
    STATS_ADD(w->page, probes, 1);
    if (conn->exchange->ping) {
        conn->exchange->ping(conn);
        return;
    }
    conn_move(conn, &conn->host->busy);
    conn->exchange->start(conn, conn->probe);
}

static unsigned begin_on_list(struct conn_list *list)
{
    struct conn *next;
    unsigned begun = 0;

    for (struct conn *conn = TAILQ_FIRST(list); conn; conn = next) {
        const struct worker *w = conn->worker;
        next = TAILQ_NEXT(conn, link);
        if (conn->active || conn->probe || conn->state != CONN_OPEN ||
            w->now_us - conn->idle_since_us <= w->options.health_check_interval * 1000)
            continue;
        if (access_is_black(conn)) {
            pool_retire(conn);
            continue;
        }
        begin(conn);
        begun++;
    }
    return begun;
}

unsigned probe_begin_all(struct pool_host *host)
{
    return begin_on_list(&host->ready) + begin_on_list(&host->suspect);
}

static void count_failure(struct conn *conn, enum outcome outcome, unsigned status)
{
    STATS_ADD(conn->worker->page, probe_failures, 1);
    if (log_shows(LOG_DEBUG))
        log_event(LOG_DEBUG, "probe-failed", "id=%llu host=%s outcome=%s status=%u", (unsigned long long)conn->id,
                  conn->host->name, outcome_name(outcome), status);
}

/* A host that forbids its root to everybody says nothing of the address by it: a probe's 403 counts against an address
 * only after the host has answered some probe well, in whatever worker. */
static bool root_is_forbidden(const struct conn *conn, unsigned status)
{
    _Atomic uint32_t *flags = &conn->worker->region.table.hosts[conn->host->index].flags;

    if (status < 400)
        atomic_fetch_or_explicit(flags, HOST_ROOT_ANSWERS, memory_order_relaxed);
    return status >= 400 && status < 500 && !(atomic_load_explicit(flags, memory_order_relaxed) & HOST_ROOT_ANSWERS);
}

/* The one place where a probe's status is judged. */
static void judge(struct conn *conn, unsigned status)
{
    if (!root_is_forbidden(conn, status) && access_judge_probe(conn, status) == ACCESS_BLACK) {
        count_failure(conn, OUTCOME_IP_BLOCKED, status);
    } else if (status >= 500) {
        count_failure(conn, OUTCOME_OK, status);
        health_count_error(conn);
    } else {
        health_count_success(conn);
    }
}

void probe_on_complete(struct fetch *f)
{
    struct conn *conn = f->conn;
    unsigned status = f->status;

    take_off(f);
    judge(conn, status);
}

void probe_on_failure(struct fetch *f, enum outcome outcome)
{
    struct conn *conn = f->conn;

    take_off(f);
    count_failure(conn, outcome, 0);
    health_count_error(conn);
}

/* An answer that comes later would be taken for another request's, and a peer that does not answer a PING is gone. */
void probe_on_timeout(struct fetch *f)
{
    struct conn *conn = f->conn;

    if (!conn->exchange->ping)
        conn->exchange->cancel(conn, f);
    probe_on_failure(f, OUTCOME_REQUEST_TIMEOUT);
    pool_retire(conn);
}

void probe_on_pong(struct conn *conn)
{
    if (!conn->probe)
        return;
    take_off(conn->probe);
    health_count_success(conn);
}

void probe_abandon(struct conn *conn, bool failed)
{
    struct fetch *f = conn->probe;

    if (!f)
        return;
    if (!conn->exchange->ping)
        conn->exchange->cancel(conn, f);
    if (failed)
        probe_on_failure(f, OUTCOME_CONNECTION_BROKEN);
    else
        take_off(f);
}

bool probe_occupies(const struct conn *conn)
{
    return conn->probe && !conn->exchange->ping;
}
