/* The admin face: evhttp over the fleet's pages, with bounds that evhttp does not have: on the number of connections
 * and on the life of each. */
#include "coordinator/admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/admin_listen.h"
#include "shm/stats_metrics.h"

#define CONNECTIONS_MAX  32
#define LIFE_US          10000000  /* of a connection: request, answer and all */
#define ACTION_LIFE_US   600000000 /* of a connection whose action is under way */
#define IDLE_S           5
#define SWEEP_US         500000
#define HEAD_BYTES_MAX   8192
#define TABLES_MAX       16 /* of actions */
#define TELL_AGAIN_US    10000000
#define STATUS_FORBIDDEN 403

/* libevent gives its callback for errors of a listener nothing of ours. There is one face a process. */
static struct admin *the_admin;

/* A reference to a connection of evhttp's, which owns it and its descriptor. */
struct admin_conn {
    struct bufferevent *bev; /* NULL: the place is free */
    uint64_t until_us;
};

struct admin_request {
    struct admin *admin;
    struct evhttp_request *http; /* NULL: the client has gone */
    const struct admin_action *action;
    struct evkeyvalq query;
    struct buffer body;
    TAILQ_ENTRY(admin_request) link;
};

struct admin_table {
    const struct admin_action *actions;
    size_t count;
    void *user;
};

struct admin {
    const struct region *region;
    struct stats_limits limits;
    struct evhttp *http;
    struct event *sweep;
    struct evconnlistener *listeners[2]; /* the HTTP server's */
    unsigned listener_count;
    bool deaf; /* no descriptor was left for a client: nobody is listened to until the next sweep */
    uint64_t deaf_told_us;
    struct admin_conn conns[CONNECTIONS_MAX];
    struct admin_table tables[TABLES_MAX];
    size_t table_count;
    TAILQ_HEAD(, admin_request) unanswered;
    struct buffer text;
    char path[PATH_MAX];
};

/* --- answers --- */

static int put_metrics(struct admin *a, const struct stats_report *report)
{
    stats_metrics_put(&a->text, a->region, report);
    return HTTP_OK;
}

static int put_stats(struct admin *a, const struct stats_report *report)
{
    stats_report_put_json(&a->text, report);
    return HTTP_OK;
}

static int put_health(struct admin *a, const struct stats_report *report)
{
    stats_report_put_health(&a->text, report);
    return stats_report_health(report).healthy ? HTTP_OK : HTTP_SERVUNAVAIL;
}

static int put_ready(struct admin *a, const struct stats_report *report)
{
    stats_report_put_ready(&a->text, report);
    return stats_report_ready(report) ? HTTP_OK : HTTP_SERVUNAVAIL;
}

static const struct page {
    const char *path, *type;
    int (*put)(struct admin *a, const struct stats_report *report); /* into a->text; returns the status */
} pages[] = {
    {"/metrics", STATS_METRICS_TYPE, put_metrics},
    {"/stats", ADMIN_JSON, put_stats},
    {"/health", ADMIN_JSON, put_health},
    {"/ready", ADMIN_JSON, put_ready},
};

static const char *path_of(struct evhttp_request *request)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

    return path ? path : "";
}

static const struct page *find_page(const char *path)
{
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(pages[i].path, path) == 0)
            return &pages[i];
    }
    return NULL;
}

/* Sends the text, or with HEAD its length alone. One request a connection: then a bound on its life cuts no other. */
static void send_text(struct evhttp_request *request, int status, const char *type, const char *text, size_t len)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    char length[32];

    snprintf(length, sizeof length, "%zu", len);
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Content-Length", length);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "Connection", "close");
    if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
        evbuffer_add(evhttp_request_get_output_buffer(request), text, len);
    evhttp_send_reply(request, status, NULL, NULL);
}

static void send_words(struct evhttp_request *request, int status, const char *words)
{
    send_text(request, status, ADMIN_TEXT, words, strlen(words));
}

static void refuse_method(struct evhttp_request *request, const char *allowed)
{
    char words[64];

    evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", allowed);
    snprintf(words, sizeof words, "only %s %s answered\n", allowed, strchr(allowed, ',') ? "are" : "is");
    send_words(request, HTTP_BADMETHOD, words);
}

static void answer_page(struct admin *a, struct evhttp_request *request, const struct page *page)
{
    enum evhttp_cmd_type method = evhttp_request_get_command(request);
    struct stats_report report;

    if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
        refuse_method(request, "GET, HEAD");
        return;
    }
    buffer_clear(&a->text);
    stats_report_read(a->region, &a->limits, &report);
    int status = page->put(a, &report);
    send_text(request, status, page->type, a->text.data, a->text.len);
}

/* --- actions --- */

static const struct admin_action *find_action(const struct admin *a, const char *path, void **user_out)
{
    for (size_t t = 0; t < a->table_count; t++) {
        for (size_t i = 0; i < a->tables[t].count; i++) {
            if (strcmp(a->tables[t].actions[i].path, path) == 0) {
                *user_out = a->tables[t].user;
                return &a->tables[t].actions[i];
            }
        }
    }
    return NULL;
}

