#pragma once
/* Probes: a look at connections that have been idle for long, HEAD / over HTTP/1.1 and PING over HTTP/2. While a HEAD
 * runs its connection is not lent; over HTTP/2 it may be. A probe is no use of the connection: neither its place among
 * the idle ones nor its idle time changes. The probe is a fetch that never was a task (kind TASK_PROBE): it is in no
 * list but conn->probe, and no message tells of it. */

#include <stdbool.h>

#include "common/outcome.h"
#include "worker/fetch.h"

struct conn;
struct pool_host;

/* Begins a probe on each connection of the host that has been idle for longer than health_check_interval; returns their
 * number. */
unsigned probe_begin_all(struct pool_host *host);
/* The fetch is a probe, and the three below are for it. */
static inline bool probe_is(const struct fetch *f)
{
    return f->conn && f->m.kind == TASK_PROBE;
}
/* From the fetch's calls of the same names: its answer is whole; it failed; its time is over. Gone after this. */
void probe_on_complete(struct fetch *f);
void probe_on_failure(struct fetch *f, enum outcome outcome);
void probe_on_timeout(struct fetch *f);
/* The peer has answered a PING of this connection. */
void probe_on_pong(struct conn *conn);
/* The connection ends while it is probed: by a failure, or for another reason. */
void probe_abandon(struct conn *conn, bool failed);
/* The connection must not be lent for its probe's sake. */
bool probe_occupies(const struct conn *conn);
