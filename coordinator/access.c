/* States of addresses: from the map, from rules, and from what workers tell, into shared memory and the map. */
#include "coordinator/access.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/access_parts.h"

#define owner_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

size_t access_origin(const struct host *host, char out[STORE_ORIGIN_MAX])
{
    int n = snprintf(out, STORE_ORIGIN_MAX, "%s://%.*s:%u", host->scheme == URL_HTTPS ? "https" : "http",
                     (int)host->name_len, host->name, (unsigned)host->port);

    return n > 0 && n < STORE_ORIGIN_MAX ? (size_t)n : 0;
}

static struct store_access_key learned_key(const struct host *host, const struct address *address,
                                           char origin[STORE_ORIGIN_MAX])
{
    return (struct store_access_key){
        .source = STORE_LEARNED,
        .host = origin,
        .host_len = access_origin(host, origin),
        .prefix = ip_prefix_of(address, ip_prefix_bits(address->family)),
    };
}

static void publish_sizes(const struct access *a)
{
    STATS_SET(a->page, whitelist_size, a->sizes[0]);
    STATS_SET(a->page, blacklist_size, a->sizes[1]);
}

static uint64_t *size_of(struct access *a, uint8_t state)
{
    return &a->sizes[state == ACCESS_BLACK];
}

bool access_recall(const struct access *a, const struct host *host, const struct address *address,
                   struct store_access *record_out)
{
    char origin[STORE_ORIGIN_MAX];
    struct store_access_key key = learned_key(host, address, origin);

    return store_access_get(a->parts.store, &key, record_out);
}

void access_keep(struct access *a, const struct host *host, const struct address *address,
                 const struct store_access *record)
{
    char origin[STORE_ORIGIN_MAX];
    struct store_access_key key = learned_key(host, address, origin);
    struct store_access before;

    if (store_access_get(a->parts.store, &key, &before))
        --*size_of(a, before.state);
    ++*size_of(a, record->state);
    store_access_put(a->parts.store, &key, record);
    publish_sizes(a);
}

bool access_find_ip(const struct access *a, const struct host *host, const struct address *address, uint32_t *ip_out)
{
    const struct hosts *hosts = frontier_host_table(a->parts.frontier);

    for (uint32_t i = 0; i < host->run.count; i++) {
        *ip_out = hosts_ip(hosts, host, i);
        if (address_equal(&a->table->ips[*ip_out], address))
            return true;
    }
    return false;
}

static const struct access_rule *rule_for(const struct access *a, const struct host *host,
                                          const struct address *address)
{
    return access_rules_find(&a->rules, host->name, host->name_len, address);
}

static enum access_state state_of_rule(const struct access_rule *rule)
{
    return rule->state == ACCESS_WHITE ? ACCESS_FIXED : ACCESS_BLACK;
}

/* --- lists of hosts --- */

static enum access_state judge_one(struct access *a, const struct host *host, const struct address *address)
{
    const struct access_rule *rule = rule_for(a, host, address);
    struct store_access record;

    if (rule)
        return state_of_rule(rule);
    if (!access_recall(a, host, address, &record))
        return ACCESS_UNKNOWN;
    if (record.state == ACCESS_BLACK)
        access_checks_add(a->checks, host, address, record.next_check_wall_us);
    return (enum access_state)record.state;
}

/* Fills the states of a host's addresses: rules first, then what was learned in this run or an earlier one. */
static void judge(void *user, const struct host *host, const struct address *list, uint32_t count, uint8_t *states_out)
{
    for (uint32_t i = 0; i < count; i++)
        states_out[i] = (uint8_t)judge_one(user, host, &list[i]);
}

static void judge_again(struct access *a, const struct host *host)
{
    struct hosts *hosts = frontier_host_table(a->parts.frontier);

    for (uint32_t i = 0; i < host->run.count; i++) {
        uint32_t ip = hosts_ip(hosts, host, i);
        enum access_state state = judge_one(a, host, &a->table->ips[ip]);
        /* What a worker has seen to be good stays so; what it has seen to be bad, and nobody has heard of yet, comes
         * with its message. */
        iptable_set_access(a->table, host->index, ip, state,
                           state == ACCESS_UNKNOWN ? ACCESS_ANY & ~ACCESS_BIT(ACCESS_WHITE) : ACCESS_ANY);
    }
}

/* Rules have changed: all lists in use are judged anew. */
static void judge_all(struct access *a)
{
    struct host *host;

    for (uint32_t index = 0; hosts_at(frontier_host_table(a->parts.frontier), index, &host); index++) {
        if (host)
            judge_again(a, host);
    }
}

/* --- learning --- */

static void set_path(struct store_access *record, struct span path)
{
    /* One that is cut would be another one. */
    bool fits = path.len && path.len <= STORE_PATH_MAX;

    record->path_len = fits ? (uint16_t)path.len : 1;
    memcpy(record->path, fits ? path.data : "/", record->path_len);
}

