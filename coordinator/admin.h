#pragma once
/* The admin face: HTTP on the Unix socket admin.sock in the state directory (mode 0600), and on TCP when the option
 * `listen` names an address. It answers GET and HEAD of
 *   /metrics   Prometheus text        /stats   all numbers, JSON
 *   /health    200 healthy, 503 not   /ready   200 takes work, 503 not (draining, or no worker)
 * from the shared pages alone, in the coordinator's loop; nothing is done while nobody asks. Each connection has one
 * request and a few seconds for it. */

#include <event2/event.h>

#include "common/options.h"
#include "common/record.h"
#include "shm/region.h"

#define ADMIN_BODY_MAX   1048576
#define ADMIN_JSON       "application/json"
#define ADMIN_JSON_LINES "application/x-ndjson"
#define ADMIN_TEXT       "text/plain; charset=utf-8"

struct admin;

/* Something that the fleet is asked to do, over the Unix socket alone. Answered exactly once by admin_answer(), at once
 * or later; later than the client's patience does no harm. */
struct admin_request;

struct admin_action {
    const char *method; /* "GET" or "POST" */
    const char *path;   /* "/set" */
    void (*run)(void *user, struct admin_request *request);
};

/* Opens the sockets and writes the path of the first into the region. A socket that a dead fleet left is replaced.
 * Everything but `dir` is borrowed. NULL, with a message in the log: an address is in use or makes no sense, or another
 * fleet serves this directory. */
struct admin *admin_open(struct event_base *base, struct region *region, const char *dir,
                         const struct options *options);
/* Closes all connections and removes the socket; NULL is none. */
void admin_close(struct admin *a);

/* Adds actions; the table and `user` are borrowed until admin_close(), which ends what is unanswered by itself. */
void admin_add(struct admin *a, const struct admin_action *actions, size_t count, void *user);
/* A value of the query, decoded; NULL when it is not given. Borrowed until the answer. */
const char *admin_query(const struct admin_request *request, const char *key);
/* The request's body, at most ADMIN_BODY_MAX bytes; borrowed until the answer. */
struct span admin_body(const struct admin_request *request);
/* Sends `text` (copied) with an HTTP status; `type` is a constant: ADMIN_JSON, ADMIN_JSON_LINES or ADMIN_TEXT. */
void admin_answer(struct admin_request *request, int status, const char *type, const char *text, size_t len);
