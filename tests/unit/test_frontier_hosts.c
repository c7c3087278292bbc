/* Hosts that are held for something that is no task: they keep their slot, are resolved by the usual path, and make
 * room again when they are let go; and who is told of answers. */
#include "tests/unit/coordinator_house.h"

static struct url parse(const char *text, struct buffer *out)
{
    const char *reason = "";
    struct url url;

    assert_int_equal(url_parse(text, strlen(text), NULL, out, &url, &reason), OUTCOME_OK);
    return url;
}

static struct host *hold(struct house *h, const char *text)
{
    struct buffer out = {0};
    struct url url = parse(text, &out);
    struct host *host = frontier_host(h->frontier, &url);

    buffer_fini(&out);
    return host;
}

struct heard {
    unsigned count;
    struct host *host;
    enum outcome outcome;
    uint32_t before_count, now_count;
    struct address before;
};

static void on_answer(void *user, struct host *host, enum outcome outcome, const struct address *before,
                      uint32_t before_count)
{
    struct heard *heard = user;

    heard->count++;
    heard->outcome = outcome;
    heard->host = host;
    heard->before_count = before_count;
    heard->now_count = host->run.count;
    if (before_count)
        heard->before = before[0];
}

static void held_host_is_resolved_without_a_task(void **state)
{
    struct house *h = *state;
    struct host *host = hold(h, "https://a.example/");

    assert_non_null(host);
    assert_int_equal(host->state, HOST_RESOLVING);
    assert_int_equal(h->resolver.asked, 1);
    answer_ok(h, 2, 1);
    assert_int_equal(host->state, HOST_USABLE);
    assert_int_equal(host->run.count, 2);
    assert_null(frontier_first(h->frontier));
    assert_host(host);
    frontier_let_go(h->frontier, host);
    assert_int_equal(host->list, HOST_IDLE);
    assert_host(host);
}

static void held_host_is_that_of_the_tasks(void **state)
{
    struct house *h = *state;
    struct host *host = hold(h, "https://a.example/");

    add(h, "https://a.example/1");
    answer_ok(h, 1, 1);
    assert_ptr_equal(frontier_first(h->frontier), host);
    assert_int_equal(h->resolver.asked, 1);
    frontier_let_go(h->frontier, host);
    assert_ptr_equal(frontier_first(h->frontier), host);
    assert_host(host);
}

static void held_host_makes_no_room_until_it_is_let_go(void **state)
{
    struct house *h = *state;
    struct host *host = hold(h, "https://a.example/");
    char url[64];

    answer_ok(h, 1, 1);
    for (uint32_t i = 1; i < usual_plan.max_hosts; i++) {
        snprintf(url, sizeof url, "https://192.0.2.%u/", i);
        assert_non_null(hold(h, url));
    }
    assert_null(hold(h, "https://192.0.2.200/"));
    frontier_let_go(h->frontier, host);
    assert_non_null(hold(h, "https://192.0.2.200/"));
}

static void host_with_connections_makes_no_room_after_it_is_let_go(void **state)
{
    struct house *h = *state;
    struct host *host = hold(h, "https://192.0.2.99/");
    char url[64];

    assert_int_equal(iptable_lease(&h->region.table, 0, host->index, IP_NONE, 0, 0, 0), LEASE_GRANTED);
    frontier_let_go(h->frontier, host);
    for (uint32_t i = 1; i < usual_plan.max_hosts; i++) {
        snprintf(url, sizeof url, "https://192.0.2.%u/", i);
        assert_non_null(hold(h, url));
    }
    assert_null(hold(h, "https://192.0.2.200/"));
    assert_ptr_equal(hold(h, "https://192.0.2.99/"), host);
}

static void held_host_that_can_not_be_resolved_is_failed(void **state)
{
    struct house *h = *state;
    struct host *host = hold(h, "https://nobody.example/");

    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(host->state, HOST_FAILED);
    assert_int_equal(host->failure, OUTCOME_DNS_NXDOMAIN);
    frontier_let_go(h->frontier, host);
    assert_host(host);
}

static void watchers_hear_what_there_was_and_see_what_there_is(void **state)
{
    struct house *h = *state;
    struct heard heard[2] = {0};
    struct host *host;

    frontier_watch(h->frontier, on_answer, &heard[0]);
    frontier_watch(h->frontier, on_answer, &heard[1]);
    host = hold(h, "https://a.example/");
    answer_ok(h, 2, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(heard[i].count, 1);
        assert_ptr_equal(heard[i].host, host);
        assert_int_equal(heard[i].before_count, 0);
        assert_int_equal(heard[i].now_count, 2);
    }
    host->expires_wall_us = 1;
    assert_ptr_equal(hold(h, "https://a.example/"), host);
    assert_int_equal(h->resolver.asked, 2);
    answer_ok(h, 3, 7);
    assert_int_equal(heard[0].count, 2);
    assert_int_equal(heard[0].before_count, 2);
    assert_int_equal(heard[0].before.bytes[3], 1);
    assert_int_equal(heard[0].now_count, 3);
}

static void refresh_asks_name_servers_and_keeps_what_there_is_until_they_answer(void **state)
{
    struct house *h = *state;
    struct heard heard = {0};

    frontier_watch(h->frontier, on_answer, &heard);
    struct host *host = hold(h, "https://a.example/");
    answer_ok(h, 2, 1);
    assert_true(frontier_refresh(h->frontier, host));
    assert_true(frontier_refresh(h->frontier, host));
    assert_int_equal(h->resolver.asked_anew, 1);
    assert_int_equal(host->state, HOST_USABLE);
    assert_int_equal(host->run.count, 2);
    answer_failure(h, OUTCOME_DNS_SERVFAIL);
    assert_int_equal(heard.outcome, OUTCOME_DNS_SERVFAIL);
    assert_int_equal(host->state, HOST_USABLE);
    assert_true(frontier_refresh(h->frontier, host));
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_int_equal(host->state, HOST_FAILED);
    assert_true(frontier_refresh(h->frontier, host));
    assert_int_equal(host->state, HOST_RESOLVING);
    answer_ok(h, 1, 1);
    assert_int_equal(host->state, HOST_USABLE);
    frontier_let_go(h->frontier, host);
    assert_host(host);
}

