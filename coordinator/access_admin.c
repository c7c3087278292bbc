/* Reading requests about addresses: all of one is judged before any of it is done. */
#include "coordinator/access_admin.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define STATUS_OK      200
#define STATUS_INVALID 400
#define LINE_BYTES_MAX 128          /* of an address or range */
#define EXPIRES_MS_MAX 315360000000 /* ten years */

struct request {
    struct ip_prefix_list list;
    struct access_manual manual;
    char host[STORE_ORIGIN_MAX];
    char fault[IP_FAULT_MAX];
};

static bool refuse(struct request *r, const char *what, const char *value)
{
    snprintf(r->fault, sizeof r->fault, "%s%s%.100s%s", what, value ? ": \"" : "", value ? value : "",
             value ? "\"" : "");
    return false;
}

static bool read_lines(struct request *r, struct span body)
{
    const char *end = body.data + body.len;
    char entry[LINE_BYTES_MAX];

    for (const char *at = body.data; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline ? newline : end) - at);
        bool fits = len < sizeof entry && !memchr(at, '\0', len);
        snprintf(entry, sizeof entry, "%.*s", (int)(fits ? len : 40), at);
        /* Files are the client's: the fleet may run elsewhere and as somebody else. */
        if (!fits || entry[0] == '@')
            return refuse(r, "no address and no range", entry);
        if (entry[0] && !ip_prefix_list_add(&r->list, entry, r->fault))
            return false;
        at = newline ? newline + 1 : end;
    }
    ip_prefix_list_sort(&r->list);
    return r->list.count > 0 || refuse(r, "no address is given", NULL);
}

static bool read_host(struct request *r, const char *host)
{
    size_t len = host ? strlen(host) : 0;

    if (!host)
        return true;
    if (len == 0 || len >= HOST_NAME_MAX_BYTES || strpbrk(host, "/ @\t\r\n"))
        return refuse(r, "the host is no name as it stands in URLs, such as www.example.com", host);
    for (size_t i = 0; i <= len; i++)
        r->host[i] = (char)tolower((unsigned char)host[i]);
    r->manual.host = (struct span){r->host, len};
    return true;
}

static bool read_expiry(struct request *r, const char *text)
{
    char *end = NULL;
    long long ms = text ? strtoll(text, &end, 10) : 0;

    if (!text)
        return true;
    if (!*text || *end || ms <= 0 || ms > EXPIRES_MS_MAX)
        return refuse(r, "the time until it expires must be from 1 ms to ten years", text);
    r->manual.expires_wall_us = clock_wall_us() + (uint64_t)ms * 1000;
    return true;
}

static bool read_state(struct request *r, const char *text)
{
    if (!text || (strcmp(text, "white") != 0 && strcmp(text, "black") != 0))
        return refuse(r, "the state must be white or black", text ? text : "");
    r->manual.state = *text == 'w' ? ACCESS_WHITE : ACCESS_BLACK;
    return true;
}

static void answer(struct admin_request *request, struct request *r, const char *verb, size_t count)
{
    char text[64];

    if (r->fault[0]) {
        admin_answer(request, STATUS_INVALID, ADMIN_TEXT, r->fault, strlen(r->fault));
    } else {
        int len = snprintf(text, sizeof text, "{\"%s\":%zu}\n", verb, count);
        admin_answer(request, STATUS_OK, ADMIN_JSON, text, (size_t)len);
    }
    ip_prefix_list_free(&r->list);
}

static void on_add(void *user, struct admin_request *request)
{
    const char *reason = admin_query(request, "reason");
    struct request r = {0};
    size_t count = 0;

    if (reason)
        r.manual.reason = (struct span){reason, strlen(reason)};
    if (read_state(&r, admin_query(request, "state")) && read_host(&r, admin_query(request, "host")) &&
        read_expiry(&r, admin_query(request, "expires_ms")) && read_lines(&r, admin_body(request)))
        count = access_add(user, &r.list, &r.manual);
    answer(request, &r, "added", count);
}

static void on_remove(void *user, struct admin_request *request)
{
    struct request r = {0};
    size_t count = 0;

    if (read_host(&r, admin_query(request, "host")) && read_lines(&r, admin_body(request)))
        count = access_remove(user, &r.list, r.manual.host);
    answer(request, &r, "removed", count);
}

struct access *access_admin_open(const struct access_parts *parts, struct admin *admin)
{
    static const struct admin_action actions[] = {{"POST", "/ip/add", on_add}, {"POST", "/ip/remove", on_remove}};
    char fault[IP_FAULT_MAX];
    struct access *access = access_new(parts, fault);

    if (access)
        admin_add(admin, actions, sizeof actions / sizeof actions[0], access);
    else
        log_event(LOG_ERROR, "bad-option", "%s", fault);
    return access;
}
