/* What becomes of workers' messages: records, redirects, retries, tasks handed back, and deaths. */
#include "tests/unit/coordinator_house.h"

static uint64_t counter(const struct house *h, enum outcome outcome)
{
    return atomic_load(&h->results.page->outcomes[outcome]);
}

/* A task at an address of its own, given out; its message and the worker that has it. */
static struct task *give_one(struct house *h, const char *url, struct task_message *m, unsigned *worker_out)
{
    struct task *task = add_at(h, url, "192.0.2.1");

    deal(h);
    assert_int_equal(task->place, TASK_GIVEN);
    *worker_out = task->worker;
    assert_true(pop_task(h, task->worker, m));
    assert_int_equal(m->seq, task->seq);
    return task;
}

static void a_record_is_written_as_it_came(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    send_result(h, w, result_of(&m, RESULT_RECORD), "{\"seq\":1,\"x\":\"y\"}\n");
    assert_true(results_waiting(&h->results));
    assert_int_equal(results_turn(&h->results), 1);
    assert_false(results_waiting(&h->results));
    assert_string_equal(output(h), "{\"seq\":1,\"x\":\"y\"}\n");
    assert_int_equal(h->results.done, 1);
    assert_int_equal(h->results.failed, 0);
    assert_int_equal(h->results.outcomes[OUTCOME_OK], 1);
    assert_all_gone(h);
}

static void a_failed_record_is_counted_as_such(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    struct result_message r = result_of(&m, RESULT_RECORD);
    r.outcome = OUTCOME_TLS_ERROR;
    send_result(h, w, r, "{\"seq\":1}\n");
    results_turn(&h->results);
    assert_int_equal(h->results.done, 1);
    assert_int_equal(h->results.failed, 1);
    assert_int_equal(h->results.outcomes[OUTCOME_TLS_ERROR], 1);
    /* The worker counts its own records in its own page. */
    assert_int_equal(STATS_GET(h->results.page, records), 0);
}

static void a_redirect_goes_to_its_host_and_back_to_a_worker(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/x/y", &m, &w);
    struct host *from = task->host;
    struct result_message r = result_of(&m, RESULT_REDIRECT);
    r.status = 302;
    send_result(h, w, r, "//b.example:81/z");
    assert_int_equal(results_turn(&h->results), 1);
    assert_int_equal(from->list, HOST_IDLE);
    assert_host(from);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_string_equal(h->resolver.questions[0].name, "b.example");
    answer_ok(h, 1, 5);
    deal(h);
    assert_int_equal(task->place, TASK_GIVEN);
    assert_true(pop_task(h, task->worker, &m));
    assert_int_equal(m.port, 81);
    assert_int_equal(m.chain_count, 1);
    assert_int_equal(m.attempts, 1);
    send_record(h, task->worker, &m);
    results_turn(&h->results);
    assert_int_equal(records_of(h, 1), 1);
    assert_all_gone(h);
}

static void a_redirect_is_read_against_the_current_url(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/x/y", &m, &w);
    struct result_message r = result_of(&m, RESULT_REDIRECT);
    r.status = 301;
    send_result(h, w, r, "z/");
    results_turn(&h->results);
    assert_int_equal(task->url.len, 21);
    assert_memory_equal(task->url.text, "http://a.example/x/z/", 21);
    deal(h);
    assert_true(pop_task(h, task->worker, &m));
    r = result_of(&m, RESULT_REDIRECT);
    r.status = 301;
    send_result(h, task->worker, r, "../w");
    results_turn(&h->results);
    assert_int_equal(task->url.len, 20);
    assert_memory_equal(task->url.text, "http://a.example/x/w", 20);
    assert_int_equal(task->chain_count, 2);
}

static void a_redirect_to_nowhere_ends_the_task(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/", &m, &w);
    struct host *host = task->host;
    struct result_message r = result_of(&m, RESULT_REDIRECT);
    r.status = 302;
    send_result(h, w, r, "ftp://b.example/");
    results_turn(&h->results);
    assert_int_equal(records_of(h, 1), 1);
    assert_output_has(h, "\"error_code\":\"invalid-url\"");
    assert_host(host);
    assert_all_gone(h);
}