/* Who may reach the socket file may steer; who merely reaches a port may only look. */
static bool may_act(struct evhttp_request *request)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(request);
    struct sockaddr_storage local = {0};
    socklen_t len = sizeof local;
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));

    return getsockname(fd, (struct sockaddr *)&local, &len) == 0 && local.ss_family == AF_UNIX;
}

static void on_client_gone(struct evhttp_connection *conn, void *arg)
{
    struct admin_request *r = arg;

    (void)conn;
    r->http = NULL;
}

/* From now on the connection has so much time. */
static void give_time(struct admin *a, struct evhttp_connection *http, uint64_t life_us)
{
    const struct bufferevent *bev = evhttp_connection_get_bufferevent(http);

    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (a->conns[i].bev == bev)
            a->conns[i].until_us = clock_us() + life_us;
    }
}

static void run_action(struct admin *a, struct evhttp_request *request, const struct admin_action *action, void *user)
{
    struct admin_request *r = calloc(1, sizeof *r);
    struct evbuffer *body = evhttp_request_get_input_buffer(request);
    size_t len = evbuffer_get_length(body);

    if (!r)
        die("out of memory: no room for a request of the admin face");
    *r = (struct admin_request){.admin = a, .http = request, .action = action};
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    TAILQ_INIT(&r->query);
    if (query && evhttp_parse_query_str(query, &r->query) != 0)
        TAILQ_INIT(&r->query);
    if (len) {
        buffer_reserve(&r->body, len);
        r->body.len = (size_t)evbuffer_remove(body, r->body.data, len);
    }
    TAILQ_INSERT_TAIL(&a->unanswered, r, link);
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_client_gone, r);
    /* What the fleet is asked to do may take longer than the asking. */
    give_time(a, evhttp_request_get_connection(request), ACTION_LIFE_US);
    evhttp_connection_set_timeout(evhttp_request_get_connection(request), ACTION_LIFE_US / 1000000);
    action->run(user, r);
}

const char *admin_query(const struct admin_request *request, const char *key)
{
    return evhttp_find_header(&request->query, key);
}

struct span admin_body(const struct admin_request *request)
{
    return (struct span){request->body.data ? request->body.data : "", request->body.len};
}

static void free_request(struct admin_request *r)
{
    TAILQ_REMOVE(&r->admin->unanswered, r, link);
    evhttp_clear_headers(&r->query);
    buffer_fini(&r->body);
    free(r);
}

void admin_answer(struct admin_request *request, int status, const char *type, const char *text, size_t len)
{
    if (request->http) {
        evhttp_connection_set_closecb(evhttp_request_get_connection(request->http), NULL, NULL);
        give_time(request->admin, evhttp_request_get_connection(request->http), LIFE_US);
        send_text(request->http, status, type, text, len);
    }
    free_request(request);
}

void admin_add(struct admin *a, const struct admin_action *actions, size_t count, void *user)
{
    if (a->table_count == TABLES_MAX)
        die("internal: more tables of actions than the admin face has room for");
    a->tables[a->table_count++] = (struct admin_table){actions, count, user};
}

static void on_request(struct evhttp_request *request, void *arg)
{
    struct admin *a = arg;
    const char *path = path_of(request);
    const struct page *page = find_page(path);
    void *user = NULL;
    const struct admin_action *action = page ? NULL : find_action(a, path, &user);

    if (page) {
        answer_page(a, request, page);
    } else if (!action) {
        send_words(request, HTTP_NOTFOUND, "there are /metrics, /stats, /health and /ready\n");
    } else if (!may_act(request)) {
        send_words(request, STATUS_FORBIDDEN, "only the socket in the state directory may steer the fleet\n");
    } else if ((evhttp_request_get_command(request) == EVHTTP_REQ_POST) != (strcmp(action->method, "POST") == 0)) {
        refuse_method(request, action->method);
    } else {
        run_action(a, request, action, user);
    }
}

/* --- connections --- */

/* evhttp takes its callbacks away when it is done with a connection. The descriptor is open until forget(), which takes
 * its events out of the loop first: closed before, its number would be another socket's, and the loop would take that
 * one for watched already. */
static bool is_alive(const struct admin_conn *conn)
{
    bufferevent_event_cb on_event = NULL;

    bufferevent_getcb(conn->bev, NULL, NULL, &on_event, NULL);
    return on_event != NULL;
}

static void forget(struct admin_conn *conn)
{
    bufferevent_decref(conn->bev);
    conn->bev = NULL;
}

/* Ends it from below: evhttp sees the end of the stream and cleans up. */
static void cut(struct admin_conn *conn)
{
    if (is_alive(conn))
        shutdown(bufferevent_getfd(conn->bev), SHUT_RDWR);
    forget(conn);
}

/* Returns the number of connections that are left. */
static unsigned sweep(struct admin *a)
{
    uint64_t now = clock_us();
    unsigned left = 0;

    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        struct admin_conn *conn = &a->conns[i];
        if (!conn->bev)
            continue;
        if (!is_alive(conn))
            forget(conn);
        else if (now > conn->until_us)
            cut(conn);
        left += conn->bev != NULL;
    }
    return left;
}

