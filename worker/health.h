#pragma once
/* How well connections and hosts are, judged by what came of the requests on them: the error count of a connection
 * (conn->errors), whether its last status was a healthy one (conn->suspect), and how long answers of a host usually
 * take. The pool asks and acts; nothing here closes a connection but the sweep. */

#include <stdbool.h>
#include <stdint.h>

#include "common/outcome.h"
#include "worker/worker.h"

#define CONN_ERRORS_MAX 10 /* one more, and the connection is given up */

struct conn;
struct pool_host;

/* The sweeps begin to be counted from now. */
void health_open(struct worker *w);
/* An answer came whole on a connection that lives on: a status of 500 and above is an error, every other takes one
 * error away. */
void health_on_answer(struct conn *conn, unsigned status, uint64_t took_us);
/* A request that was sent `waited_us` ago failed on a connection that may live on: a time-out or a reset stream is an
 * error of the connection, other outcomes say nothing of it. */
void health_on_failure(struct conn *conn, enum outcome outcome, uint64_t waited_us);
/* One error more, of a request or a probe. */
void health_count_error(struct conn *conn);
/* One error less. */
void health_count_success(struct conn *conn);
/* The connection has had so many errors that it must take no further request. */
bool health_is_spoilt(const struct conn *conn);
/* Time for one request to the host, µs: the option request_timeout, or with adaptive_timeout three times what answers
 * have taken lately. */
uint64_t health_request_us(const struct pool_host *host);
/* Closes what has been idle for too long or is too old, once in cleanup_interval; returns when it is next due
 * (monotonic µs). Belt and braces: idle timers and leases see to both before. */
uint64_t health_sweep(struct worker *w);
