/* Queues by host, the line of hosts, and what a host needs before its first request. */
#include "coordinator/frontier.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/source.h"
#include "coordinator/resolve_list.h"

#define NO_ROOM_AGAIN_US 1000000 /* how soon full tables are tried again */
#define WATCHERS_MAX     4

struct watcher {
    frontier_on_answer on_answer;
    void *user;
};

struct frontier {
    struct hosts *hosts;
    struct resolver *resolver;
    const struct options *options;
    struct resolve_list *given; /* --resolve */
    struct source_list sources; /* --bind-ip */
    struct timers *timers;
    frontier_on_failure on_failure;
    void *user;
    struct host_queue ready, blocked;
    uint64_t queued;
    struct region *region;
    struct watcher watchers[WATCHERS_MAX];
    unsigned watchers_count;
    struct frontier_keeper keeper;     /* or none */
    struct frontier_overflow overflow; /* or none */
};

#define owner_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct frontier *frontier_new(struct region *region, struct resolver *resolver, const struct options *options,
                              struct timers *timers, frontier_on_failure on_failure, void *user,
                              struct options_error *error_out)
{
    struct frontier *f = calloc(1, sizeof *f);
    const char *reason = NULL;
    const char *entry;

    if (!f)
        die("out of memory: no room for the frontier");
    if (!source_list_open(&f->sources, &options->bind_ip, &entry, &reason)) {
        snprintf(error_out->message, sizeof error_out->message, "bind_ip \"%s\" %s", entry, reason);
        free(f);
        return NULL;
    }
    if (resolve_list_open(&options->resolve, &f->given, &reason) != OUTCOME_OK) {
        snprintf(error_out->message, sizeof error_out->message, "--resolve: %s", reason);
        source_list_close(&f->sources);
        free(f);
        return NULL;
    }
    f->hosts = hosts_new(region, (uint32_t)options->max_hosts);
    f->region = region;
    f->resolver = resolver;
    f->options = options;
    f->timers = timers;
    f->on_failure = on_failure;
    f->user = user;
    TAILQ_INIT(&f->ready);
    TAILQ_INIT(&f->blocked);
    return f;
}

void frontier_free(struct frontier *f)
{
    if (!f)
        return;
    resolve_list_close(f->given);
    source_list_close(&f->sources);
    hosts_free(f->hosts);
    free(f);
}

static void unlist(struct frontier *f, struct host *host)
{
    if (host->list == HOST_READY)
        TAILQ_REMOVE(&f->ready, host, link);
    else if (host->list == HOST_BLOCKED)
        TAILQ_REMOVE(&f->blocked, host, link);
    if (host->list != HOST_IDLE)
        host->list = HOST_UNLISTED;
}

void frontier_set_keeper(struct frontier *f, const struct frontier_keeper *keeper)
{
    f->keeper = *keeper;
    hosts_watch(f->hosts, keeper->on_forget, keeper->user);
}

void frontier_end_queue(struct frontier *f, struct host *host, enum outcome outcome, const char *detail)
{
    struct task *task;

    unlist(f, host);
    if (host->overflow)
        f->overflow.on_end(f->overflow.user, host, outcome, detail);
    /* The host must outlive its own queue: it may become idle with the last task. */
    hosts_hold(f->hosts, host);
    while ((task = frontier_take(f, host)))
        f->on_failure(f->user, task, outcome, detail);
    hosts_let_go(f->hosts, host);
}

/* What is queued for a host without addresses ends for the reason that stands in the host. */
static void fail_pending(struct frontier *f, struct host *host)
{
    frontier_end_queue(f, host, host->failure, host->failure_detail);
}

/* Until `expires_wall_us`. */
static void fail_host(struct frontier *f, struct host *host, enum outcome outcome, const char *detail,
                      uint64_t expires_wall_us)
{
    host->state = HOST_FAILED;
    host->failure = outcome;
    host->failure_detail = detail;
    host->expires_wall_us = expires_wall_us;
    fail_pending(f, host);
}

/* No moment is later than the next update. */
static uint64_t until_update(const struct frontier *f, uint64_t wall_us)
{
    uint64_t update_us = clock_wall_us() + f->options->dns_update_interval * 1000;

    return wall_us < update_us ? wall_us : update_us;
}

/* Copies those addresses that bind_ip has a source for; returns their number. */
static uint32_t pick_reachable(const struct frontier *f, const struct address *list, uint32_t count,
                               struct address *reachable_out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (source_list_reaches(&f->sources, list[i].family))
            reachable_out[n++] = list[i];
    }
    return n;
}

