/* Which hosts are asked for, and one answer when all answers have come. */
#include "coordinator/dns_refresh.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/json.h"
#include "common/log.h"
#include "common/prewarm_entry.h"

#define STATUS_OK  200
#define STATUS_BAD 400

/* One request under way. */
struct refreshing {
    TAILQ_ENTRY(refreshing) link;
    struct dns_refresh *owner;
    struct admin_request *request;
    struct host **hosts; /* held; sorted by index, NULL nowhere */
    size_t count, max, answered;
    struct buffer text;
};

struct dns_refresh {
    struct steering_parts parts;
    TAILQ_HEAD(, refreshing) under_way;
};

static void free_refreshing(struct refreshing *r)
{
    TAILQ_REMOVE(&r->owner->under_way, r, link);
    free(r->hosts);
    buffer_fini(&r->text);
    free(r);
}

static void put_addresses(struct buffer *out, const struct address *list, uint32_t count)
{
    char text[ADDRESS_TEXT_MAX];

    buffer_append_char(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buffer_append_char(out, ',');
        address_format(&list[i], text);
        json_put_string(out, text, strlen(text));
    }
    buffer_append_char(out, ']');
}

static void put_line(struct refreshing *r, const struct host *host, enum outcome outcome, const struct address *before,
                     uint32_t before_count)
{
    struct buffer *out = &r->text;
    bool usable = host->state == HOST_USABLE;
    struct address *now = usable ? frontier_addresses(r->owner->parts.frontier, host) : NULL;
    const char *scheme = host->scheme == URL_HTTPS ? "https" : "http";
    const char *code = outcome == OUTCOME_OK ? "ok" : outcome_name(outcome);

    json_open(out);
    json_member_string(out, "name", host->name, host->name_len);
    json_member_string(out, "scheme", scheme, strlen(scheme));
    json_member_uint(out, "port", host->port);
    json_member_string(out, "outcome", code, strlen(code));
    json_key(out, "old");
    put_addresses(out, before, before_count);
    json_key(out, "new");
    put_addresses(out, now, now ? host->run.count : 0);
    json_close(out);
    buffer_append_char(out, '\n');
    free(now);
}

static void finish(struct refreshing *r)
{
    admin_answer(r->request, STATUS_OK, ADMIN_JSON_LINES, r->text.len ? r->text.data : "", r->text.len);
    for (size_t i = 0; i < r->count; i++)
        frontier_let_go(r->owner->parts.frontier, r->hosts[i]);
    free_refreshing(r);
}

static int by_index(const void *a, const void *b)
{
    uint32_t left = (*(struct host *const *)a)->index;
    uint32_t right = (*(struct host *const *)b)->index;

    return left < right ? -1 : left > right;
}

static void on_answer(void *user, struct host *host, enum outcome outcome, const struct address *before,
                      uint32_t before_count)
{
    struct dns_refresh *d = user;
    struct refreshing *next;

    for (struct refreshing *r = TAILQ_FIRST(&d->under_way); r; r = next) {
        next = TAILQ_NEXT(r, link);
        if (!bsearch(&host, r->hosts, r->count, sizeof(struct host *), by_index))
            continue;
        put_line(r, host, outcome, before, before_count);
        if (++r->answered == r->count)
            finish(r);
    }
}

/* --- choosing --- */

struct choice {
    struct refreshing *refreshing;
    const struct url *url; /* NULL: all that are in use */
    unsigned known;
};

static bool is_chosen(const struct choice *choice, const struct host *host)
{
    const struct steering_parts *parts = &choice->refreshing->owner->parts;
    const struct url *url = choice->url;

    if (!url)
        return host->held_count > 0 || iptable_host_open(&parts->region->table, host->index) > 0;
    return host->name_len == url->host_len && memcmp(host->name, url->text + url->host_offset, url->host_len) == 0;
}

static void on_host(void *user, struct host *host)
{
    struct choice *choice = user;
    struct refreshing *r = choice->refreshing;

    if (!is_chosen(choice, host))
        return;
    choice->known++;
    if (!frontier_refresh(r->owner->parts.frontier, host))
        return;
    if (r->count == r->max) {
        r->max = r->max ? 2 * r->max : 16;
        r->hosts = realloc(r->hosts, r->max * sizeof(struct host *));
        if (!r->hosts)
            die("out of memory: no room for the names that are asked for");
    }
    frontier_hold(r->owner->parts.frontier, host);
    r->hosts[r->count++] = host;
}

static void refuse(struct admin_request *request, const char *host, const char *reason)
{
    char message[512];
    int len = snprintf(message, sizeof message, "%.200s: %s\n", host, reason);

    admin_answer(request, STATUS_BAD, ADMIN_TEXT, message, (size_t)len);
}

static void begin(struct dns_refresh *d, struct admin_request *request, const char *host, const struct url *url)
{
    struct refreshing *r = calloc(1, sizeof *r);
    struct choice choice = {.refreshing = r, .url = url};

    if (!r)
        die("out of memory: no room for a refresh of names");
    r->owner = d;
    r->request = request;
    TAILQ_INSERT_TAIL(&d->under_way, r, link);
    /* The answers come in a turn of the resolver's own, so all hosts are there before the first. */
    frontier_each_host(d->parts.frontier, on_host, &choice);
    if (url && choice.known == 0) {
        refuse(request, host, "the fleet has no host of this name");
        free_refreshing(r);
    } else if (r->count == 0) {
        finish(r);
    } else {
        qsort(r->hosts, r->count, sizeof(struct host *), by_index);
    }
}

static void on_request(void *user, struct admin_request *request)
{
    const char *host = admin_query(request, "host");
    const char *reason = "";
    struct buffer text = {0};
    struct url url;

    if (host && prewarm_host_parse(host, strlen(host), &text, &url, &reason) != OUTCOME_OK)
        refuse(request, host, reason);
    else
        begin(user, request, host, host ? &url : NULL);
    buffer_fini(&text);
}

static const struct admin_action actions[] = {{"POST", "/dns/refresh", on_request}};

struct dns_refresh *dns_refresh_new(const struct steering_parts *parts)
{
    struct dns_refresh *d = calloc(1, sizeof *d);

    if (!d)
        die("out of memory: no room for refreshes of names");
    d->parts = *parts;
    TAILQ_INIT(&d->under_way);
    frontier_watch(parts->frontier, on_answer, d);
    admin_add(parts->admin, actions, sizeof actions / sizeof actions[0], d);
    return d;
}

void dns_refresh_free(struct dns_refresh *d)
{
    if (!d)
        return;
    for (struct refreshing *r = TAILQ_FIRST(&d->under_way), *next; r; r = next) {
        next = TAILQ_NEXT(r, link);
        free_refreshing(r);
    }
    free(d);
}
