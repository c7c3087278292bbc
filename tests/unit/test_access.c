/* The coordinator's side of access: what workers tell and people say, in shared memory, in the map, and on the schedule
 * of checks. */
#include "tests/unit/coordinator_house.h"

#include "coordinator/access.h"
#undef CASE
#include "tests/unit/store_place.h"

#define FAR_US 3600000000u /* later than any check of these tests */

struct scene {
    struct house *h;
    struct store *s;
    struct access *a;
    struct place place;
};

static void open_access(struct scene *x)
{
    char fault[IP_FAULT_MAX] = "";
    struct access_parts parts = {x->s, &x->h->region, x->h->frontier, x->h->chores, &x->h->timers, &x->h->options};

    x->a = access_new(&parts, fault);
    if (!x->a)
        fail_msg("%s", fault);
    x->h->results.access = x->a;
}

static void open_house(struct scene *x)
{
    x->h = house_new(&usual_plan);
    for (unsigned w = 0; w < 2; w++)
        x->h->fleet.workers[w].pid = (pid_t)(1000 + w);
    x->s = open_store(x->place.dir);
    open_access(x);
}

static void close_house(struct scene *x)
{
    access_free(x->a);
    house_free(x->h);
    store_close(x->s);
}

static int open_scene(void **state)
{
    struct scene *x = calloc(1, sizeof *x);
    void *place;

    make_place(&place);
    x->place = *(struct place *)place;
    open_house(x);
    *state = x;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *x = *state;
    void *place = &x->place;

    close_house(x);
    remove_place(&place);
    free(x);
    return 0;
}

/* The next run, with the map of this one. */
static void run_again(struct scene *x)
{
    close_house(x);
    open_house(x);
}

/* A host whose addresses are 192.0.2.1 and so on. */
static struct host *host_of(struct scene *x, const char *url, uint32_t count)
{
    struct task *task = add(x->h, url);

    answer_ok(x->h, count, 1);
    return task->host;
}

static uint32_t ip_of(struct scene *x, const struct host *host, uint32_t i)
{
    return hosts_ip(frontier_host_table(x->h->frontier), host, i);
}

static enum access_state state_of(struct scene *x, const struct host *host, uint32_t i)
{
    return iptable_access_of(&x->h->region.table, host->run.first + i, ip_of(x, host, i));
}

/* As a worker does it: in shared memory first. */
static void learn(struct scene *x, struct host *host, uint32_t i, enum access_state state, unsigned status)
{
    iptable_set_access(&x->h->region.table, host->index, ip_of(x, host, i), state,
                       state == ACCESS_BLACK ? ACCESS_LEARNS_BLACK : ACCESS_LEARNS_WHITE);
    access_learn(x->a, host, ip_of(x, host, i), state, status, (struct span){"/a?b", 4});
}

static bool recall(struct scene *x, const char *origin, uint32_t i, struct store_access *out)
{
    struct address a = {.family = 4, .bytes = {192, 0, 2, (uint8_t)(i + 1)}};
    struct store_access_key key = {STORE_LEARNED, origin, strlen(origin), ip_prefix_of(&a, 32)};

    return store_access_get(x->s, &key, out);
}

static struct ip_prefix_list prefixes(const char *text)
{
    struct ip_prefix_list list = {0};
    char fault[IP_FAULT_MAX];

    assert_true(ip_prefix_list_add(&list, text, fault));
    return list;
}

static void rule(struct scene *x, const char *text, enum access_state state, const char *host)
{
    struct ip_prefix_list list = prefixes(text);
    struct access_manual manual = {.state = state, .host = {host, host ? strlen(host) : 0}};

    assert_int_equal(access_add(x->a, &list, &manual), 1);
    ip_prefix_list_free(&list);
}

static size_t unrule(struct scene *x, const char *text)
{
    struct ip_prefix_list list = prefixes(text);
    size_t gone = access_remove(x->a, &list, (struct span){0});

    ip_prefix_list_free(&list);
    return gone;
}

#define A_TEST "http://a.test:80"

static uint64_t stat_of(struct scene *x, size_t offset)
{
    const char *page = (const char *)region_page(&x->h->region, x->h->region.layout.workers);

    return atomic_load((const _Atomic uint64_t *)(const void *)(page + offset));
}
#define STAT(x, name) stat_of(x, offsetof(struct stats_page, name))