/* The tables keep what can be connected to alone: each address in them gets its turns. */
static void use_addresses(struct frontier *f, struct host *host, const struct address *list, uint32_t count,
                          uint64_t expires_wall_us)
{
    struct address *reachable = calloc(count, sizeof *reachable);

    if (!reachable)
        die("out of memory: no room for %u addresses of a host", count);
    count = pick_reachable(f, list, count, reachable);
    if (count == 0) {
        fail_host(f, host, OUTCOME_IP_EXHAUSTED, "bind_ip has no address of their family", expires_wall_us);
    } else if (hosts_set_addresses(f->hosts, host, reachable, count) != OUTCOME_OK) {
        log_event(LOG_WARN, "address-table-full", "host=%.*s addresses=%u hint=\"raise --max-hosts\"", host->name_len,
                  host->name, count);
        if (!host->run.count) {
            fail_host(f, host, OUTCOME_RESOURCE_EXHAUSTED, NULL, clock_wall_us() + NO_ROOM_AGAIN_US);
        } else {
            host->expires_wall_us = until_update(f, clock_wall_us() + NO_ROOM_AGAIN_US);
            host->state = HOST_USABLE;
            frontier_consider(f, host);
        }
    } else {
        host->expires_wall_us = expires_wall_us;
        host->state = HOST_USABLE;
        frontier_consider(f, host);
    }
    free(reachable);
}

void frontier_watch(struct frontier *f, frontier_on_answer on_answer, void *user)
{
    if (f->watchers_count == WATCHERS_MAX)
        die("internal: more want to hear of addresses than the frontier has room for");
    f->watchers[f->watchers_count++] = (struct watcher){on_answer, user};
}

struct address *frontier_addresses(const struct frontier *f, const struct host *host)
{
    const struct iptable *t = &f->region->table;
    struct address *copy = host->run.count ? calloc(host->run.count, sizeof *copy) : NULL;

    for (uint32_t i = 0; copy && i < host->run.count; i++) {
        uint32_t ip = t->ip_refs[host->run.first + i] & IP_REF_MASK;
        if (ip < t->ips_max)
            copy[i] = t->ips[ip];
    }
    return copy;
}

static void on_answer(void *user, const struct resolver_answer *answer)
{
    struct host *host = user;
    struct frontier *f = host->frontier;
    bool had_addresses = host->refreshing;
    struct address *before = frontier_addresses(f, host);
    uint32_t before_count = before ? host->run.count : 0;

    host->refreshing = false;
    host->dns_us = answer->took_us;
    if (answer->outcome == OUTCOME_OK) {
        use_addresses(f, host, answer->addresses, answer->count, answer->expires_wall_us);
    } else if (had_addresses && answer->outcome != OUTCOME_DNS_NXDOMAIN) {
        /* Servers that do not answer take no addresses away (RFC 8767); the next look is after the failure's TTL. */
        host->expires_wall_us = until_update(f, answer->expires_wall_us);
    } else {
        fail_host(f, host, answer->outcome, NULL, answer->expires_wall_us);
    }
    for (unsigned i = 0; i < f->watchers_count; i++)
        f->watchers[i].on_answer(f->watchers[i].user, host, answer->outcome, before, before_count);
    free(before);
    hosts_let_go(f->hosts, host);
}

static void ask(struct frontier *f, struct host *host, bool anew)
{
    /* Held while the query is under way. */
    hosts_hold(f->hosts, host);
    host->frontier = f;
    if (anew)
        resolver_query_anew(f->resolver, host->name, host->name_len, on_answer, host);
    else
        resolver_query(f->resolver, host->name, host->name_len, on_answer, host);
}

static bool family_wanted(const struct frontier *f, const struct address *a)
{
    return !(f->options->ipv4 && a->family != 4) && !(f->options->ipv6 && a->family != 6);
}

/* Addresses that need no question: literal ones, those of the line, those of --resolve. False: ask. */
static bool know_addresses(struct frontier *f, struct host *host)
{
    struct address list[64];
    uint32_t count = 0;
    const struct address *given;
    uint32_t given_count;

    if (host->ip_len) {
        const char *at = host->ip;
        const char *end = host->ip + host->ip_len;
        while (at < end && count < 64) {
            const char *comma = memchr(at, ',', (size_t)(end - at));
            const char *stop = comma ? comma : end;
            if (address_parse(at, (size_t)(stop - at), &list[count]))
                count++;
            at = stop + 1;
        }
    } else if (resolve_list_find(f->given, host->name, host->name_len, host->port, &given, &given_count)) {
        use_addresses(f, host, given, given_count, UINT64_MAX);
        return true;
    } else if (address_parse(host->name, host->name_len, &list[0])) {
        count = family_wanted(f, &list[0]) ? 1 : 0;
        if (count == 0) {
            fail_host(f, host, OUTCOME_DNS_NXDOMAIN, NULL, UINT64_MAX);
            return true;
        }
    }
    if (count == 0)
        return false;
    use_addresses(f, host, list, count, UINT64_MAX);
    return true;
}

