/* Which task goes to which worker, how many at a time, and that plans and counters come out even. */
#include "tests/unit/coordinator_house.h"

#define LIMIT 14 /* tasks a host gets in the usual house: 10 connections and 4 ahead */

static void add_many(struct house *h, const char *url, const char *ip, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add_at(h, url, ip);
}

static uint32_t given_to(struct house *h, unsigned w)
{
    return h->fleet.workers[w].given_count;
}

static void lease(struct house *h, unsigned w, const struct host *host)
{
    assert_int_equal(iptable_lease(&h->region.table, w, host->index, IP_NONE, 0, 0, 0), LEASE_GRANTED);
}

/* Answers the oldest task that worker `w` has. */
static void answer_one(struct house *h, unsigned w)
{
    struct task_message m;

    assert_true(pop_task(h, w, &m));
    send_record(h, w, &m);
    assert_int_equal(results_turn(&h->results), 1);
}

/* Answers all that was given and not yet answered, in turns, until nothing is left anywhere. */
static void finish_all(struct house *h)
{
    struct task_message m;

    for (int turns = 0; turns < 10000 && task_count(h->tasks) > 0; turns++) {
        frontier_unblock(h->frontier, 4);
        deal(h);
        for (unsigned w = 0; w < h->fleet.count; w++) {
            while (pop_task(h, w, &m))
                send_record(h, w, &m);
        }
        results_turn(&h->results);
    }
    assert_int_equal(task_count(h->tasks), 0);
    assert_int_equal(dispatch_given(h->dispatch), 0);
    assert_int_equal(frontier_queued(h->frontier), 0);
}

static void assert_text(const char **at, uint32_t len, const char *wanted)
{
    assert_int_equal(len, strlen(wanted));
    assert_memory_equal(*at, wanted, len);
    *at += len;
}

static void a_message_holds_all_that_a_worker_needs(void **state)
{
    struct house *h = *state;
    struct input_line line = {.method = "PUT",
                              .method_len = 3,
                              .headers = "A: b\r\n",
                              .headers_len = 6,
                              .body = "body",
                              .body_len = 4,
                              .ip = "192.0.2.1",
                              .ip_len = 9,
                              .tag = "[1]",
                              .tag_len = 3};
    struct task *task = make_task_with(h, "HTTPS://A.example:444/p?q", line);
    const void *data;
    uint32_t len;

    frontier_add(h->frontier, task);
    assert_int_equal(deal(h), 1);
    assert_int_equal(task->place, TASK_GIVEN);
    assert_int_equal(ring_peek(&h->inbox[task->worker], &data, &len), OUTCOME_OK);
    const struct task_message *m = data;
    assert_int_equal(m->seq, 1);
    assert_int_equal(m->slot, task->slot);
    assert_int_equal(m->host, task->host->index);
    assert_int_equal(m->host_generation, task->host->generation);
    assert_int_equal(m->flags, TASK_URL_IS_FIRST);
    assert_int_equal(m->port, 444);
    assert_int_equal(m->scheme, URL_HTTPS);
    const char *at = (const char *)data + sizeof *m;
    assert_text(&at, m->url_len, "https://a.example:444/p?q");
    assert_int_equal(m->first_url_len, 0);
    assert_text(&at, m->input_len, "HTTPS://A.example:444/p?q");
    assert_text(&at, m->method_len, "PUT");
    assert_text(&at, m->headers_len, "A: b\r\n");
    assert_text(&at, m->body_len, "body");
    assert_text(&at, m->tag_len, "[1]");
    assert_int_equal(m->chain_count, 0);
    assert_ptr_equal(at, (const char *)data + len);
}

