/* Queues by host and the line of hosts: when a host stands in it, what its addresses must be like, who comes first, and
 * that no task gets lost or doubled whatever the name servers say meanwhile. */
#include "tests/unit/coordinator_house.h"

static struct host *first(struct house *h)
{
    return frontier_first(h->frontier);
}

/* Takes the head of the line and its first task, and puts the host at the line's end, as dispatch does. */
static uint64_t take_turn(struct house *h)
{
    struct host *host = first(h);

    assert_non_null(host);
    struct task *task = frontier_take(h->frontier, host);
    assert_non_null(task);
    assert_int_equal(task->place, TASK_NOWHERE);
    frontier_rotate(h->frontier, host);
    uint64_t seq = task->seq;
    results_fail(&h->results, task, OUTCOME_DEADLINE, NULL);
    return seq;
}

static void run_timers(struct house *h, uint64_t after_us)
{
    timers_run(&h->timers, clock_us() + after_us, h->frontier);
}

static void a_new_host_is_asked_for_once_and_waits(void **state)
{
    struct house *h = *state;

    add(h, "http://a.example/1");
    add(h, "http://a.example/2");
    assert_int_equal(h->resolver.asked, 1);
    assert_string_equal(h->resolver.questions[0].name, "a.example");
    assert_null(first(h));
    assert_int_equal(frontier_queued(h->frontier), 2);
    answer_ok(h, 2, 1);
    assert_non_null(first(h));
    assert_int_equal(first(h)->pending_count, 2);
    assert_int_equal(first(h)->dns_us, 1500);
    assert_host(first(h));
}

static void tasks_leave_in_the_order_in_which_they_came(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 5; i++)
        add_at(h, "http://a.example/", "192.0.2.1");
    for (uint64_t seq = 1; seq <= 5; seq++)
        assert_int_equal(take_turn(h), seq);
    assert_null(first(h));
    assert_int_equal(frontier_queued(h->frontier), 0);
    assert_int_equal(task_count(h->tasks), 0);
}

static void each_host_has_its_turn_whatever_its_share(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 10; i++)
        add_at(h, "http://big.example/", "192.0.2.1");
    add_at(h, "http://small.example/", "192.0.2.2");
    assert_int_equal(take_turn(h), 1);
    assert_int_equal(take_turn(h), 11);
    assert_int_equal(take_turn(h), 2);
    assert_int_equal(take_turn(h), 3);
}

static void a_task_put_back_is_the_next(void **state)
{
    struct house *h = *state;

    add_at(h, "http://a.example/1", "192.0.2.1");
    add_at(h, "http://a.example/2", "192.0.2.1");
    struct task *task = frontier_take(h->frontier, first(h));
    frontier_put_back(h->frontier, task);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_int_equal(take_turn(h), 1);
    assert_int_equal(take_turn(h), 2);
}

static void literal_addresses_and_given_ones_need_no_question(void **state)
{
    struct house *h = *state;
    struct address address;
    uint32_t at;

    add(h, "http://192.0.2.9/");
    add(h, "http://[2001:db8::9]/");
    struct task *task = add_at(h, "http://a.example/", "192.0.2.1,2001:db8::1");
    assert_int_equal(h->resolver.asked, 0);
    assert_int_equal(hosts_count(frontier_host_table(h->frontier)), 3);
    assert_int_equal(task->host->run.count, 2);
    assert_int_equal(iptable_next_address(&h->region.table, first(h)->index, &at, &address), OUTCOME_OK);
    assert_int_equal(address.bytes[3], 9);
}

static void a_failed_name_ends_all_its_tasks_once(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 3; i++)
        add(h, "http://a.example/");
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(h->failures, 3);
    assert_int_equal(h->last_failure, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(task_count(h->tasks), 0);
    assert_int_equal(frontier_queued(h->frontier), 0);
    assert_null(first(h));
    for (uint64_t seq = 1; seq <= 3; seq++)
        assert_int_equal(records_of(h, seq), 1);
    assert_output_has(h, "\"error_code\":\"dns-nxdomain\"");
}