static void literal_addresses_have_nothing_to_refresh(void **state)
{
    struct house *h = *state;

    assert_false(frontier_refresh(h->frontier, hold(h, "https://192.0.2.1/")));
    assert_false(frontier_refresh(h->frontier, add_at(h, "http://a.example/", "192.0.2.1")->host));
    assert_int_equal(h->resolver.asked, 0);
}

static struct host *host_of(struct house *h, const char *text, const char *ip)
{
    struct buffer out = {0};
    struct url url = parse(text, &out);
    struct host *host = frontier_host_of(h->frontier, &url, (struct span){ip, ip ? strlen(ip) : 0});

    buffer_fini(&out);
    return host;
}

static void host_of_a_line_is_found_and_nothing_asked(void **state)
{
    struct house *h = *state;
    struct host *host = host_of(h, "http://a.example/x", NULL);

    assert_non_null(host);
    assert_int_equal(host->held_count, 0);
    assert_int_equal(host->state, HOST_NEW);
    assert_int_equal(h->resolver.asked, 0);
    assert_ptr_equal(host_of(h, "http://a.example/y", NULL), host);
    assert_ptr_not_equal(host_of(h, "https://a.example/y", NULL), host);
    assert_ptr_not_equal(host_of(h, "http://a.example/y", "192.0.2.1"), host);
    struct task *task = make_task(h, "http://a.example/z");
    frontier_add_new(h->frontier, task, host);
    assert_ptr_equal(task->host, host);
    assert_int_equal(task->place, TASK_QUEUED);
    /* By the task, and by the question. */
    assert_int_equal(host->held_count, 2);
    assert_int_equal(host->pending_count, 1);
    assert_int_equal(h->resolver.asked, 1);
    /* The host that frontier_add() would have found. */
    assert_ptr_equal(add(h, "http://a.example/")->host, host);
}

static void there_is_no_host_of_a_line_when_all_are_held(void **state)
{
    struct house *h = *state;
    char text[64];

    for (unsigned i = 0; i < usual_plan.max_hosts; i++) {
        snprintf(text, sizeof text, "http://h%u.example/", i);
        assert_int_equal(frontier_has_room(h->frontier), i < usual_plan.max_hosts - 1);
        assert_non_null(hold(h, text));
    }
    assert_null(host_of(h, "http://another.example/", NULL));
    assert_non_null(host_of(h, "http://h3.example/", NULL));
}

static unsigned lows, ends;
static struct host *low_host;

static void on_low(void *user, struct host *host)
{
    assert_ptr_equal(user, &lows);
    lows++;
    low_host = host;
}

static void on_end(void *user, struct host *host, enum outcome outcome, const char *detail)
{
    assert_ptr_equal(user, &lows);
    assert_int_equal(outcome, OUTCOME_DEADLINE);
    assert_string_equal(detail, "why");
    ends++;
    low_host = host;
}

static void who_keeps_lines_of_a_host_hears_of_each_task_that_is_taken(void **state)
{
    struct house *h = *state;
    /* Its address is of no interest, that it has one is. */
    struct overflow_queue *some_lines = (struct overflow_queue *)(void *)&low_host;

    lows = ends = 0;
    frontier_set_overflow(h->frontier, &(struct frontier_overflow){on_low, on_end, &lows});
    struct host *host = NULL;
    for (unsigned i = 0; i < 3; i++) {
        host = add_at(h, "http://a.example/", "192.0.2.1")->host;
        add_at(h, "http://b.example/", "192.0.2.2");
    }
    host->overflow = some_lines;
    results_fail(&h->results, frontier_take(h->frontier, host), OUTCOME_DEADLINE, NULL);
    assert_int_equal(lows, 1);
    assert_ptr_equal(low_host, host);
    /* Also of those that end without their turn. */
    assert_int_equal(ends, 0);
    low_host = NULL;
    frontier_end_queue(h->frontier, host, OUTCOME_DEADLINE, "why");
    assert_int_equal(lows, 3);
    assert_int_equal(ends, 1);
    assert_ptr_equal(low_host, host);
    host->overflow = NULL;
    struct host *other = frontier_first(h->frontier);
    results_fail(&h->results, frontier_take(h->frontier, other), OUTCOME_DEADLINE, NULL);
    frontier_end_queue(h->frontier, other, OUTCOME_DEADLINE, NULL);
    assert_int_equal(lows, 3);
    assert_int_equal(ends, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(held_host_is_resolved_without_a_task),
        CASE(held_host_is_that_of_the_tasks),
        CASE(held_host_makes_no_room_until_it_is_let_go),
        CASE(host_with_connections_makes_no_room_after_it_is_let_go),
        CASE(held_host_that_can_not_be_resolved_is_failed),
        CASE(watchers_hear_what_there_was_and_see_what_there_is),
        CASE(refresh_asks_name_servers_and_keeps_what_there_is_until_they_answer),
        CASE(literal_addresses_have_nothing_to_refresh),
        CASE(host_of_a_line_is_found_and_nothing_asked),
        CASE(there_is_no_host_of_a_line_when_all_are_held),
        CASE(who_keeps_lines_of_a_host_hears_of_each_task_that_is_taken),
    };

    return cmocka_run_group_tests_name("frontier_hosts", tests, NULL, NULL);
}