/* What the host has is still good. An answer with more time left than any is given by now was made before the option
 * dns_update_interval changed. */
static bool is_current(const struct frontier *f, const struct host *host)
{
    uint64_t now = clock_wall_us();

    if (host->expires_wall_us <= now)
        return false;
    return host->state == HOST_FAILED || host->expires_wall_us == UINT64_MAX ||
           host->expires_wall_us - now <= f->options->dns_update_interval * 1000;
}

/* Sees to it that the host has, or gets, addresses that are not out of date. */
static void prepare(struct frontier *f, struct host *host)
{
    if (host->state == HOST_RESOLVING)
        return;
    if (host->state == HOST_NEW && f->keeper.on_new)
        f->keeper.on_new(f->keeper.user, host);
    if (host->state != HOST_NEW && is_current(f, host)) {
        if (host->state == HOST_FAILED)
            fail_pending(f, host);
        return;
    }
    if (host->state == HOST_USABLE) {
        if (!host->refreshing) {
            host->refreshing = true;
            ask(f, host, false);
        }
        return;
    }
    if (f->options->dry_run) {
        /* Nobody is going to connect. */
        host->state = HOST_USABLE;
        host->expires_wall_us = UINT64_MAX;
        return;
    }
    if (know_addresses(f, host))
        return;
    host->state = HOST_RESOLVING;
    ask(f, host, false);
}

bool frontier_ask_again(struct frontier *f, struct host *host)
{
    if (host->state != HOST_USABLE || host->refreshing || host->expires_wall_us == UINT64_MAX)
        return false;
    host->refreshing = true;
    ask(f, host, true);
    return true;
}

static void enqueue(struct frontier *f, struct task *task, bool at_head)
{
    struct host *host = task->host;

    if (at_head)
        TAILQ_INSERT_HEAD(&host->pending, task, link);
    else
        TAILQ_INSERT_TAIL(&host->pending, task, link);
    task->place = TASK_QUEUED;
    host->pending_count++;
    f->queued++;
    prepare(f, host);
    if (host->state == HOST_USABLE)
        frontier_consider(f, host);
}

void frontier_add(struct frontier *f, struct task *task)
{
    task->host = hosts_get(f->hosts, task);
    if (!task->host) {
        f->on_failure(f->user, task, OUTCOME_RESOURCE_EXHAUSTED, NULL);
        return;
    }
    hosts_hold(f->hosts, task->host);
    enqueue(f, task, false);
}

struct host *frontier_host_of(struct frontier *f, const struct url *url, struct span ip)
{
    return hosts_get_origin(f->hosts, url, ip);
}

void frontier_add_new(struct frontier *f, struct task *task, struct host *host)
{
    task->host = host;
    hosts_hold(f->hosts, host);
    enqueue(f, task, false);
}

void frontier_set_overflow(struct frontier *f, const struct frontier_overflow *overflow)
{
    f->overflow = *overflow;
}

bool frontier_has_room(const struct frontier *f)
{
    return hosts_have_room(f->hosts);
}

void frontier_put_back(struct frontier *f, struct task *task)
{
    enqueue(f, task, true);
}

static void on_delay_over(struct timer *timer, void *user)
{
    struct task *task = owner_of(timer, struct task, delay);

    task->place = TASK_NOWHERE;
    frontier_put_back(user, task);
}

void frontier_delay(struct frontier *f, struct task *task, uint32_t delay_ms)
{
    if (delay_ms == 0) {
        frontier_put_back(f, task);
        return;
    }
    timer_init(&task->delay, on_delay_over);
    task->place = TASK_DELAYED;
    timer_set(f->timers, &task->delay, clock_us() + (uint64_t)delay_ms * 1000);
}

static void on_hold_over(struct timer *timer, void *user)
{
    struct host *host = owner_of(timer, struct host, wait);
    struct frontier *f = user;

    host->not_before_us = 0;
    if (f->keeper.on_hold_over)
        f->keeper.on_hold_over(f->keeper.user, host);
    frontier_consider(f, host);
    hosts_let_go(f->hosts, host);
}

void frontier_end_hold(struct frontier *f, struct host *host, uint64_t until_us)
{
    if (host->not_before_us == 0 || host->not_before_us != until_us)
        return;
    timer_remove(f->timers, &host->wait);
    host->not_before_us = 0;
    frontier_consider(f, host);
    frontier_let_go(f, host);
}