static void a_failure_is_remembered_until_it_expires(void **state)
{
    struct house *h = *state;

    add(h, "http://a.example/");
    answer_failure(h, OUTCOME_DNS_SERVFAIL);
    add(h, "http://a.example/");
    assert_int_equal(h->resolver.asked, 1);
    assert_int_equal(h->failures, 2);
    assert_int_equal(h->last_failure, OUTCOME_DNS_SERVFAIL);
}

static void an_expired_failure_is_asked_about_again(void **state)
{
    struct house *h = *state;

    add(h, "http://a.example/");
    answer_all(h, &(struct resolver_answer){.outcome = OUTCOME_DNS_TIMEOUT, .expires_wall_us = 1});
    add(h, "http://a.example/");
    assert_int_equal(h->resolver.asked, 2);
    assert_int_equal(h->failures, 1);
    answer_ok(h, 1, 1);
    assert_int_equal(take_turn(h), 2);
}

static void out_of_date_addresses_are_used_while_new_ones_are_asked_for(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 1, 1);
    struct host *host = task->host;
    take_turn(h);
    host->expires_wall_us = 1;
    add(h, "http://a.example/");
    assert_int_equal(h->resolver.asked, 2);
    assert_true(host->refreshing);
    assert_ptr_equal(first(h), host);
    take_turn(h);
    /* One question at a time. */
    add(h, "http://a.example/");
    assert_int_equal(h->resolver.asked, 2);
    answer_ok(h, 3, 1);
    assert_false(host->refreshing);
    assert_int_equal(host->run.count, 3);
    take_turn(h);
    assert_host(host);
}

static void silent_servers_take_no_addresses_away(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 2, 1);
    struct host *host = task->host;
    take_turn(h);
    host->expires_wall_us = 1;
    add(h, "http://a.example/");
    answer_failure(h, OUTCOME_DNS_TIMEOUT);
    assert_int_equal(h->failures, 0);
    assert_int_equal(host->state, HOST_USABLE);
    assert_int_equal(host->run.count, 2);
    take_turn(h);
    assert_host(host);
}

static void a_name_that_is_gone_takes_its_tasks_with_it(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 2, 1);
    struct host *host = task->host;
    take_turn(h);
    host->expires_wall_us = 1;
    add(h, "http://a.example/");
    add(h, "http://a.example/");
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(h->failures, 2);
    assert_null(first(h));
    assert_int_equal(host->list, HOST_IDLE);
    assert_host(host);
}

static void a_host_stays_while_its_question_is_open(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 1, 1);
    struct host *host = task->host;
    take_turn(h);
    host->expires_wall_us = 1;
    add(h, "http://a.example/");
    take_turn(h);
    /* Without a task, with an open question: the table is run over, and the answer still finds its host. */
    for (unsigned i = 0; i < 40; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://192.0.2.%u/", i);
        add(h, url);
        take_turn(h);
    }
    answer_ok(h, 1, 5);
    assert_int_equal(host->list, HOST_IDLE);
    assert_host(host);
}

static void with_no_room_for_a_host_the_task_ends(void **state)
{
    struct house *h = *state;

    for (unsigned i = 0; i < usual_plan.max_hosts; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://h%u.example/", i);
        add(h, url);
    }
    assert_int_equal(h->failures, 0);
    add(h, "http://one-more.example/");
    assert_int_equal(h->failures, 1);
    assert_int_equal(h->last_failure, OUTCOME_RESOURCE_EXHAUSTED);
    assert_int_equal(records_of(h, usual_plan.max_hosts + 1), 1);
}

static void with_no_room_for_addresses_the_tasks_end_and_the_host_may_try_later(void **state)
{
    struct house *h = *state;

    add(h, "http://a.example/");
    answer_ok(h, 64, 0);
    struct task *task = add(h, "http://b.example/");
    struct host *host = task->host;
    answer_all(h, &(struct resolver_answer){.outcome = OUTCOME_OK,
                                            .addresses = &(struct address){.family = 4, .bytes = {10}},
                                            .count = 1,
                                            .expires_wall_us = UINT64_MAX});
    assert_int_equal(h->failures, 1);
    assert_int_equal(h->last_failure, OUTCOME_RESOURCE_EXHAUSTED);
    assert_in_range(host->expires_wall_us, clock_wall_us(), clock_wall_us() + 1000000);
    assert_int_equal(host->list, HOST_IDLE);
    assert_host(host);
}