/* What is known before, what a worker sees, what is known after. */
static void the_truth_table_of_what_is_learned(void **state)
{
    static const struct {
        enum access_state before, seen, after;
    } rows[] = {
        {ACCESS_UNKNOWN, ACCESS_WHITE, ACCESS_WHITE}, {ACCESS_UNKNOWN, ACCESS_BLACK, ACCESS_BLACK},
        {ACCESS_WHITE, ACCESS_WHITE, ACCESS_WHITE},   {ACCESS_WHITE, ACCESS_BLACK, ACCESS_BLACK},
        {ACCESS_BLACK, ACCESS_WHITE, ACCESS_BLACK},   {ACCESS_BLACK, ACCESS_BLACK, ACCESS_BLACK},
        {ACCESS_FIXED, ACCESS_WHITE, ACCESS_FIXED},   {ACCESS_FIXED, ACCESS_BLACK, ACCESS_FIXED},
    };
    struct scene *x = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct store_access record;
        char url[32];
        char origin[32];
        snprintf(url, sizeof url, "http://h%zu.test/", i);
        snprintf(origin, sizeof origin, "http://h%zu.test:80", i);
        struct host *host = host_of(x, url, 2);
        if (rows[i].before == ACCESS_FIXED)
            rule(x, "192.0.2.1", ACCESS_WHITE, host->name_len ? strndupa(host->name, host->name_len) : NULL);
        else if (rows[i].before != ACCESS_UNKNOWN)
            learn(x, host, 0, rows[i].before, 200);
        learn(x, host, 0, rows[i].seen, 403);
        if (state_of(x, host, 0) != rows[i].after || state_of(x, host, 1) != ACCESS_UNKNOWN)
            fail_msg("row %zu: %d", i, (int)state_of(x, host, 0));
        assert_int_equal(recall(x, origin, 0, &record), rows[i].after != ACCESS_FIXED);
        if (rows[i].after != ACCESS_FIXED)
            assert_int_equal(record.state, rows[i].after);
    }
}

static void black_for_one_host_says_nothing_of_another(void **state)
{
    struct scene *x = *state;
    struct host *a = host_of(x, "http://a.test/", 1);
    struct host *b = host_of(x, "http://b.test/", 1);
    struct host *other_port = host_of(x, "http://a.test:81/", 1);

    assert_int_equal(ip_of(x, a, 0), ip_of(x, b, 0));
    learn(x, a, 0, ACCESS_BLACK, 403);
    assert_int_equal(state_of(x, a, 0), ACCESS_BLACK);
    assert_int_equal(state_of(x, b, 0), ACCESS_UNKNOWN);
    assert_int_equal(state_of(x, other_port, 0), ACCESS_UNKNOWN);
    assert_int_equal(STAT(x, blacklist_size), 1);
}

static void a_new_list_keeps_what_is_known(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 4);

    learn(x, host, 0, ACCESS_BLACK, 403);
    learn(x, host, 1, ACCESS_WHITE, 200);
    /* Seen by a worker whose message has not come yet. */
    iptable_set_access(&x->h->region.table, host->index, ip_of(x, host, 2), ACCESS_BLACK, ACCESS_LEARNS_BLACK);
    host->expires_wall_us = 1;
    add(x->h, "http://a.test/2");
    answer_ok(x->h, 8, 1);
    assert_int_equal(host->run.count, 8);
    assert_int_equal(state_of(x, host, 0), ACCESS_BLACK);
    assert_int_equal(state_of(x, host, 1), ACCESS_WHITE);
    assert_int_equal(state_of(x, host, 2), ACCESS_BLACK);
    assert_int_equal(state_of(x, host, 3), ACCESS_UNKNOWN);
    assert_int_equal(state_of(x, host, 7), ACCESS_UNKNOWN);
}

static void the_next_run_starts_with_what_was_learned(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 3);

    learn(x, host, 0, ACCESS_BLACK, 403);
    learn(x, host, 1, ACCESS_WHITE, 200);
    run_again(x);
    assert_int_equal(STAT(x, whitelist_size), 1);
    assert_int_equal(STAT(x, blacklist_size), 1);
    host = host_of(x, "http://a.test/", 3);
    assert_int_equal(state_of(x, host, 0), ACCESS_BLACK);
    assert_int_equal(state_of(x, host, 1), ACCESS_WHITE);
    assert_int_equal(state_of(x, host, 2), ACCESS_UNKNOWN);
}