static void a_redirected_task_tells_where_it_began(void **state)
{
    struct house *h = *state;
    struct task *task = make_task(h, "http://192.0.2.1/first");
    struct buffer text = {0};
    struct url next;
    const char *reason;
    const void *data;
    uint32_t len;

    assert_int_equal(url_parse("http://192.0.2.2:81/next?q", 26, NULL, &text, &next, &reason), OUTCOME_OK);
    task_redirect(task, &next, 303, (struct span){"POST", 4});
    buffer_fini(&text);
    frontier_add(h->frontier, task);
    deal(h);
    assert_int_equal(ring_peek(&h->inbox[task->worker], &data, &len), OUTCOME_OK);
    const struct task_message *m = data;
    assert_int_equal(m->flags, TASK_INPUT_IS_URL | TASK_NO_BODY | TASK_CROSSED);
    const char *at = (const char *)data + sizeof *m;
    uint16_t status;
    assert_int_equal(m->chain_count, 1);
    memcpy(&status, at, sizeof status);
    assert_int_equal(status, 303);
    at += sizeof status;
    assert_text(&at, m->url_len, "http://192.0.2.2:81/next?q");
    assert_text(&at, m->first_url_len, "http://192.0.2.1/first");
    assert_text(&at, m->method_len, "GET");
    assert_text(&at, m->input_len, "");
    assert_ptr_equal(at, (const char *)data + len);
    assert_int_equal(m->port, 81);
    assert_int_equal(m->first_port, 80);
    assert_int_equal(m->path_len, 5);
    assert_int_equal(m->first_path_len, 6);
}

static void tasks_are_spread_over_workers(void **state)
{
    struct house *h = *state;
    char url[64];

    for (unsigned i = 0; i < 10; i++) {
        snprintf(url, sizeof url, "http://192.0.2.%u/", i);
        add(h, url);
    }
    assert_int_equal(deal(h), 10);
    assert_int_equal(given_to(h, 0), 5);
    assert_int_equal(given_to(h, 1), 5);
    finish_all(h);
}

static void a_hot_connection_draws_the_tasks_of_its_host(void **state)
{
    struct house *h = *state;

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 2);
    for (int i = 0; i < 3; i++)
        lease(h, 1, host);
    assert_int_equal(deal(h), 3);
    assert_int_equal(given_to(h, 1), 3);
    assert_int_equal(host->given[1], 3);
    assert_host(host);
    finish_all(h);
}

/* Gives tasks one at a time, each answered before the next; counts the workers' in given_out. */
static void give_in_turn(struct house *h, unsigned count, unsigned given_out[2])
{
    for (unsigned i = 0; i < count; i++) {
        add_at(h, "http://a.example/", "192.0.2.1");
        assert_int_equal(deal(h), 1);
        unsigned w = given_to(h, 0) ? 0 : 1;
        given_out[w]++;
        answer_one(h, w);
    }
}

static void idle_connections_are_used_equally_often_whatever_worker_has_them(void **state)
{
    struct house *h = *state;
    unsigned given[2] = {0};

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    deal(h);
    finish_all(h);
    for (int i = 0; i < 7; i++)
        lease(h, i < 2 ? 0 : 1, host);
    give_in_turn(h, 7, given);
    assert_int_equal(given[0], 2);
    assert_int_equal(given[1], 5);
    give_in_turn(h, 3 * 7, given);
    assert_int_equal(given[0], 4 * 2);
    assert_int_equal(given[1], 4 * 5);
}

static void a_worker_whose_connections_are_all_busy_has_its_turn_taken(void **state)
{
    struct house *h = *state;

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    lease(h, 0, host);
    for (int i = 0; i < 5; i++)
        lease(h, 1, host);
    deal(h);
    finish_all(h);
    for (int i = 0; i < 13; i++) {
        add_many(h, "http://a.example/", "192.0.2.1", 1);
        deal(h);
        while (given_to(h, 1))
            answer_one(h, 1);
    }
    assert_int_equal(host->given[0], 1);
    assert_int_equal(host->given_count, 1);
    finish_all(h);
}

static void nothing_is_given_to_a_worker_that_does_not_run(void **state)
{
    struct house *h = *state;

    h->fleet.workers[0].pid = 0;
    add_many(h, "http://a.example/", "192.0.2.1", 4);
    assert_int_equal(deal(h), 4);
    assert_int_equal(given_to(h, 0), 0);
    finish_all(h);
}

static void without_any_worker_hosts_wait_and_go_on_later(void **state)
{
    struct house *h = *state;

    h->fleet.workers[0].pid = h->fleet.workers[1].pid = 0;
    add_many(h, "http://a.example/", "192.0.2.1", 4);
    assert_int_equal(deal(h), 0);
    assert_true(frontier_has_blocked(h->frontier));
    assert_int_equal(deal(h), 0);
    h->fleet.workers[0].pid = 1000;
    frontier_unblock(h->frontier, 1);
    assert_int_equal(deal(h), 4);
    finish_all(h);
}