static void a_delayed_task_comes_back_when_its_time_is_over(void **state)
{
    struct house *h = *state;

    add_at(h, "http://a.example/", "192.0.2.1");
    struct task *task = frontier_take(h->frontier, first(h));
    struct host *host = task->host;
    frontier_rotate(h->frontier, host);
    frontier_delay(h->frontier, task, 50);
    assert_int_equal(task->place, TASK_DELAYED);
    assert_null(first(h));
    assert_host(host);
    run_timers(h, 0);
    assert_int_equal(task->place, TASK_DELAYED);
    run_timers(h, 60000);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_int_equal(take_turn(h), 1);
}

static void the_longest_delay_does_not_wrap(void **state)
{
    struct house *h = *state;

    add_at(h, "http://a.example/", "192.0.2.1");
    struct task *task = frontier_take(h->frontier, first(h));
    frontier_rotate(h->frontier, task->host);
    frontier_delay(h->frontier, task, UINT32_MAX);
    run_timers(h, 4000000000u);
    assert_int_equal(task->place, TASK_DELAYED);
    frontier_leave(h->frontier, task);
    timer_remove(&h->timers, &task->delay);
    task_free(h->tasks, task);
}

static void no_delay_means_at_once(void **state)
{
    struct house *h = *state;

    add_at(h, "http://a.example/", "192.0.2.1");
    struct task *task = frontier_take(h->frontier, first(h));
    frontier_delay(h->frontier, task, 0);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_int_equal(take_turn(h), 1);
}

static void a_host_that_wants_rest_leaves_the_line_and_comes_back(void **state)
{
    struct house *h = *state;
    struct task *task = add_at(h, "http://a.example/", "192.0.2.1");
    struct host *host = task->host;

    frontier_hold_host(h->frontier, host, 50);
    assert_null(first(h));
    add_at(h, "http://a.example/", "192.0.2.1");
    frontier_consider(h->frontier, host);
    assert_null(first(h));
    /* The longer wait counts, the shorter one does not. */
    frontier_hold_host(h->frontier, host, 200);
    frontier_hold_host(h->frontier, host, 10);
    run_timers(h, 60000);
    assert_null(first(h));
    run_timers(h, 210000);
    assert_ptr_equal(first(h), host);
    assert_host(host);
    take_turn(h);
    take_turn(h);
    assert_int_equal(host->list, HOST_IDLE);
}

static void a_host_at_rest_without_tasks_is_kept_until_it_is_over(void **state)
{
    struct house *h = *state;
    struct task *task = add_at(h, "http://a.example/", "192.0.2.1");
    struct host *host = task->host;

    frontier_hold_host(h->frontier, host, 50);
    task = frontier_take(h->frontier, host);
    results_fail(&h->results, task, OUTCOME_DEADLINE, NULL);
    assert_int_equal(host->held_count, 1);
    assert_int_not_equal(host->list, HOST_IDLE);
    run_timers(h, 60000);
    assert_int_equal(host->list, HOST_IDLE);
    assert_host(host);
}

static void blocked_hosts_come_back_in_their_order_at_the_head(void **state)
{
    struct house *h = *state;

    struct host *a = add_at(h, "http://a.example/", "192.0.2.1")->host;
    struct host *b = add_at(h, "http://b.example/", "192.0.2.2")->host;
    struct host *c = add_at(h, "http://c.example/", "192.0.2.3")->host;
    assert_false(frontier_has_blocked(h->frontier));
    frontier_block(h->frontier, a);
    frontier_block(h->frontier, b);
    assert_true(frontier_has_blocked(h->frontier));
    assert_ptr_equal(first(h), c);
    frontier_unblock(h->frontier, 0);
    assert_ptr_equal(first(h), c);
    frontier_unblock(h->frontier, 2);
    assert_false(frontier_has_blocked(h->frontier));
    assert_int_equal(take_turn(h), 1);
    assert_int_equal(take_turn(h), 2);
    assert_int_equal(take_turn(h), 3);
    assert_host(a);
    assert_host(b);
}