static void a_redirect_to_a_name_that_fails_tells_the_chain(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    struct result_message r = result_of(&m, RESULT_REDIRECT);
    r.status = 302;
    send_result(h, w, r, "http://nowhere.example/q");
    results_turn(&h->results);
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(records_of(h, 1), 1);
    assert_output_has(h, "\"url\":\"http://a.example/\"");
    assert_output_has(h, "\"final_url\":\"http://nowhere.example/q\",\"chain_status_codes\":[302]");
    assert_output_has(h, "\"attempts\":1");
    assert_output_has(h, "\"error_code\":\"dns-nxdomain\"");
    assert_int_equal(counter(h, OUTCOME_DNS_NXDOMAIN), 1);
    assert_all_gone(h);
}

static void a_retry_waits_its_delay(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/", &m, &w);
    struct result_message r = result_of(&m, RESULT_RETRY);
    r.delay_ms = 50;
    r.attempts = 2;
    r.started_us = 77;
    send_result(h, w, r, "");
    results_turn(&h->results);
    assert_int_equal(task->place, TASK_DELAYED);
    assert_int_equal(deal(h), 0);
    timers_run(&h->timers, clock_us() + 60000, h->frontier);
    deal(h);
    assert_true(pop_task(h, task->worker, &m));
    assert_int_equal(m.attempts, 2);
    assert_int_equal(m.started_us, 77);
    send_record(h, task->worker, &m);
    results_turn(&h->results);
    assert_all_gone(h);
}

static void retry_after_holds_the_whole_host(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/", &m, &w);
    add_at(h, "http://a.example/", "192.0.2.1");
    struct result_message r = result_of(&m, RESULT_RETRY);
    r.delay_ms = 10;
    r.host_wait_ms = 100;
    send_result(h, w, r, "");
    results_turn(&h->results);
    timers_run(&h->timers, clock_us() + 20000, h->frontier);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_int_equal(deal(h), 0);
    timers_run(&h->timers, clock_us() + 110000, h->frontier);
    assert_int_equal(deal(h), 2);
}

static void a_task_handed_back_is_the_next_of_its_blocked_host(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/", &m, &w);
    struct host *host = task->host;
    add_at(h, "http://a.example/", "192.0.2.1");
    send_result(h, w, result_of(&m, RESULT_HAND_BACK), "");
    assert_int_equal(results_turn(&h->results), 1);
    assert_int_equal(h->results.answered, 0);
    assert_int_equal(host->list, HOST_BLOCKED);
    assert_ptr_equal(TAILQ_FIRST(&host->pending), task);
    assert_int_equal(task->attempts, 0);
    assert_host(host);
    assert_int_equal(deal(h), 0);
    frontier_unblock(h->frontier, 1);
    assert_int_equal(deal(h), 2);
}

/* Its name is gone meanwhile: the task ends, once, and the host is left in one list. */
static void a_task_handed_back_to_a_failed_host_ends(void **state)
{
    struct house *h = *state;
    struct task_message m;

    struct task *task = add(h, "http://a.example/");
    answer_ok(h, 1, 1);
    struct host *host = task->host;
    deal(h);
    unsigned w = task->worker;
    assert_true(pop_task(h, w, &m));
    host->expires_wall_us = 1;
    add(h, "http://a.example/");
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(host->state, HOST_FAILED);
    send_result(h, w, result_of(&m, RESULT_HAND_BACK), "");
    results_turn(&h->results);
    assert_int_equal(records_of(h, 1), 1);
    assert_int_equal(records_of(h, 2), 1);
    assert_host(host);
    assert_all_gone(h);
    /* The table still works: hosts come and go through the list of idle ones. */
    for (unsigned i = 0; i < 3 * usual_plan.max_hosts; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://192.0.2.%u/", i);
        add(h, url);
        deal(h);
        for (unsigned v = 0; v < 2; v++) {
            while (pop_task(h, v, &m))
                send_record(h, v, &m);
        }
        results_turn(&h->results);
    }
    assert_int_equal(h->failures, 2);
    assert_all_gone(h);
}

