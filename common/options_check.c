/* The checks that look at several options, or at a value more closely than its type does. */
#include <stdio.h>
#include <strings.h>

#include "common/access_lists.h"
#include "common/endpoint.h"
#include "common/options_rows.h"
#include "common/prewarm_entry.h"
#include "common/profile_set.h"
#include "common/shard.h"
#include "common/source.h"
#include "common/status_set.h"
#include "common/token.h"

static const char *origin_of(const struct options *o, const char *name)
{
    const struct option_row *row = option_find(name, strlen(name));

    return row ? o->origins[option_index(row)] : "nowhere";
}

/* A control that RFC 9110 5.5 keeps out of field values. */
static bool has_control(const char *text)
{
    for (; *text; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return true;
    }
    return false;
}

#define HEADERS_MAX 200 /* fields that options add to each request */

/* What is wrong with a header line, NULL if nothing is. */
static const char *header_fault(const char *item)
{
    static const char *const ours[] = {"Content-Length", "Transfer-Encoding", "Connection"};
    size_t len = token_span(item, strlen(item));

    if (len == 0 || item[len] != ':')
        return "is not of the form \"Name: value\"; write one, with a token for the name";
    if (has_control(item))
        return "holds a control character; remove it";
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (strlen(ours[i]) == len && strncasecmp(item, ours[i], len) == 0)
            return "is set by hotfleet itself; remove it";
    }
    return NULL;
}

static bool request_check(const struct options *o, struct options_error *error_out)
{
    char shown[OPTION_SHOW_MAX];

    if (o->header.count > HEADERS_MAX)
        return options_fail(error_out, "header is given %zu times (%s); %d are allowed", o->header.count,
                            origin_of(o, "header"), HEADERS_MAX);
    for (size_t i = 0; i < o->header.count; i++) {
        const char *fault = header_fault(o->header.items[i]);
        if (fault)
            return options_fail(error_out, "header \"%s\" (%s) %s", option_show(o->header.items[i], shown),
                                origin_of(o, "header"), fault);
    }
    if (o->method[token_span(o->method, strlen(o->method))])
        return options_fail(error_out, "method \"%s\" (%s) is no HTTP token; write one, such as GET",
                            option_show(o->method, shown), origin_of(o, "method"));
    if (has_control(o->user_agent))
        return options_fail(error_out, "user_agent (%s) holds a control character; remove it",
                            origin_of(o, "user_agent"));
    return true;
}

static bool admin_check(const struct options *o, struct options_error *error_out)
{
    char shown[OPTION_SHOW_MAX];
    struct endpoint endpoint;

    if (!*o->listen)
        return true;
    if (!endpoint_parse(o->listen, &endpoint))
        return options_fail(error_out,
                            "listen \"%s\" (%s) is no address with a port; write 127.0.0.1:8080 or [::1]:8080",
                            option_show(o->listen, shown), origin_of(o, "listen"));
    if (!o->listen_public && !endpoint_is_loopback(&endpoint))
        return options_fail(error_out,
                            "listen \"%s\" (%s) can be reached from other machines; write 127.0.0.1 for the address, "
                            "or set listen_public",
                            option_show(o->listen, shown), origin_of(o, "listen"));
    return true;
}

/* The bytes of a raw request are sent as they are: nothing else may claim a say in them. */
static bool raw_request_check(const struct options *o, struct options_error *error_out)
{
    const struct {
        const char *name, *value;
        bool given;
    } others[] = {
        {"method", "", *o->method},         {"header", "", o->header.count > 0},
        {"user_agent", "", *o->user_agent}, {"data", "", *o->data},
        {"validate", "", o->validate},      {"http_version", " = 2", strcmp(o->http_version, "2") == 0},
    };

    for (size_t i = 0; *o->raw_request && i < sizeof others / sizeof others[0]; i++) {
        if (others[i].given)
            return options_fail(error_out, "raw_request (%s) and %s%s (%s) exclude each other; keep one",
                                origin_of(o, "raw_request"), others[i].name, others[i].value,
                                origin_of(o, others[i].name));
    }
    return true;
}

static bool shard_check(const struct options *o, struct options_error *error_out)
{
    char shown[OPTION_SHOW_MAX];
    struct shard shard;

    if (shard_parse(o->shard, &shard))
        return true;
    return options_fail(error_out, "shard \"%s\" (%s) is not of the form I/N with I from 1 to N, N at most %d",
                        option_show(o->shard, shown), origin_of(o, "shard"), SHARD_COUNT_MAX);
}