static void arm_sweep(struct admin *a)
{
    struct timeval tv = {.tv_usec = SWEEP_US};

    event_add(a->sweep, &tv);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct admin *a = arg;

    (void)fd;
    (void)what;
    if (a->deaf) {
        a->deaf = false;
        for (unsigned i = 0; i < a->listener_count; i++)
            evconnlistener_enable(a->listeners[i]);
    }
    if (sweep(a) > 0)
        arm_sweep(a);
}

/* A client that can't be let in keeps knocking: the loop would turn for nothing else. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct admin *a = the_admin;
    int error = errno;
    uint64_t now = clock_us();

    (void)arg;
    evconnlistener_disable(listener);
    a->deaf = true;
    arm_sweep(a);
    if (a->deaf_told_us && now - a->deaf_told_us < TELL_AGAIN_US)
        return;
    a->deaf_told_us = now;
    log_event(LOG_WARN, "admin-refuses", "error=\"%s\" hint=\"raise the limit on open files (ulimit -n)\"",
              strerror(error));
}

/* A free place, or that of the oldest, which had its time. */
static struct admin_conn *take_place(struct admin *a)
{
    struct admin_conn *oldest = &a->conns[0];

    sweep(a);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (!a->conns[i].bev)
            return &a->conns[i];
        if (a->conns[i].until_us < oldest->until_us)
            oldest = &a->conns[i];
    }
    cut(oldest);
    return oldest;
}

/* evhttp asks for the stream of a connection that it has accepted. */
static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct admin *a = arg;
    struct admin_conn *conn = take_place(a);

    conn->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!conn->bev)
        return NULL;
    bufferevent_incref(conn->bev);
    conn->until_us = clock_us() + LIFE_US;
    if (!event_pending(a->sweep, EV_TIMEOUT, NULL))
        arm_sweep(a);
    return conn->bev;
}

/* --- opening and closing --- */

/* Takes the descriptor over. */
static void add_listener(struct admin *a, struct event_base *base, int fd)
{
    struct evconnlistener *listener =
        evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);

    if (!listener || !evhttp_bind_listener(a->http, listener))
        die("out of memory: no room for the admin face");
    evconnlistener_set_error_cb(listener, on_accept_error);
    a->listeners[a->listener_count++] = listener;
}

static bool listen_all(struct admin *a, struct event_base *base, const char *dir, const struct options *o)
{
    char real[PATH_MAX];
    struct endpoint endpoint;

    if (!realpath(dir, real) || (size_t)snprintf(a->path, sizeof a->path, "%s/admin.sock", real) >= sizeof a->path) {
        log_event(LOG_ERROR, "no-admin", "dir=\"%s\" error=\"%s\"", dir, strerror(errno));
        *a->path = '\0';
        return false;
    }
    int fd = admin_listen_unix(a->path);
    if (fd < 0) {
        *a->path = '\0';
        return false;
    }
    add_listener(a, base, fd);
    if (!*o->listen)
        return true;
    if (!endpoint_parse(o->listen, &endpoint) || (fd = admin_listen_tcp(&endpoint, o->listen)) < 0)
        return false;
    add_listener(a, base, fd);
    return true;
}

static void set_up_http(struct admin *a, struct event_base *base)
{
    a->http = evhttp_new(base);
    a->sweep = evtimer_new(base, on_sweep, a);
    if (!a->http || !a->sweep)
        die("out of memory: no room for the admin face");
    evhttp_set_timeout(a->http, IDLE_S);
    evhttp_set_max_headers_size(a->http, HEAD_BYTES_MAX);
    evhttp_set_max_body_size(a->http, ADMIN_BODY_MAX);
    /* All that evhttp knows, so that on_request() can refuse them as HTTP wants it: by 405 and Allow. */
    evhttp_set_allowed_methods(a->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
                                            EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
    evhttp_set_bevcb(a->http, on_connection, a);
    evhttp_set_gencb(a->http, on_request, a);
}

struct admin *admin_open(struct event_base *base, struct region *region, const char *dir, const struct options *options)
{
    struct admin *a = calloc(1, sizeof *a);

    if (!a)
        die("out of memory: no room for the admin face");
    a->region = region;
    the_admin = a;
    TAILQ_INIT(&a->unanswered);
    stats_limits_read(region, &a->limits);
    set_up_http(a, base);
    if (!listen_all(a, base, dir, options) || !region_set_admin_path(region, a->path)) {
        admin_close(a);
        return NULL;
    }
    return a;
}

void admin_close(struct admin *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (a->conns[i].bev)
            forget(&a->conns[i]);
    }
    struct admin_request *r;
    while ((r = TAILQ_FIRST(&a->unanswered))) {
        if (r->http)
            evhttp_connection_set_closecb(evhttp_request_get_connection(r->http), NULL, NULL);
        free_request(r);
    }
    evhttp_free(a->http);
    event_free(a->sweep);
    if (*a->path)
        unlink(a->path);
    buffer_fini(&a->text);
    free(a);
}
