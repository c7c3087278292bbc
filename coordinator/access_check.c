/* The schedule of checks: a timer for each black address of a host of this run. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/access_parts.h"

#define CHECKS_MAX    16      /* under way at a time */
#define AGAIN_US      1000000 /* when it could not be begun */
#define FIRST_PART    16      /* the first check is after this part of the interval */
#define BUCKETS       4096
#define JITTER_SHARE  10 /* a tenth, up and down */
#define URL_BYTES_MAX (STORE_ORIGIN_MAX + STORE_PATH_MAX)

struct check {
    LIST_ENTRY(check) link; /* its bucket */
    struct access_checks *checks;
    struct timer timer;
    uint32_t host, generation;
    struct address address;
    bool under_way;
};
LIST_HEAD(check_list, check);

struct access_checks {
    struct access *access;
    unsigned under_way;
    struct buffer scratch;
    struct check_list buckets[BUCKETS];
};

#define owner_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static struct check_list *bucket_of(struct access_checks *c, uint32_t host, const struct address *address)
{
    uint32_t words[4];
    uint32_t hash = host * 0x9e3779b1u;

    memcpy(words, address->bytes, sizeof words);
    for (int i = 0; i < 4; i++)
        hash = (hash ^ words[i]) * 0x85ebca6bu ^ hash >> 15;
    return &c->buckets[hash % BUCKETS];
}

/* Doubled from a sixteenth of the interval up to so much that jitter does not go beyond it. */
uint64_t access_checks_due_wall_us(const struct access_checks *c, uint32_t tries)
{
    uint64_t interval = c->access->parts.options->blacklist_check_interval * 1000;
    uint64_t most = interval - interval / JITTER_SHARE;
    uint64_t wait = interval / FIRST_PART;

    for (uint32_t i = 0; i < tries && wait < most; i++)
        wait *= 2;
    if (wait > most)
        wait = most;
    uint64_t jitter = wait / JITTER_SHARE;
    if (jitter)
        wait = wait - jitter + (uint64_t)random() % (2 * jitter + 1);
    return clock_wall_us() + wait;
}

static void drop(struct check *check)
{
    timer_remove(check->checks->access->parts.timers, &check->timer);
    LIST_REMOVE(check, link);
    free(check);
}

/* A clock that was put back must not put the check off. */
static void arm(struct check *check, uint64_t due_wall_us)
{
    struct access *a = check->checks->access;
    uint64_t now_wall_us = clock_wall_us();
    uint64_t wait = due_wall_us > now_wall_us ? due_wall_us - now_wall_us : 0;
    uint64_t most = a->parts.options->blacklist_check_interval * 1000;

    timer_set(a->parts.timers, &check->timer, clock_us() + (wait < most ? wait : most) + 1);
}

/* It is black still, by what was learned, and its host the same; NULL: there is nothing to check. */
static struct host *find_host(struct check *check, uint32_t *ip_out, struct store_access *record_out)
{
    struct access *a = check->checks->access;
    struct host *host;
    uint32_t ref;

    if (!hosts_at(frontier_host_table(a->parts.frontier), check->host, &host) || !host ||
        host->generation != check->generation || !access_find_ip(a, host, &check->address, ip_out) ||
        access_rules_find(&a->rules, host->name, host->name_len, &check->address) ||
        !iptable_find(a->table, host->index, *ip_out, &ref) ||
        iptable_access_of(a->table, ref, *ip_out) != ACCESS_BLACK ||
        !access_recall(a, host, &check->address, record_out) || record_out->state != ACCESS_BLACK)
        return NULL;
    return host;
}

static void on_white(struct check *check, const struct host *host, uint32_t ip)
{
    struct access *a = check->checks->access;
    struct store_access record = {.state = ACCESS_WHITE, .since_wall_us = clock_wall_us()};
    static const char reason[] = "answers again";

    if (!iptable_set_access(a->table, host->index, ip, ACCESS_WHITE, ACCESS_BIT(ACCESS_BLACK)))
        return;
    store_access_set_reason(&record, reason, sizeof reason - 1);
    access_keep(a, host, &check->address, &record);
    STATS_ADD(a->page, whitelist_moves, 1);
}

