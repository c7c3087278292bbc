#pragma once
/* What an answer says of the address it came from, for its host alone: a status in blacklist_status blackens it, in
 * shared memory, so that no worker uses it from the next lease on; a 2xx whitens one of which nothing was known. What
 * an answer changed is told to the coordinator, who keeps it. */

#include <stdbool.h>
#include <stdint.h>

#include "shm/iptable.h"
#include "worker/worker.h"

struct pool_host;

/* Reads blacklist_status; pool_new() calls it. */
void access_open(struct worker *w);
/* Whether the policy lets this worker connect to `address` at all, whatever its access. */
bool access_policy_allows(const struct worker *w, const struct address *address);
/* Judges an answer's status. ACCESS_BLACK: it refuses the address, which is black now, and the connection takes no new
 * request; unless a list holds it fixed. Else ACCESS_UNKNOWN. *learned_out: what the coordinator is to be told of
 * conn->ip; ACCESS_UNKNOWN: nothing, it is known. */
enum access_state access_judge(struct conn *conn, unsigned status, enum access_state *learned_out);
/* The same for an answer that belongs to no fetch, such as a probe's: what is learned is told by a RESULT_NOTE. */
enum access_state access_judge_probe(struct conn *conn, unsigned status);
/* The connection's address has turned black, whoever saw it. One load. */
bool access_is_black(const struct conn *conn);
/* Holds the connection against a new list of its host; false: its address is in it no more. */
bool access_follow(struct conn *conn);
/* Some address of the host is not black and allowed. Searches the list. */
bool access_has_usable(const struct pool_host *host);
