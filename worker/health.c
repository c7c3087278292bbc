/* Judging connections by the answers on them, the time that a host is given, and the sweep over idle connections. */
#include "worker/health.h"

#include "common/log.h"
#include "worker/conn.h"
#include "worker/pool.h"
#include "worker/pool_parts.h"

#define LEARNING_ANSWERS   5   /* before these the average says little */
#define AVERAGE_WEIGHT     0.1 /* of the newest answer */
#define TIMES_THE_AVERAGE  3
#define STATUS_ERROR_FIRST 500

void health_open(struct worker *w)
{
    w->swept_at_us = w->now_us;
}

void health_count_error(struct conn *conn)
{
    conn->errors++;
}

void health_count_success(struct conn *conn)
{
    conn->errors -= conn->errors > 0;
}

bool health_is_spoilt(const struct conn *conn)
{
    return conn->errors > CONN_ERRORS_MAX;
}

static void count_time(struct pool_host *host, uint64_t took_us)
{
    double took = (double)took_us;

    host->response_us += host->responses ? (took - host->response_us) * AVERAGE_WEIGHT : took;
    if (host->responses < LEARNING_ANSWERS)
        host->responses++;
}

void health_on_answer(struct conn *conn, unsigned status, uint64_t took_us)
{
    if (status >= STATUS_ERROR_FIRST)
        health_count_error(conn);
    else
        health_count_success(conn);
    conn->suspect = !status_set_has(&conn->worker->healthy, status);
    count_time(conn->host, took_us);
}

void health_on_failure(struct conn *conn, enum outcome outcome, uint64_t waited_us)
{
    /* Counted as an answer that took as long: else a host that became slower than its limit would never be given more.
     */
    if (outcome == OUTCOME_REQUEST_TIMEOUT)
        count_time(conn->host, waited_us);
    if (outcome == OUTCOME_REQUEST_TIMEOUT || outcome == OUTCOME_CONNECTION_BROKEN || outcome == OUTCOME_PROTOCOL_ERROR)
        health_count_error(conn);
}

uint64_t health_request_us(const struct pool_host *host)
{
    const struct options *o = &host->worker->options;
    uint64_t ceiling = o->request_timeout * 1000;
    uint64_t floor = o->adaptive_timeout_min * 1000;

    if (!o->adaptive_timeout || host->responses < LEARNING_ANSWERS)
        return ceiling;
    uint64_t wanted = (uint64_t)(host->response_us * TIMES_THE_AVERAGE);
    if (wanted < floor)
        wanted = floor;
    return wanted < ceiling ? wanted : ceiling;
}

uint64_t health_sweep(struct worker *w)
{
    const struct options *o = &w->options;
    struct conn *next;

    if (w->now_us < w->swept_at_us + o->cleanup_interval * 1000)
        return w->swept_at_us + o->cleanup_interval * 1000;
    w->swept_at_us = w->now_us;
    STATS_ADD(w->page, sweeps, 1);
    for (struct conn *conn = TAILQ_FIRST(&w->pool->idle); conn; conn = next) {
        next = TAILQ_NEXT(conn, idle);
        if (w->now_us - conn->idle_since_us <= o->idle_timeout * 1000 &&
            w->now_us - conn->opened_us <= o->max_lifetime * 1000)
            continue;
        STATS_ADD(w->page, swept, 1);
        conn_close(conn);
    }
    return w->now_us + o->cleanup_interval * 1000;
}