static bool profile_check(const struct options *o, struct options_error *error_out)
{
    char fault[PROFILE_FAULT_MAX];
    char shown[OPTION_SHOW_MAX];

    if (*o->profiles && !profile_dir_read(o->profiles, fault))
        return options_fail(error_out, "profiles (%s): %s", origin_of(o, "profiles"), fault);
    if (profile_set_find(o->profile, strlen(o->profile)))
        return true;
    const char *nearest = profile_set_nearest(o->profile);
    return options_fail(
        error_out,
        "profile \"%s\" (%s) is none that there is%s%s; write a name of hotfleet profiles list, browser=B, "
        "platform=P, random, recommended, safe or none",
        option_show(o->profile, shown), origin_of(o, "profile"), nearest ? "; did you mean " : "",
        nearest ? nearest : "");
}

static bool bind_ip_check(const struct options *o, struct options_error *error_out)
{
    struct source_list sources;
    const char *entry;
    const char *reason;
    char shown[OPTION_SHOW_MAX];

    if (!source_list_open(&sources, &o->bind_ip, &entry, &reason))
        return options_fail(error_out, "bind_ip \"%s\" (%s) %s", option_show(entry, shown), origin_of(o, "bind_ip"),
                            reason);
    bool reaches4 = source_list_reaches(&sources, 4);
    bool reaches6 = source_list_reaches(&sources, 6);
    source_list_close(&sources);
    if ((o->ipv4 && !reaches4) || (o->ipv6 && !reaches6))
        return options_fail(error_out, "bind_ip (%s) has no address that %s (%s) could connect from; mend one",
                            origin_of(o, "bind_ip"), o->ipv4 ? "ipv4" : "ipv6",
                            origin_of(o, o->ipv4 ? "ipv4" : "ipv6"));
    return true;
}

static bool statuses_check(const struct options *o, const char *name, const struct option_list *list,
                           struct options_error *error_out)
{
    struct status_set set;
    const char *entry;
    const char *reason;
    char shown[OPTION_SHOW_MAX];

    if (status_set_parse(&set, list, &entry, &reason))
        return true;
    return options_fail(error_out, "%s \"%s\" (%s) %s", name, option_show(entry, shown), origin_of(o, name), reason);
}

bool options_check_files(const struct options *o, struct options_error *error_out)
{
    struct access_lists lists;
    char fault[IP_FAULT_MAX];

    if (!access_lists_open(&lists, o, fault))
        return options_fail(error_out, "%s", fault);
    access_lists_close(&lists);
    return true;
}

static bool prewarm_check(const struct options *o, struct options_error *error_out)
{
    struct buffer text = {0};
    const char *reason = "";
    char shown[OPTION_SHOW_MAX];
    struct url url;
    uint32_t count;
    bool good = true;

    for (size_t i = 0; good && i < o->prewarm.count; i++) {
        const char *entry = o->prewarm.items[i];
        if (prewarm_entry_parse(entry, &text, &url, &count, &reason) != OUTCOME_OK)
            good = options_fail(error_out, "prewarm \"%s\" (%s): %s", option_show(entry, shown),
                                origin_of(o, "prewarm"), reason);
    }
    buffer_fini(&text);
    return good;
}

bool options_check(const struct options *o, struct options_error *error_out)
{
    if (o->ipv4 && o->ipv6)
        return options_fail(error_out, "ipv4 (%s) and ipv6 (%s) exclude each other; keep one, or none for both",
                            origin_of(o, "ipv4"), origin_of(o, "ipv6"));
    if (o->max_hosts <= o->max_connections)
        return options_fail(error_out, "max_hosts = %lld (%s) must be above max_connections = %lld (%s); mend one",
                            (long long)o->max_hosts, origin_of(o, "max_hosts"), (long long)o->max_connections,
                            origin_of(o, "max_connections"));
    if (o->dns_ttl_min > o->dns_update_interval)
        return options_fail(error_out, "dns_ttl_min = %llums (%s) is above dns_update_interval = %llums (%s); mend one",
                            (unsigned long long)o->dns_ttl_min, origin_of(o, "dns_ttl_min"),
                            (unsigned long long)o->dns_update_interval, origin_of(o, "dns_update_interval"));
    return request_check(o, error_out) && raw_request_check(o, error_out) && profile_check(o, error_out) &&
           bind_ip_check(o, error_out) && statuses_check(o, "healthy_status", &o->healthy_status, error_out) &&
           (o->blacklist_status.count == 0 || statuses_check(o, "blacklist_status", &o->blacklist_status, error_out)) &&
           shard_check(o, error_out) && prewarm_check(o, error_out) && admin_check(o, error_out);
}