static void on_done(void *user, const struct chore_answer *answer)
{
    struct check *check = user;
    struct access_checks *c = check->checks;
    struct store_access record;
    uint32_t ip;

    c->under_way--;
    check->under_way = false;
    const struct host *host = find_host(check, &ip, &record);
    if (!host) {
        drop(check);
        return;
    }
    if (answer->outcome == OUTCOME_OK && answer->status / 100 == 2) {
        on_white(check, host, ip);
        drop(check);
        return;
    }
    if (answer->outcome == OUTCOME_AT_LIMIT || answer->outcome == OUTCOME_RESOURCE_EXHAUSTED) {
        /* Nobody was asked. */
        timer_set(c->access->parts.timers, &check->timer, clock_us() + AGAIN_US);
        return;
    }
    record.tries++;
    record.next_check_wall_us = access_checks_due_wall_us(c, record.tries);
    access_keep(c->access, host, &check->address, &record);
    arm(check, record.next_check_wall_us);
}

/* The URL that was refused, at the host as it is named. */
static bool make_url(struct access_checks *c, const struct host *host, const struct store_access *record,
                     struct url *url_out)
{
    char text[URL_BYTES_MAX];
    size_t len = access_origin(host, text);
    const char *reason;

    memcpy(text + len, record->path, record->path_len);
    len += record->path_len;
    return len && url_parse(text, len, NULL, &c->scratch, url_out, &reason) == OUTCOME_OK;
}

static bool begin(struct check *check, struct host *host, uint32_t ip, const struct store_access *record)
{
    struct access *a = check->checks->access;
    struct url url;
    struct chore_order order = {
        .kind = TASK_CHECK, .host = host, .ip = ip, .url = &url, .on_done = on_done, .user = check};

    if (check->checks->under_way >= CHECKS_MAX || !make_url(check->checks, host, record, &url) ||
        !chores_give(a->parts.chores, chores_pick(a->parts.chores), &order))
        return false;
    check->checks->under_way++;
    check->under_way = true;
    STATS_ADD(a->page, access_checks, 1);
    return true;
}

static void on_due(struct timer *timer, void *user)
{
    struct check *check = owner_of(timer, struct check, timer);
    struct store_access record;
    uint32_t ip;

    (void)user;
    if (check->under_way)
        return;
    struct host *host = find_host(check, &ip, &record);
    if (!host)
        drop(check);
    else if (!begin(check, host, ip, &record))
        timer_set(check->checks->access->parts.timers, &check->timer, clock_us() + AGAIN_US);
}

void access_checks_add(struct access_checks *c, const struct host *host, const struct address *address,
                       uint64_t due_wall_us)
{
    struct check_list *bucket = bucket_of(c, host->index, address);
    struct check *check;

    LIST_FOREACH(check, bucket, link)
    {
        if (check->host == host->index && check->generation == host->generation &&
            address_equal(&check->address, address))
            break;
    }
    if (!check) {
        check = calloc(1, sizeof *check);
        if (!check)
            die("out of memory: no room for the check of an address");
        check->checks = c;
        check->host = host->index;
        check->generation = host->generation;
        check->address = *address;
        timer_init(&check->timer, on_due);
        LIST_INSERT_HEAD(bucket, check, link);
    }
    if (!check->under_way)
        arm(check, due_wall_us);
}

struct access_checks *access_checks_new(struct access *a)
{
    struct access_checks *c = calloc(1, sizeof *c);

    if (!c)
        die("out of memory: no room for the schedule of checks");
    c->access = a;
    return c;
}

void access_checks_free(struct access_checks *c)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct check *check = LIST_FIRST(&c->buckets[i]), *next; check; check = next) {
            next = LIST_NEXT(check, link);
            drop(check);
        }
    }
    buffer_fini(&c->scratch);
    free(c);
}