static void learn_black(struct access *a, const struct host *host, const struct address *address, unsigned status,
                        struct span path)
{
    struct store_access record = {
        .state = ACCESS_BLACK,
        .since_wall_us = clock_wall_us(),
        .next_check_wall_us = access_checks_due_wall_us(a->checks, 0),
    };
    char reason[16];
    int len = snprintf(reason, sizeof reason, "%u", status);

    store_access_set_reason(&record, reason, (size_t)len);
    set_path(&record, path);
    access_keep(a, host, address, &record);
    access_checks_add(a->checks, host, address, record.next_check_wall_us);
}

static void learn_white(struct access *a, const struct host *host, const struct address *address)
{
    struct store_access record = {.state = ACCESS_WHITE, .since_wall_us = clock_wall_us()};

    access_keep(a, host, address, &record);
}

void access_learn(struct access *a, struct host *host, uint32_t ip, enum access_state state, unsigned status,
                  struct span path)
{
    uint32_t ref;

    if (ip >= a->table->ips_max || !iptable_find(a->table, host->index, ip, &ref))
        return;
    struct address address = a->table->ips[ip];
    if ((address.family != 4 && address.family != 6) || rule_for(a, host, &address))
        return;
    if (state == ACCESS_BLACK) {
        /* Again, for a list that was published between the worker's store and this. */
        iptable_set_access(a->table, host->index, ip, ACCESS_BLACK, ACCESS_LEARNS_BLACK);
        learn_black(a, host, &address, status, path);
    } else if (state == ACCESS_WHITE && iptable_access_of(a->table, ref, ip) == ACCESS_WHITE) {
        /* Else another worker has seen it refuse since. */
        learn_white(a, host, &address);
    }
}

bool access_on_note(struct access *a, const struct result_message *m)
{
    struct host *host;

    if (m->access != ACCESS_BLACK && m->access != ACCESS_WHITE)
        return false;
    /* The slot may have another host by now. */
    if (hosts_at(frontier_host_table(a->parts.frontier), m->host, &host) && host &&
        host->generation == m->host_generation)
        access_learn(a, host, m->ip, (enum access_state)m->access, m->status, (struct span){0});
    return true;
}

/* --- rules --- */

struct reading {
    struct access *a;
    uint64_t now_wall_us, first_expiry_wall_us;
};

static bool read_manual(void *user, const struct store_access_key *key, const struct store_access *record)
{
    struct reading *r = user;
    uint64_t expires = record->expires_wall_us;

    if (expires && expires <= r->now_wall_us)
        return true;
    access_rules_add(&r->a->rules, key->host, key->host_len, &key->prefix, record->state, true);
    if (expires && (!r->first_expiry_wall_us || expires < r->first_expiry_wall_us))
        r->first_expiry_wall_us = expires;
    return true;
}

static void add_list(struct access *a, const struct ip_prefix_list *list, uint8_t state)
{
    for (size_t i = 0; i < list->count; i++)
        access_rules_add(&a->rules, "", 0, &list->items[i], state, false);
}

static void read_rules(struct access *a)
{
    struct reading reading = {.a = a, .now_wall_us = clock_wall_us()};

    access_rules_clear(&a->rules);
    add_list(a, &a->lists.white, ACCESS_WHITE);
    add_list(a, &a->lists.black, ACCESS_BLACK);
    store_access_each_of(a->parts.store, STORE_MANUAL, NULL, 0, read_manual, &reading);
    access_rules_sort(&a->rules);
    timer_stop(&a->expiry);
    if (reading.first_expiry_wall_us)
        timer_set(a->parts.timers, &a->expiry,
                  clock_us() + (reading.first_expiry_wall_us - reading.now_wall_us) + 1000);
}

static bool is_over(void *user, const struct store_access_key *key, const struct store_access *record)
{
    const uint64_t *now_wall_us = user;

    return key->source == STORE_MANUAL && record->expires_wall_us && record->expires_wall_us <= *now_wall_us;
}

static bool count_record(void *user, const struct store_access_key *key, const struct store_access *record)
{
    (void)key;
    ++*size_of(user, record->state);
    return true;
}

static void count_records(struct access *a)
{
    a->sizes[0] = a->sizes[1] = 0;
    store_access_each(a->parts.store, count_record, a);
    publish_sizes(a);
}

static void on_expiry(struct timer *timer, void *user)
{
    struct access *a = owner_of(timer, struct access, expiry);
    uint64_t now_wall_us = clock_wall_us();

    (void)user;
    store_access_remove_if(a->parts.store, is_over, &now_wall_us);
    read_rules(a);
    count_records(a);
    judge_all(a);
}

static bool is_of_list(void *user, const struct store_access_key *key, const struct store_access *record)
{
    (void)user;
    (void)record;
    return key->source == STORE_LIST;
}