static void rules_hold_for_lists_in_use_and_go_again(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 3);

    learn(x, host, 0, ACCESS_BLACK, 403);
    learn(x, host, 2, ACCESS_WHITE, 200);
    rule(x, "192.0.2.0/24", ACCESS_WHITE, NULL);
    rule(x, "192.0.2.2", ACCESS_BLACK, NULL);
    assert_int_equal(state_of(x, host, 0), ACCESS_FIXED);
    assert_int_equal(state_of(x, host, 1), ACCESS_BLACK);
    assert_int_equal(state_of(x, host, 2), ACCESS_FIXED);
    assert_int_equal(STAT(x, blacklist_size), 1);
    /* From one list to the other. */
    rule(x, "192.0.2.2", ACCESS_WHITE, NULL);
    assert_int_equal(state_of(x, host, 1), ACCESS_FIXED);
    assert_int_equal(STAT(x, blacklist_size), 0);
    rule(x, "192.0.2.2", ACCESS_BLACK, NULL);
    run_again(x);
    host = host_of(x, "http://a.test/", 3);
    assert_int_equal(state_of(x, host, 1), ACCESS_BLACK);
    assert_int_equal(unrule(x, "192.0.2.2"), 1);
    assert_int_equal(unrule(x, "192.0.2.2"), 0);
    assert_int_equal(state_of(x, host, 1), ACCESS_FIXED);
    assert_int_equal(unrule(x, "192.0.2.0/24"), 1);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(state_of(x, host, i), ACCESS_UNKNOWN);
}

static void rules_expire(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 1);
    struct ip_prefix_list list = prefixes("192.0.2.1");
    struct access_manual manual = {.state = ACCESS_BLACK, .expires_wall_us = clock_wall_us() + 20000};

    access_add(x->a, &list, &manual);
    ip_prefix_list_free(&list);
    assert_int_equal(state_of(x, host, 0), ACCESS_BLACK);
    assert_int_equal(STAT(x, blacklist_size), 1);
    usleep(30000);
    timers_run(&x->h->timers, clock_us(), x->h->frontier);
    assert_int_equal(state_of(x, host, 0), ACCESS_UNKNOWN);
    assert_int_equal(STAT(x, blacklist_size), 0);
}

static void nonsense_from_a_worker_is_passed_over(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 1);
    struct result_message m = {.kind = RESULT_NOTE,
                               .host = host->index,
                               .host_generation = host->generation + 2,
                               .ip = ip_of(x, host, 0),
                               .access = ACCESS_BLACK};

    assert_true(access_on_note(x->a, &m));
    m.host_generation = host->generation;
    m.ip = 63;
    assert_true(access_on_note(x->a, &m));
    m.ip = UINT32_MAX;
    assert_true(access_on_note(x->a, &m));
    m.host = UINT32_MAX;
    assert_true(access_on_note(x->a, &m));
    m.access = ACCESS_FIXED;
    assert_false(access_on_note(x->a, &m));
    assert_int_equal(state_of(x, host, 0), ACCESS_UNKNOWN);
    assert_int_equal(STAT(x, blacklist_size), 0);
    m = (struct result_message){.kind = RESULT_NOTE,
                                .host = host->index,
                                .host_generation = host->generation,
                                .ip = ip_of(x, host, 0),
                                .access = ACCESS_BLACK,
                                .status = 403};
    assert_true(access_on_note(x->a, &m));
    assert_int_equal(state_of(x, host, 0), ACCESS_BLACK);
    assert_int_equal(STAT(x, blacklist_size), 1);
}

/* --- checks --- */

/* The order of a check that is due `later_us` from now; the worker it went to in *worker_out. */
static bool take_check(struct scene *x, uint64_t later_us, unsigned *worker_out, struct task_message *m)
{
    timers_run(&x->h->timers, clock_us() + later_us, x->h->frontier);
    for (*worker_out = 0; *worker_out < 2; ++*worker_out) {
        if (pop_task(x->h, *worker_out, m) && m->kind == TASK_CHECK)
            return true;
    }
    return false;
}

static void answer_check(struct scene *x, unsigned worker, const struct task_message *m, enum outcome outcome,
                         uint32_t status)
{
    struct result_message r = {.seq = m->seq,
                               .slot = m->slot,
                               .kind = RESULT_CHORE,
                               .outcome = (uint32_t)outcome,
                               .status = status,
                               .ip = m->ip};

    send_result(x->h, worker, r, "");
    results_turn(&x->h->results);
}