void frontier_hold_host(struct frontier *f, struct host *host, uint64_t wait_ms)
{
    uint64_t until = clock_us() + wait_ms * 1000;

    if (until <= host->not_before_us)
        return;
    if (host->not_before_us == 0) {
        timer_init(&host->wait, on_hold_over);
        hosts_hold(f->hosts, host);
    }
    host->not_before_us = until;
    timer_set(f->timers, &host->wait, until);
    unlist(f, host);
}

void frontier_leave(struct frontier *f, struct task *task)
{
    if (!task->host)
        return;
    if (task->host->held_count == 1)
        unlist(f, task->host);
    hosts_let_go(f->hosts, task->host);
    task->host = NULL;
}

struct host *frontier_host(struct frontier *f, const struct url *url)
{
    struct host *host = hosts_get_origin(f->hosts, url, (struct span){0});

    if (!host)
        return NULL;
    hosts_hold(f->hosts, host);
    prepare(f, host);
    return host;
}

bool frontier_refresh(struct frontier *f, struct host *host)
{
    struct address literal;
    const struct address *given;
    uint32_t given_count;

    if (host->state == HOST_RESOLVING || host->refreshing)
        return true;
    if (host->ip_len || address_parse(host->name, host->name_len, &literal) ||
        resolve_list_find(f->given, host->name, host->name_len, host->port, &given, &given_count))
        return false;
    if (host->state == HOST_USABLE)
        host->refreshing = true;
    else
        host->state = HOST_RESOLVING;
    ask(f, host, true);
    return true;
}

void frontier_each_host(const struct frontier *f, void (*each)(void *user, struct host *host), void *user)
{
    hosts_each(f->hosts, each, user);
}

void frontier_hold(struct frontier *f, struct host *host)
{
    hosts_hold(f->hosts, host);
}

void frontier_let_go(struct frontier *f, struct host *host)
{
    if (host->held_count == 1)
        unlist(f, host);
    hosts_let_go(f->hosts, host);
}

struct host *frontier_first(struct frontier *f)
{
    return TAILQ_FIRST(&f->ready);
}

struct task *frontier_take(struct frontier *f, struct host *host)
{
    struct task *task = TAILQ_FIRST(&host->pending);

    if (!task)
        return NULL;
    TAILQ_REMOVE(&host->pending, task, link);
    task->place = TASK_NOWHERE;
    host->pending_count--;
    f->queued--;
    if (host->overflow)
        f->overflow.on_low(f->overflow.user, host);
    return task;
}

void frontier_rotate(struct frontier *f, struct host *host)
{
    unlist(f, host);
    frontier_consider(f, host);
}

void frontier_park(struct frontier *f, struct host *host)
{
    unlist(f, host);
}

void frontier_block(struct frontier *f, struct host *host)
{
    unlist(f, host);
    /* Its last task may have ended on the way here, and the host be idle. */
    if (host->pending_count == 0)
        return;
    host->list = HOST_BLOCKED;
    TAILQ_INSERT_TAIL(&f->blocked, host, link);
}

void frontier_consider(struct frontier *f, struct host *host)
{
    if (host->list == HOST_READY || host->pending_count == 0 || host->state != HOST_USABLE || host->not_before_us)
        return;
    unlist(f, host);
    host->list = HOST_READY;
    TAILQ_INSERT_TAIL(&f->ready, host, link);
}

void frontier_unblock(struct frontier *f, unsigned count)
{
    struct host *after = NULL;
    struct host *host;

    while (count > 0 && (host = TAILQ_FIRST(&f->blocked))) {
        unlist(f, host);
        if (host->pending_count == 0 || host->state != HOST_USABLE || host->not_before_us)
            continue;
        count--;
        host->list = HOST_READY;
        if (after)
            TAILQ_INSERT_AFTER(&f->ready, after, host, link);
        else
            TAILQ_INSERT_HEAD(&f->ready, host, link);
        after = host;
    }
}

void frontier_walk_hosts(struct frontier *f, uint32_t *hand, uint32_t parts,
                         void (*each)(void *user, struct host *host), void *user)
{
    hosts_walk(f->hosts, hand, parts, each, user);
}

bool frontier_has_blocked(const struct frontier *f)
{
    return !TAILQ_EMPTY(&f->blocked);
}

uint32_t frontier_find_address(const struct frontier *f, const struct address *address)
{
    return hosts_find_address(f->hosts, address);
}

uint64_t frontier_queued(const struct frontier *f)
{
    return f->queued;
}

struct hosts *frontier_host_table(const struct frontier *f)
{
    return f->hosts;
}