static void write_list(struct access *a, const struct ip_prefix_list *list, uint8_t state)
{
    static const char reason[] = "option";
    struct store_access record = {.state = state, .since_wall_us = clock_wall_us()};

    store_access_set_reason(&record, reason, sizeof reason - 1);
    for (size_t i = 0; i < list->count; i++) {
        struct store_access_key key = {.source = STORE_LIST, .host = "", .prefix = list->items[i]};
        store_access_put(a->parts.store, &key, &record);
    }
}

/* The lists stand in the map for those who read it, and are of this run's options alone. */
static void write_lists(struct access *a)
{
    uint64_t now_wall_us = clock_wall_us();

    store_access_remove_if(a->parts.store, is_of_list, NULL);
    store_access_remove_if(a->parts.store, is_over, &now_wall_us);
    write_list(a, &a->lists.white, ACCESS_WHITE);
    write_list(a, &a->lists.black, ACCESS_BLACK);
    store_commit(a->parts.store);
}

/* What a request of people is about. */
struct matching {
    const struct ip_prefix_list *list; /* sorted */
    struct access_rules ranges;        /* the same, to look addresses up in */
    struct span host;
    bool learned_alone;
};

static bool host_matches(struct span wanted, const struct store_access_key *key)
{
    const char *name = key->host;
    size_t len = key->host_len;

    if (!wanted.len)
        return key->source == STORE_LEARNED || len == 0;
    if (key->source == STORE_LEARNED) {
        const char *slashes = memmem(name, len, "://", 3);
        const char *colon = memrchr(name, ':', len);
        if (!slashes || colon <= slashes)
            return false;
        len = (size_t)(colon - slashes) - 3;
        name = slashes + 3;
    }
    return len == wanted.len && memcmp(name, wanted.data, len) == 0;
}

static bool is_meant(void *user, const struct store_access_key *key, const struct store_access *record)
{
    const struct matching *m = user;

    (void)record;
    if (key->source == STORE_LIST || (m->learned_alone && key->source != STORE_LEARNED) || !host_matches(m->host, key))
        return false;
    if (key->source == STORE_LEARNED)
        return access_rules_find(&m->ranges, "", 0, &key->prefix.address);
    return ip_prefix_list_has(m->list, &key->prefix);
}

static size_t remove_meant(struct access *a, const struct ip_prefix_list *list, struct span host, bool learned_alone)
{
    struct matching matching = {.list = list, .host = host, .learned_alone = learned_alone};

    for (size_t i = 0; i < list->count; i++)
        access_rules_add(&matching.ranges, "", 0, &list->items[i], ACCESS_BLACK, true);
    access_rules_sort(&matching.ranges);
    size_t gone = store_access_remove_if(a->parts.store, is_meant, &matching);
    access_rules_clear(&matching.ranges);
    return gone;
}

static void take_effect(struct access *a)
{
    store_commit(a->parts.store);
    read_rules(a);
    count_records(a);
    judge_all(a);
}

size_t access_add(struct access *a, const struct ip_prefix_list *list, const struct access_manual *manual)
{
    struct store_access record = {
        .state = (uint8_t)manual->state,
        .since_wall_us = clock_wall_us(),
        .expires_wall_us = manual->expires_wall_us,
    };

    if (manual->reason.len)
        store_access_set_reason(&record, manual->reason.data, manual->reason.len);
    remove_meant(a, list, manual->host, true);
    for (size_t i = 0; i < list->count; i++) {
        struct store_access_key key = {
            .source = STORE_MANUAL,
            .host = manual->host.len ? manual->host.data : "",
            .host_len = manual->host.len,
            .prefix = list->items[i],
        };
        store_access_put(a->parts.store, &key, &record);
    }
    take_effect(a);
    return list->count;
}

size_t access_remove(struct access *a, const struct ip_prefix_list *list, struct span host)
{
    size_t gone = remove_meant(a, list, host, false);

    take_effect(a);
    return gone;
}

struct access *access_new(const struct access_parts *parts, char fault_out[IP_FAULT_MAX])
{
    struct access *a = calloc(1, sizeof *a);

    if (!a)
        die("out of memory: no room for the states of addresses");
    a->parts = *parts;
    a->table = &parts->region->table;
    a->page = region_page(parts->region, parts->region->layout.workers);
    timer_init(&a->expiry, on_expiry);
    if (!access_lists_open(&a->lists, parts->options, fault_out)) {
        free(a);
        return NULL;
    }
    a->checks = access_checks_new(a);
    write_lists(a);
    read_rules(a);
    count_records(a);
    hosts_use_judge(frontier_host_table(parts->frontier), judge, a);
    return a;
}

void access_free(struct access *a)
{
    if (!a)
        return;
    hosts_use_judge(frontier_host_table(a->parts.frontier), NULL, NULL);
    timer_remove(a->parts.timers, &a->expiry);
    access_checks_free(a->checks);
    access_rules_clear(&a->rules);
    access_lists_close(&a->lists);
    free(a);
}