static void a_check_that_is_answered_well_makes_white(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 2);
    struct store_access record;
    struct task_message m;
    unsigned worker;

    learn(x, host, 0, ACCESS_BLACK, 403);
    assert_true(take_check(x, FAR_US, &worker, &m));
    assert_int_equal(m.host, host->index);
    assert_int_equal(m.ip, ip_of(x, host, 0));
    assert_int_equal(m.url_len, strlen("http://a.test/a?b"));
    assert_int_equal(STAT(x, access_checks), 1);
    answer_check(x, worker, &m, OUTCOME_OK, 204);
    assert_int_equal(state_of(x, host, 0), ACCESS_WHITE);
    assert_true(recall(x, A_TEST, 0, &record) && record.state == ACCESS_WHITE);
    assert_int_equal(STAT(x, whitelist_moves), 1);
    assert_int_equal(STAT(x, whitelist_size), 1);
    assert_int_equal(STAT(x, blacklist_size), 0);
    assert_false(take_check(x, 2 * (uint64_t)FAR_US, &worker, &m));
}

static void checks_wait_twice_as_long_up_to_the_interval(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 1);
    struct store_access record;
    uint64_t interval_us = x->h->options.blacklist_check_interval * 1000;
    struct task_message m;
    unsigned worker;

    learn(x, host, 0, ACCESS_BLACK, 403);
    for (uint32_t tries = 0; tries < 8; tries++) {
        uint64_t step_us = interval_us / 16 << tries;
        uint64_t now_us = clock_wall_us();
        assert_true(recall(x, A_TEST, 0, &record));
        assert_int_equal(record.tries, tries);
        assert_in_range(record.next_check_wall_us, now_us + (tries < 4 ? step_us : interval_us) * 8 / 10 - 1000000,
                        now_us + (tries < 4 ? step_us * 11 / 10 : interval_us));
        assert_true(take_check(x, FAR_US, &worker, &m));
        answer_check(x, worker, &m, tries % 2 ? OUTCOME_OK : OUTCOME_CONNECTION_REFUSED, tries % 2 ? 403 : 0);
    }
    assert_int_equal(state_of(x, host, 0), ACCESS_BLACK);
    assert_int_equal(STAT(x, whitelist_moves), 0);
    /* The next run goes on where this one was. */
    run_again(x);
    host_of(x, "http://a.test/", 1);
    assert_true(recall(x, A_TEST, 0, &record) && record.tries == 8);
    assert_false(take_check(x, 1000000, &worker, &m));
    assert_true(take_check(x, FAR_US, &worker, &m));
}

static void a_check_that_nobody_could_make_is_made_soon(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 1);
    struct store_access record;
    struct task_message m;
    unsigned worker;

    learn(x, host, 0, ACCESS_BLACK, 403);
    assert_true(take_check(x, FAR_US, &worker, &m));
    answer_check(x, worker, &m, OUTCOME_AT_LIMIT, 0);
    assert_true(recall(x, A_TEST, 0, &record) && record.tries == 0);
    assert_true(take_check(x, 2000000, &worker, &m));
}

static void checks_are_bounded_and_of_learned_blacks_alone(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 40);
    struct task_message m;
    unsigned count = 0;

    x->h->options.blacklist_check_interval = 16;
    rule(x, "192.0.2.32/27", ACCESS_BLACK, NULL);
    for (uint32_t i = 0; i < 20; i++)
        learn(x, host, i, ACCESS_BLACK, 403);
    usleep(5000);
    timers_run(&x->h->timers, clock_us(), x->h->frontier);
    for (unsigned w = 0; w < 2; w++) {
        while (pop_task(x->h, w, &m))
            count += m.kind == TASK_CHECK;
    }
    assert_int_equal(count, 16);
}

static void what_was_forgotten_is_not_checked(void **state)
{
    struct scene *x = *state;
    struct host *host = host_of(x, "http://a.test/", 1);
    struct task_message m;
    unsigned worker;

    learn(x, host, 0, ACCESS_BLACK, 403);
    assert_int_equal(unrule(x, "192.0.0.0/16"), 1);
    assert_int_equal(state_of(x, host, 0), ACCESS_UNKNOWN);
    assert_false(take_check(x, FAR_US, &worker, &m));
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(the_truth_table_of_what_is_learned),
        SCENE(black_for_one_host_says_nothing_of_another),
        SCENE(a_new_list_keeps_what_is_known),
        SCENE(the_next_run_starts_with_what_was_learned),
        SCENE(rules_hold_for_lists_in_use_and_go_again),
        SCENE(rules_expire),
        SCENE(nonsense_from_a_worker_is_passed_over),
        SCENE(a_check_that_is_answered_well_makes_white),
        SCENE(checks_wait_twice_as_long_up_to_the_interval),
        SCENE(a_check_that_nobody_could_make_is_made_soon),
        SCENE(checks_are_bounded_and_of_learned_blacks_alone),
        SCENE(what_was_forgotten_is_not_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