static void what_a_dead_worker_had_said_counts_and_the_rest_is_given_again(void **state)
{
    struct house *h = *state;
    struct task_message m;

    h->fleet.workers[1].pid = 0;
    for (int i = 0; i < 5; i++)
        add_at(h, "http://a.example/", "192.0.2.1");
    assert_int_equal(deal(h), 5);
    for (int i = 0; i < 2; i++) {
        assert_true(pop_task(h, 0, &m));
        send_record(h, 0, &m);
    }
    die_and_start_again(h, 0);
    assert_int_equal(h->results.done, 2);
    assert_int_equal(dispatch_given(h->dispatch), 0);
    assert_int_equal(frontier_queued(h->frontier), 3);
    assert_int_equal(STATS_GET(h->results.page, worker_deaths), 1);
    assert_int_equal(STATS_GET(h->results.page, requeued), 3);
    assert_int_equal(deal(h), 3);
    for (uint64_t seq = 3; seq <= 5; seq++) {
        assert_true(pop_task(h, 0, &m));
        assert_int_equal(m.seq, seq);
        send_record(h, 0, &m);
    }
    results_turn(&h->results);
    for (uint64_t seq = 1; seq <= 5; seq++)
        assert_int_equal(records_of(h, seq), 1);
    assert_all_gone(h);
}

static void a_task_that_kills_its_workers_is_given_up(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned deaths = 0;

    h->fleet.workers[1].pid = 0;
    struct host *host = add_at(h, "http://a.example/", "192.0.2.1")->host;
    while (task_count(h->tasks) > 0 && deaths < 20) {
        assert_int_equal(deal(h), 1);
        assert_true(pop_task(h, 0, &m));
        assert_int_equal(m.refused_tries, deaths);
        h->fleet.workers[0].deaths_in_row = 7;
        die_and_start_again(h, 0);
        deaths++;
        /* Without this task the next worker may live. */
        assert_int_equal(h->fleet.workers[0].deaths_in_row, task_count(h->tasks) ? 7 : 1);
    }
    assert_in_range(deaths, 2, 10);
    assert_output_has(h, "\"error_code\":\"retries-exhausted\"");
    assert_int_equal(records_of(h, 1), 1);
    assert_host(host);
    assert_all_gone(h);
}

/* It was never taken out of the ring: the death is not its doing. */
static void a_task_still_in_the_ring_is_not_blamed_for_deaths(void **state)
{
    struct house *h = *state;

    h->fleet.workers[1].pid = 0;
    struct task *task = add_at(h, "http://a.example/", "192.0.2.1");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(deal(h), 1);
        die_and_start_again(h, 0);
    }
    assert_int_equal(task->deaths, 0);
    assert_int_equal(task->place, TASK_QUEUED);
}

static void a_request_that_may_have_been_sent_is_not_sent_twice_unless_harmless(void **state)
{
    struct house *h = *state;
    struct task_message m;

    h->fleet.workers[1].pid = 0;
    struct input_line line = {.method = "POST", .method_len = 4, .ip = "192.0.2.1", .ip_len = 9};
    frontier_add(h->frontier, make_task_with(h, "http://a.example/1", line));
    frontier_add(h->frontier, make_task_with(h, "http://a.example/2", line));
    line.method = "PUT";
    line.method_len = 3;
    frontier_add(h->frontier, make_task_with(h, "http://a.example/3", line));
    assert_int_equal(deal(h), 3);
    assert_true(pop_task(h, 0, &m));
    die_and_start_again(h, 0);
    /* The first was taken out, the others were not. */
    assert_int_equal(records_of(h, 1), 1);
    assert_int_equal(task_count(h->tasks), 2);
    assert_int_equal(deal(h), 2);
    assert_true(pop_task(h, 0, &m));
    assert_true(pop_task(h, 0, &m));
    assert_int_equal(m.seq, 3);
    die_and_start_again(h, 0);
    assert_int_equal(records_of(h, 2), 1);
    assert_int_equal(records_of(h, 3), 0);
    assert_int_equal(task_count(h->tasks), 1);
}