static void no_more_than_the_concurrency_is_given(void **state)
{
    struct house_plan plan = usual_plan;
    char url[64];

    plan.concurrency = 7;
    struct house *h = rebuild(state, &plan);
    for (unsigned i = 0; i < 12; i++) {
        snprintf(url, sizeof url, "http://192.0.2.%u/", i);
        add(h, url);
    }
    assert_int_equal(deal(h), 7);
    assert_int_equal(deal(h), 7);
    assert_int_equal(frontier_queued(h->frontier), 5);
    answer_one(h, 0);
    assert_int_equal(dispatch_given(h->dispatch), 6);
    assert_int_equal(deal(h), 7);
    finish_all(h);
}

static void a_host_gets_what_its_connections_can_work_on_and_its_answers_bring_it_back(void **state)
{
    struct house *h = *state;

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 99);
    assert_int_equal(deal(h), LIMIT);
    assert_int_equal(host->list, HOST_UNLISTED);
    assert_int_equal(host->wanted, 10);
    assert_int_equal(deal(h), LIMIT);
    answer_one(h, 0);
    assert_int_equal(host->list, HOST_READY);
    assert_int_equal(deal(h), LIMIT);
    assert_host(host);
    finish_all(h);
    assert_int_equal(host->wanted, 0);
    assert_int_equal(host->list, HOST_IDLE);
}

static void over_http2_a_connection_carries_many(void **state)
{
    struct house *h = *state;

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 499);
    atomic_store(&h->region.table.hosts[host->index].flags, HOST_HTTP2);
    atomic_store(&h->region.table.hosts[host->index].streams_max, 20);
    assert_int_equal(deal(h), 10 * 20 + 4);
    assert_int_equal(host->wanted, 10);
    finish_all(h);
}

static void the_plan_for_connections_falls_when_the_host_turns_out_to_speak_http2(void **state)
{
    struct house *h = *state;

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 39);
    deal(h);
    assert_int_equal(host->wanted, 10);
    atomic_store(&h->region.table.hosts[host->index].flags, HOST_HTTP2);
    answer_one(h, 0);
    deal(h);
    assert_int_equal(host->wanted, 1);
    assert_host(host);
    finish_all(h);
}

static void connections_that_are_wanted_stay_within_the_limit(void **state)
{
    struct house_plan plan = usual_plan;
    struct host *hosts[5];
    uint32_t wanted = 0;
    char url[64];

    plan.max_connections = 8;
    plan.max_conns_per_host = 3;
    struct house *h = rebuild(state, &plan);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(url, sizeof url, "http://192.0.2.%u/", i);
        hosts[i] = add(h, url)->host;
        for (int n = 0; n < 20; n++)
            add(h, url);
    }
    deal(h);
    for (unsigned i = 0; i < 5; i++) {
        wanted += hosts[i]->wanted;
        assert_host(hosts[i]);
        assert_in_range(hosts[i]->wanted, 0, 3);
    }
    assert_int_equal(wanted, 8);
    assert_true(frontier_has_blocked(h->frontier));
    finish_all(h);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(hosts[i]->wanted, 0);
}

static void in_a_full_fleet_only_who_holds_connections_is_chosen(void **state)
{
    struct house_plan plan = usual_plan;

    plan.max_connections = 2;
    struct house *h = rebuild(state, &plan);
    struct host *other = add_at(h, "http://b.example/", "192.0.2.2")->host;
    lease(h, 1, other);
    lease(h, 1, other);
    finish_all(h);
    add_many(h, "http://a.example/", "192.0.2.1", 2);
    assert_int_equal(deal(h), 2);
    assert_int_equal(given_to(h, 0), 0);
    assert_int_equal(given_to(h, 1), 2);
    finish_all(h);
}

static void with_the_hosts_connections_used_up_only_their_holders_are_chosen(void **state)
{
    struct house_plan plan = usual_plan;

    plan.max_conns_per_host = 1;
    struct house *h = rebuild(state, &plan);
    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 2);
    lease(h, 1, host);
    deal(h);
    assert_int_equal(given_to(h, 0), 0);
    assert_int_equal(given_to(h, 1), 3);
    finish_all(h);
}

