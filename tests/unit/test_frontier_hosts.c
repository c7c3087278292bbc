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
    };

    return cmocka_run_group_tests_name("frontier_hosts", tests, NULL, NULL);
}