static void only_as_many_are_unblocked_as_was_said(void **state)
{
    struct house *h = *state;

    struct host *a = add_at(h, "http://a.example/", "192.0.2.1")->host;
    struct host *b = add_at(h, "http://b.example/", "192.0.2.2")->host;
    frontier_block(h->frontier, a);
    frontier_block(h->frontier, b);
    frontier_unblock(h->frontier, 1);
    assert_ptr_equal(first(h), a);
    assert_true(frontier_has_blocked(h->frontier));
    assert_int_equal(b->list, HOST_BLOCKED);
}

/* A slot is free: it must not be spent on a host that can do nothing with it. */
static void a_host_at_rest_does_not_use_up_the_unblocking(void **state)
{
    struct house *h = *state;

    struct host *a = add_at(h, "http://a.example/", "192.0.2.1")->host;
    struct host *b = add_at(h, "http://b.example/", "192.0.2.2")->host;
    frontier_hold_host(h->frontier, a, 50);
    frontier_block(h->frontier, a);
    frontier_block(h->frontier, b);
    frontier_unblock(h->frontier, 1);
    assert_ptr_equal(first(h), b);
    run_timers(h, 60000);
    assert_int_equal(a->list, HOST_READY);
}

static void a_blocked_host_whose_tasks_all_fail_is_idle(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 1, 1);
    struct host *host = task->host;
    host->expires_wall_us = 1;
    take_turn(h);
    add(h, "http://a.example/");
    frontier_block(h->frontier, host);
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(host->list, HOST_IDLE);
    assert_false(frontier_has_blocked(h->frontier));
    assert_host(host);
}

/* A task handed back meets a failed host: the queue is empty again at once and the host idle. Blocking it then, as
 * results does, must not put it into a second list. */
static void an_idle_host_cannot_be_blocked(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 1, 1);
    struct host *host = task->host;
    frontier_take(h->frontier, host);
    frontier_rotate(h->frontier, host);
    host->state = HOST_FAILED;
    host->failure = OUTCOME_DNS_NXDOMAIN;
    frontier_put_back(h->frontier, task);
    assert_int_equal(h->failures, 1);
    assert_int_equal(host->list, HOST_IDLE);
    frontier_block(h->frontier, host);
    assert_false(frontier_has_blocked(h->frontier));
    assert_host(host);
}

static void a_wrong_resolve_entry_is_told(void **state)
{
    struct house *h = *state;
    struct options_error error;
    char *items[] = {(char[]){"nonsense"}};
    struct option_list kept = h->options.resolve;

    h->options.resolve = (struct option_list){.items = items, .count = 1};
    assert_null(frontier_new(&h->region, &h->resolver, &h->options, &h->timers, house_on_failure, h, &error));
    assert_non_null(strstr(error.message, "--resolve"));
    h->options.resolve = kept;
}

static void resolve_entries_go_before_the_name_servers(void **state)
{
    struct house *h = *state;
    char *items[] = {(char[]){"a.example:80:192.0.2.77"}};
    struct option_list kept = h->options.resolve;
    struct options_error error;

    frontier_free(h->frontier);
    h->options.resolve = (struct option_list){.items = items, .count = 1};
    h->frontier = frontier_new(&h->region, &h->resolver, &h->options, &h->timers, house_on_failure, h, &error);
    h->results.frontier = h->frontier;
    h->options.resolve = kept;
    add(h, "http://a.example/");
    assert_int_equal(h->resolver.asked, 0);
    add(h, "http://a.example:81/");
    assert_int_equal(h->resolver.asked, 1);
    assert_int_equal(take_turn(h), 1);
}

/* Only what can be connected to is in the shared tables; a host of which nothing can be ends its tasks. */
static void addresses_without_a_source_are_left_out(void **state)
{
    struct house *h = *state;
    char *sources[] = {(char[]){"192.0.2.0/24"}};
    char *given[] = {(char[]){"a.example:80:2001:db8::1,192.0.2.77,2001:db8::2"}};
    struct option_list kept = h->options.resolve;
    struct options_error error;
    struct address address;
    uint32_t ip;

    frontier_free(h->frontier);
    h->options.bind_ip = (struct option_list){.items = sources, .count = 1};
    h->options.resolve = (struct option_list){.items = given, .count = 1};
    h->frontier = frontier_new(&h->region, &h->resolver, &h->options, &h->timers, house_on_failure, h, &error);
    h->results.frontier = h->frontier;
    h->options.bind_ip = h->options.resolve = kept;
    uint32_t index = add(h, "http://a.example/")->host->index;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(iptable_next_address(&h->region.table, index, &ip, &address), OUTCOME_OK);
        assert_int_equal(address.family, 4);
    }
    add(h, "http://[2001:db8::1]/");
    assert_int_equal(h->failures, 1);
    assert_int_equal(h->last_failure, OUTCOME_IP_EXHAUSTED);
    assert_int_equal(take_turn(h), 1);
}