static void nonsense_from_a_dead_worker_ends_its_drain_only(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    send_record(h, w, &m);
    send_bytes(h, w, "nonsense", 8, "", 0);
    die_and_start_again(h, w);
    assert_int_equal(records_of(h, 1), 1);
    assert_all_gone(h);
}

static void a_refused_line_has_its_record_at_once(void **state)
{
    struct house *h = *state;

    results_refuse(&h->results, 9, (struct span){"x\x01y", 3}, true, (struct span){"[1]", 3}, NULL, OUTCOME_INVALID_URL,
                   "why");
    assert_int_equal(records_of(h, 9), 1);
    assert_output_has(h, "\"input\":\"x\\u0001y\",\"input_truncated\":true");
    assert_output_has(h, "why\"");
    assert_output_has(h, "\"tag\":[1]");
    assert_int_equal(STATS_GET(h->results.page, invalid_lines), 1);
    assert_int_equal(STATS_GET(h->results.page, records), 1);
    assert_int_equal(STATS_GET(h->results.page, failed), 1);
    assert_int_equal(counter(h, OUTCOME_INVALID_URL), 1);
    assert_int_equal(h->results.done, 1);
    assert_int_equal(h->results.failed, 1);
}

static void a_full_record_buffer_stops_the_reading_of_rings(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    send_record(h, w, &m);
    while (!records_full(h->records)) {
        buffer_append_str(records_buffer(h->records), "{\"filler\":1}\n");
        records_added(h->records);
    }
    assert_int_equal(results_turn(&h->results), 0);
    assert_false(results_waiting(&h->results));
    assert_int_equal(records_flush(h->records), OUTCOME_OK);
    assert_true(results_waiting(&h->results));
    assert_int_equal(results_turn(&h->results), 1);
    assert_int_equal(h->results.done, 1);
}

static void a_dead_workers_ring_is_read_however_full_the_buffer(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    send_record(h, w, &m);
    while (!records_full(h->records)) {
        buffer_append_str(records_buffer(h->records), "{\"filler\":1}\n");
        records_added(h->records);
    }
    die_and_start_again(h, w);
    assert_int_equal(h->results.done, 1);
    assert_all_gone(h);
}

static void a_worker_that_waited_for_room_is_told(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    h->fleet.workers[w].to_wake = false;
    atomic_store(&h->region.header->worker[w].wants_room, 1);
    results_turn(&h->results);
    assert_false(h->fleet.workers[w].to_wake);
    send_record(h, w, &m);
    results_turn(&h->results);
    assert_true(h->fleet.workers[w].to_wake);
    assert_int_equal(atomic_load(&h->region.header->worker[w].wants_room), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_record_is_written_as_it_came),
        CASE(a_failed_record_is_counted_as_such),
        CASE(a_redirect_goes_to_its_host_and_back_to_a_worker),
        CASE(a_redirect_is_read_against_the_current_url),
        CASE(a_redirect_to_nowhere_ends_the_task),
        CASE(a_redirect_to_a_name_that_fails_tells_the_chain),
        CASE(a_retry_waits_its_delay),
        CASE(retry_after_holds_the_whole_host),
        CASE(a_task_handed_back_is_the_next_of_its_blocked_host),
        CASE(a_task_handed_back_to_a_failed_host_ends),
        CASE(what_a_dead_worker_had_said_counts_and_the_rest_is_given_again),
        CASE(a_task_that_kills_its_workers_is_given_up),
        CASE(a_task_still_in_the_ring_is_not_blamed_for_deaths),
        CASE(a_request_that_may_have_been_sent_is_not_sent_twice_unless_harmless),
        CASE(nonsense_from_a_dead_worker_ends_its_drain_only),
        CASE(a_refused_line_has_its_record_at_once),
        CASE(a_full_record_buffer_stops_the_reading_of_rings),
        CASE(a_dead_workers_ring_is_read_however_full_the_buffer),
        CASE(a_worker_that_waited_for_room_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