static void the_tasks_of_a_host_with_one_connection_to_come_go_to_one_worker(void **state)
{
    struct house_plan plan = usual_plan;

    plan.max_conns_per_host = 1;
    struct house *h = rebuild(state, &plan);
    add_at(h, "http://a.example/", "192.0.2.1");
    add_many(h, "http://a.example/", "192.0.2.1", 4);
    assert_int_equal(deal(h), 5);
    unsigned chosen = given_to(h, 0) ? 0 : 1;
    assert_int_equal(given_to(h, chosen), 5);
    /* No connection yet, and more tasks in another turn: to the same one. */
    add_many(h, "http://a.example/", "192.0.2.1", 2);
    answer_one(h, chosen);
    deal(h);
    assert_int_equal(given_to(h, 1 - chosen), 0);
    finish_all(h);
}

static void after_a_hand_back_another_worker_is_asked(void **state)
{
    struct house *h = *state;
    struct task_message m;

    struct task *task = add_at(h, "http://a.example/", "192.0.2.1");
    deal(h);
    unsigned before = task->worker;
    assert_true(pop_task(h, before, &m));
    send_result(h, before, result_of(&m, RESULT_HAND_BACK), "");
    results_turn(&h->results);
    assert_int_equal(task->place, TASK_QUEUED);
    frontier_unblock(h->frontier, 1);
    assert_int_equal(deal(h), 1);
    assert_int_not_equal(task->worker, before);
    finish_all(h);
}

static void full_rings_lose_nothing(void **state)
{
    struct house_plan plan = usual_plan;

    plan.ring_capacity = 4096;
    plan.max_conns_per_host = 100;
    struct house *h = rebuild(state, &plan);
    add_many(h, "http://a.example/", "192.0.2.1", 100);
    assert_true(dispatch_run(h->dispatch));
    assert_in_range(dispatch_given(h->dispatch), 10, 60);
    assert_int_equal(frontier_queued(h->frontier) + dispatch_given(h->dispatch), 100);
    finish_all(h);
    for (uint64_t seq = 1; seq <= 100; seq++)
        assert_int_equal(records_of(h, seq), 1);
}

static void a_worker_is_woken_once_for_all_that_it_was_sent(void **state)
{
    struct house *h = *state;

    h->fleet.workers[1].pid = 0;
    add_many(h, "http://a.example/", "192.0.2.1", 3);
    deal(h);
    assert_true(h->fleet.workers[0].to_wake);
    assert_false(h->fleet.workers[1].to_wake);
    h->fleet.workers[0].to_wake = false;
    deal(h);
    assert_false(h->fleet.workers[0].to_wake);
    finish_all(h);
}

static void a_small_host_is_not_kept_waiting_by_a_big_one_within_a_turn(void **state)
{
    struct house_plan plan = usual_plan;

    plan.concurrency = 40;
    plan.max_conns_per_host = 100;
    struct house *h = rebuild(state, &plan);
    add_many(h, "http://big.example/", "192.0.2.1", 200);
    struct host *small = add_at(h, "http://small.example/", "192.0.2.2")->host;
    assert_int_equal(deal(h), 40);
    assert_int_equal(small->given_count, 1);
    finish_all(h);
}

static void a_fast_host_gets_tasks_ahead_and_a_slow_one_no_more(void **state)
{
    struct house *h = *state;

    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 499);
    deal(h);
    for (int i = 0; i < LIMIT; i++)
        answer_one(h, i % 2 ? 1 : 0);
    dispatch_begin_turn(h->dispatch, 1002000);
    assert_int_equal(deal(h), 10 + 2 * LIMIT);
    assert_int_equal(host->pace, LIMIT);
    dispatch_begin_turn(h->dispatch, 9000000);
    dispatch_count_answer(h->dispatch, host);
    assert_int_equal(host->pace, 0);
    finish_all(h);
}

