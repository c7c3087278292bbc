/* One list order to each worker, and one answer when all have told. */
#include "coordinator/conn_gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/log.h"
#include "common/prewarm_entry.h"

#define STATUS_OK       200
#define STATUS_NONE     503
#define STATUS_BAD      400
#define STATUS_TOO_MUCH 413
#define TEXT_BYTES_MAX  (64u << 20)

/* One request under way. */
struct gathering {
    TAILQ_ENTRY(gathering) link;
    struct conn_gather *owner;
    struct admin_request *request;
    unsigned waiting;
    bool too_much;
    struct buffer text;
};

struct conn_gather {
    struct steering_parts parts;
    TAILQ_HEAD(, gathering) gatherings;
};

static void free_gathering(struct gathering *g)
{
    TAILQ_REMOVE(&g->owner->gatherings, g, link);
    buffer_fini(&g->text);
    free(g);
}

static void refuse(struct admin_request *request, int status, const char *what, const char *reason)
{
    char message[512];
    int len = snprintf(message, sizeof message, "%s%.200s%s\n", what, *what ? ": " : "", reason);

    admin_answer(request, status, ADMIN_TEXT, message, (size_t)len);
}

static void answer(struct gathering *g)
{
    if (g->too_much)
        refuse(g->request, STATUS_TOO_MUCH, "", "there are too many connections to list; name a host by --host");
    else
        admin_answer(g->request, g->text.len ? STATUS_OK : STATUS_NONE, ADMIN_JSON_LINES, g->text.data, g->text.len);
    free_gathering(g);
}

static void on_part(void *user, const char *bytes, size_t len)
{
    struct gathering *g = user;

    g->too_much |= g->text.len + len > TEXT_BYTES_MAX;
    /* A worker's bytes: only what looks like lines is passed on. */
    if (g->too_much || len == 0 || bytes[0] != '{' || bytes[len - 1] != '\n')
        return;
    buffer_append(&g->text, bytes, len);
}

static void tell_missing(unsigned worker, const char *why)
{
    log_event(LOG_WARN, "connections-not-told", "worker=%u reason=\"%s\"", worker, why);
}

static void on_done(void *user, const struct chore_answer *a)
{
    struct gathering *g = user;

    if (a->outcome != OUTCOME_OK)
        tell_missing(a->worker, "it died before it had told all");
    if (--g->waiting == 0)
        answer(g);
}

static void gather(struct conn_gather *c, struct admin_request *request, uint32_t ip, const struct url *url)
{
    struct gathering *g = calloc(1, sizeof *g);

    if (!g)
        die("out of memory: no room for a list of connections");
    g->owner = c;
    g->request = request;
    TAILQ_INSERT_TAIL(&c->gatherings, g, link);
    struct chore_order order = {
        .kind = TASK_LIST, .ip = ip, .url = url, .on_part = on_part, .on_done = on_done, .user = g};
    for (unsigned w = 0; w < fleet_workers(c->parts.fleet); w++) {
        /* One that does not run has none. */
        if (fleet_worker(c->parts.fleet, w)->pid == 0)
            continue;
        if (chores_give(c->parts.chores, w, &order))
            g->waiting++;
        else
            tell_missing(w, "its ring is full");
    }
    if (g->waiting == 0)
        answer(g);
}

static bool parse_host(const char *host, struct buffer *text, struct url *url, const char **reason)
{
    if (prewarm_host_parse(host, strlen(host), text, url, reason) != OUTCOME_OK)
        return false;
    *reason = "it is more than a name; leave out scheme and port";
    return !strstr(host, "://") && url->port_is_default;
}

static void on_request(void *user, struct admin_request *request)
{
    struct conn_gather *c = user;
    const char *ip_text = admin_query(request, "ip");
    const char *host = admin_query(request, "host");
    const char *reason = "";
    struct buffer text = {0};
    struct address address;
    struct url url;

    if (ip_text && !address_parse(ip_text, strlen(ip_text), &address)) {
        refuse(request, STATUS_BAD, ip_text, "it is no IP address");
    } else if (host && !parse_host(host, &text, &url, &reason)) {
        refuse(request, STATUS_BAD, host, reason);
    } else {
        uint32_t ip = ip_text ? frontier_find_address(c->parts.frontier, &address) : IP_NONE;
        if (ip_text && ip == IP_NONE)
            admin_answer(request, STATUS_NONE, ADMIN_JSON_LINES, "", 0);
        else
            gather(c, request, ip, host ? &url : NULL);
    }
    buffer_fini(&text);
}

static const struct admin_action actions[] = {{"GET", "/connections", on_request}};

struct conn_gather *conn_gather_new(const struct steering_parts *parts)
{
    struct conn_gather *c = calloc(1, sizeof *c);

    if (!c)
        die("out of memory: no room for lists of connections");
    c->parts = *parts;
    TAILQ_INIT(&c->gatherings);
    admin_add(parts->admin, actions, sizeof actions / sizeof actions[0], c);
    return c;
}

void conn_gather_free(struct conn_gather *c)
{
    if (!c)
        return;
    for (struct gathering *g = TAILQ_FIRST(&c->gatherings), *next; g; g = next) {
        next = TAILQ_NEXT(g, link);
        free_gathering(g);
    }
    free(c);
}
