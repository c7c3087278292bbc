#pragma once
/* The admin face: HTTP on the Unix socket admin.sock in the state directory (mode 0600), and on TCP when the option
 * `listen` names an address. It answers GET and HEAD of
 *   /metrics   Prometheus text        /stats   all numbers, JSON
 *   /health    200 healthy, 503 not   /ready   200 takes work, 503 not (draining, or no worker)
 * from the shared pages alone, in the coordinator's loop; nothing is done while nobody asks. Each connection has one
 * request and a few seconds for it. */

#include <event2/event.h>

#include "common/options.h"
#include "shm/region.h"

struct admin;

/* Opens the sockets and writes the path of the first into the region. A socket that a dead fleet left is replaced.
 * Everything but `dir` is borrowed. NULL, with a message in the log: an address is in use or makes no sense, or another
 * fleet serves this directory. */
struct admin *admin_open(struct event_base *base, struct region *region, const char *dir,
                         const struct options *options);
/* Closes all connections and removes the socket; NULL is none. */
void admin_close(struct admin *a);