static void a_pace_that_is_out_of_bounds_is_bounded(void **state)
{
    struct house_plan plan = usual_plan;

    plan.ring_capacity = 1u << 20;
    plan.concurrency = 5000;
    struct house *h = rebuild(state, &plan);
    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    add_many(h, "http://a.example/", "192.0.2.1", 1999);
    host->slot = 500;
    host->pace = UINT32_MAX / 2;
    dispatch_begin_turn(h->dispatch, 1000000);
    assert_int_equal(deal(h), 10 + 1024);
    finish_all(h);
}

/* Once failed: the plan for connections gives every host its turn: who was first keeps its share of `wanted`
 * as long as it has tasks, and with max_connections hosts that never run dry nobody else is served ("each has its turn
 * whatever its share of the input"; F3: one slow host does not starve the others). */
static void hosts_with_long_queues_do_not_keep_others_out_for_ever(void **state)
{
    struct house_plan plan = usual_plan;
    struct task_message m;
    unsigned answered = 0;

    plan.max_connections = 1;
    struct house *h = rebuild(state, &plan);
    add_many(h, "http://big.example/", "192.0.2.1", 2000);
    struct task *small = add_at(h, "http://small.example/", "192.0.2.2");
    uint64_t seq = small->seq;
    uint32_t slot = small->slot;
    while (task_find(h->tasks, slot, seq) && small->place != TASK_GIVEN && answered < 2000) {
        frontier_unblock(h->frontier, 20);
        deal(h);
        for (unsigned w = 0; w < 2; w++) {
            if (pop_task(h, w, &m)) {
                send_record(h, w, &m);
                answered++;
            }
        }
        results_turn(&h->results);
    }
    assert_in_range(answered, 0, 500);
}

/* Once failed: one full task ring stops only the tasks that want it: now the turn ends at the first host
 * whose worker has no room, that host stays at the head of the line, and the workers beside it run dry. */
static void a_full_ring_of_one_worker_does_not_stop_the_others(void **state)
{
    struct house_plan plan = usual_plan;

    plan.ring_capacity = 4096;
    struct house *h = rebuild(state, &plan);
    struct host *stuck = add_at(h, "http://stuck.example/", "192.0.2.1")->host;
    struct host *other = add_at(h, "http://other.example/", "192.0.2.2")->host;
    for (int i = 0; i < 5; i++) {
        lease(h, 0, stuck);
        lease(h, 1, other);
    }
    while (ring_reserve(&h->fleet.workers[0].tasks, 8))
        ring_commit(&h->fleet.workers[0].tasks, 8);
    dispatch_run(h->dispatch);
    assert_int_equal(other->given_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_message_holds_all_that_a_worker_needs),
        CASE(a_redirected_task_tells_where_it_began),
        CASE(tasks_are_spread_over_workers),
        CASE(a_hot_connection_draws_the_tasks_of_its_host),
        CASE(idle_connections_are_used_equally_often_whatever_worker_has_them),
        CASE(a_worker_whose_connections_are_all_busy_has_its_turn_taken),
        CASE(nothing_is_given_to_a_worker_that_does_not_run),
        CASE(without_any_worker_hosts_wait_and_go_on_later),
        CASE(no_more_than_the_concurrency_is_given),
        CASE(a_host_gets_what_its_connections_can_work_on_and_its_answers_bring_it_back),
        CASE(over_http2_a_connection_carries_many),
        CASE(the_plan_for_connections_falls_when_the_host_turns_out_to_speak_http2),
        CASE(connections_that_are_wanted_stay_within_the_limit),
        CASE(in_a_full_fleet_only_who_holds_connections_is_chosen),
        CASE(with_the_hosts_connections_used_up_only_their_holders_are_chosen),
        CASE(the_tasks_of_a_host_with_one_connection_to_come_go_to_one_worker),
        CASE(after_a_hand_back_another_worker_is_asked),
        CASE(full_rings_lose_nothing),
        CASE(a_worker_is_woken_once_for_all_that_it_was_sent),
        CASE(a_small_host_is_not_kept_waiting_by_a_big_one_within_a_turn),
        CASE(a_fast_host_gets_tasks_ahead_and_a_slow_one_no_more),
        CASE(a_pace_that_is_out_of_bounds_is_bounded),
        CASE(hosts_with_long_queues_do_not_keep_others_out_for_ever),
        CASE(a_full_ring_of_one_worker_does_not_stop_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