static void a_family_that_is_not_wanted_is_no_address(void **state)
{
    struct house *h = *state;

    h->options.ipv6 = true;
    add(h, "http://192.0.2.1/");
    assert_int_equal(h->failures, 1);
    assert_int_equal(h->last_failure, OUTCOME_DNS_NXDOMAIN);
    add(h, "http://[2001:db8::1]/");
    assert_int_equal(h->failures, 1);
    assert_int_equal(take_turn(h), 2);
}

/* Once failed: the age of addresses is looked at while a queue is not empty: a host with more URLs than the
 * window holds never has an empty one, and its TTL is then never kept (A11: refresh at the answer's TTL). */
static void a_queue_that_is_never_empty_does_not_keep_addresses_for_ever(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 1, 1);
    task->host->expires_wall_us = 1;
    for (int i = 0; i < 200; i++) {
        add(h, "http://a.example/");
        add(h, "http://a.example/");
        take_turn(h);
    }
    assert_int_equal(h->resolver.asked, 2);
}

/* Once failed: a refresh for which there is no room keeps the addresses that are there: addresses_publish()
 * changed nothing, they are as good as they were, yet all tasks of the host end as resource-exhausted. */
static void a_refresh_without_room_keeps_the_old_addresses(void **state)
{
    struct house *h = *state;
    struct task *task = add(h, "http://a.example/");

    answer_ok(h, 60, 1);
    struct host *host = task->host;
    take_turn(h);
    host->expires_wall_us = 1;
    add(h, "http://a.example/");
    answer_ok(h, 60, 100);
    assert_int_equal(h->failures, 0);
    assert_int_equal(host->state, HOST_USABLE);
    take_turn(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_host_is_asked_for_once_and_waits),
        CASE(tasks_leave_in_the_order_in_which_they_came),
        CASE(each_host_has_its_turn_whatever_its_share),
        CASE(a_task_put_back_is_the_next),
        CASE(literal_addresses_and_given_ones_need_no_question),
        CASE(a_failed_name_ends_all_its_tasks_once),
        CASE(a_failure_is_remembered_until_it_expires),
        CASE(an_expired_failure_is_asked_about_again),
        CASE(out_of_date_addresses_are_used_while_new_ones_are_asked_for),
        CASE(silent_servers_take_no_addresses_away),
        CASE(a_name_that_is_gone_takes_its_tasks_with_it),
        CASE(a_host_stays_while_its_question_is_open),
        CASE(with_no_room_for_a_host_the_task_ends),
        CASE(with_no_room_for_addresses_the_tasks_end_and_the_host_may_try_later),
        CASE(a_delayed_task_comes_back_when_its_time_is_over),
        CASE(the_longest_delay_does_not_wrap),
        CASE(no_delay_means_at_once),
        CASE(a_host_that_wants_rest_leaves_the_line_and_comes_back),
        CASE(a_host_at_rest_without_tasks_is_kept_until_it_is_over),
        CASE(blocked_hosts_come_back_in_their_order_at_the_head),
        CASE(only_as_many_are_unblocked_as_was_said),
        CASE(a_host_at_rest_does_not_use_up_the_unblocking),
        CASE(a_blocked_host_whose_tasks_all_fail_is_idle),
        CASE(an_idle_host_cannot_be_blocked),
        CASE(a_wrong_resolve_entry_is_told),
        CASE(resolve_entries_go_before_the_name_servers),
        CASE(addresses_without_a_source_are_left_out),
        CASE(a_family_that_is_not_wanted_is_no_address),
        CASE(a_queue_that_is_never_empty_does_not_keep_addresses_for_ever),
        CASE(a_refresh_without_room_keeps_the_old_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
