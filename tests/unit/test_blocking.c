/* What a worker makes of answers that block, and of addresses that are black: whoever blackened them. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"
#include "worker/access.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;
static const char *answer;

#define options(...)   ((const char *const[]){__VA_ARGS__, NULL})
#define OK_ANSWER      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define BLOCKED_ANSWER "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"

static void say_it(struct peer *p)
{
    char *end;

    while ((end = p->in.data ? memmem(p->in.data, p->in.len, "\r\n\r\n", 4) : NULL)) {
        buffer_consume(&p->in, (size_t)(end + 4 - p->in.data));
        o->requests++;
        peer_say(p, answer);
    }
}

/* A host at `count` addresses, of which only the first is somebody. */
static void start(const char *text, unsigned count, const char *const *options)
{
    static const char *const addresses[] = {"127.0.0.1", "127.0.0.77", "127.0.0.78"};

    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, ORIGIN_PLAIN);
    answer = text;
    o->on_bytes = say_it;
    host = fixture_host(&x, URL_HTTP, "a.test", o->port, addresses, count);
}

static struct iptable *table(void)
{
    return &x.w->region.table;
}

static enum access_state state_of(const char *address)
{
    uint32_t ref;

    assert_true(iptable_find(table(), host->index, fixture_ip(&x, address), &ref));
    return iptable_access_of(table(), ref, fixture_ip(&x, address));
}

static void set(const char *address, enum access_state state)
{
    assert_true(iptable_set_access(table(), host->index, fixture_ip(&x, address), state, ACCESS_ANY));
}

static void ask(const char *method)
{
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .method = method});
    fixture_until_told(&x, x.asked, 0);
}

static void a_403_is_asked_for_elsewhere_and_told(void **state)
{
    (void)state;
    start(BLOCKED_ANSWER, 2, options("max_retries=0"));
    ask(NULL);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_IP_BLOCKED);
    const struct result_message *m = &fixture_told(&x, 0)->m;
    assert_int_equal(m->access, ACCESS_BLACK);
    assert_int_equal(m->ip, fixture_ip(&x, "127.0.0.1"));
    assert_int_equal(m->status, 403);
    assert_int_equal(m->delay_ms, 0);
    assert_int_equal(state_of("127.0.0.1"), ACCESS_BLACK);
    assert_int_equal(state_of("127.0.0.77"), ACCESS_UNKNOWN);
    assert_int_equal(fixture_gauge(&x, blackened), 1);
    fixture_turns(&x, 3);
    assert_int_equal(origin_open_count(o), 0);
    fixture_close(&x);
}

static void a_403_of_the_last_address_is_recorded_and_the_rest_ends_at_once(void **state)
{
    (void)state;
    start(BLOCKED_ANSWER, 1, NULL);
    ask(NULL);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_IP_BLOCKED);
    assert_tells(&x, 0, "\"status_code\":403,");
    uint64_t before_us = clock_us();
    fixture_get(&x, host, 200);
    fixture_until_told(&x, 201, 0);
    assert_in_range(clock_us() - before_us, 0, 2000000);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_IP_EXHAUSTED), 200);
    assert_tells(&x, 1, "blocked");
    assert_int_equal(o->requests, 1);
    fixture_close(&x);
}

static void a_post_is_not_sent_again(void **state)
{
    (void)state;
    start(BLOCKED_ANSWER, 2, NULL);
    ask("POST");
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_IP_BLOCKED);
    assert_int_equal(fixture_told(&x, 0)->m.access, ACCESS_BLACK);
    fixture_close(&x);
}

static void statuses_that_block_are_an_option(void **state)
{
    (void)state;
    start(BLOCKED_ANSWER, 1, options("blacklist_status="));
    ask(NULL);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(state_of("127.0.0.1"), ACCESS_UNKNOWN);
    fixture_close(&x);

    start("HTTP/1.1 451 No\r\nContent-Length: 0\r\n\r\n", 1, options("blacklist_status=403,450-459"));
    ask(NULL);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_IP_BLOCKED);
    fixture_close(&x);
}

static void a_fixed_address_is_not_blocked(void **state)
{
    (void)state;
    start(BLOCKED_ANSWER, 1, NULL);
    set("127.0.0.1", ACCESS_FIXED);
    ask(NULL);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(fixture_told(&x, 0)->m.access, ACCESS_UNKNOWN);
    assert_int_equal(state_of("127.0.0.1"), ACCESS_FIXED);
    fixture_close(&x);
}

static void success_is_told_once(void **state)
{
    (void)state;
    start(OK_ANSWER, 1, NULL);
    for (unsigned i = 0; i < 3; i++)
        ask(NULL);
    assert_int_equal(fixture_told(&x, 0)->m.access, ACCESS_WHITE);
    assert_int_equal(fixture_told(&x, 0)->m.ip, fixture_ip(&x, "127.0.0.1"));
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(fixture_told(&x, i)->m.access, ACCESS_UNKNOWN);
    assert_int_equal(state_of("127.0.0.1"), ACCESS_WHITE);
    fixture_close(&x);
}

static void success_under_way_does_not_whiten_what_another_blackened(void **state)
{
    (void)state;
    start(NULL, 1, NULL);
    o->on_bytes = NULL;
    fixture_get(&x, host, 1);
    fixture_until(&x, o->peer_count == 1 && peer_heard(o->peers[0], "GET") == 1);
    set("127.0.0.1", ACCESS_BLACK);
    peer_say(o->peers[0], OK_ANSWER);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(fixture_told(&x, 0)->m.access, ACCESS_UNKNOWN);
    assert_int_equal(state_of("127.0.0.1"), ACCESS_BLACK);
    fixture_close(&x);
}

static void a_kept_connection_is_not_used_once_its_address_is_black(void **state)
{
    (void)state;
    start(OK_ANSWER, 1, NULL);
    ask(NULL);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    set("127.0.0.1", ACCESS_BLACK);
    ask(NULL);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_IP_EXHAUSTED);
    assert_int_equal(o->requests, 1);
    assert_int_equal(fixture_gauge(&x, conns_idle), 0);
    /* And used again when it is good. */
    set("127.0.0.1", ACCESS_WHITE);
    ask(NULL);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void a_black_address_is_seen_in_a_list_that_is_new(void **state)
{
    (void)state;
    start(OK_ANSWER, 1, NULL);
    ask(NULL);
    uint32_t ip = fixture_ip(&x, "127.0.0.1");
    table()->ip_refs[x.refs] = ip_ref_pack(ip, ACCESS_BLACK);
    iptable_host_publish(table(), host->index, x.refs++, 1);
    ask(NULL);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_IP_EXHAUSTED);
    assert_int_equal(o->requests, 1);
    fixture_close(&x);
}

/* A handshake takes turns: the list changes in between, and who asks meanwhile has it followed. */
static void a_connection_whose_address_is_gone_when_it_opens_serves_nothing(void **state)
{
    (void)state;
    static const char *const both[] = {"127.0.0.1", "127.0.0.77"};
    fixture_open(&x, &(struct fixture_plan){.options = options("max_conns_per_host=1")});
    o = fixture_origin(&x, ORIGIN_TLS);
    o->on_bytes = say_it;
    answer = OK_ANSWER;
    host = fixture_host(&x, URL_HTTPS, "a.test", o->port, both, 2);
    fixture_get(&x, host, 1);
    fixture_until(&x, fixture_gauge(&x, conns_dialing) == 1);
    table()->ip_refs[x.refs] = ip_ref_pack(fixture_ip(&x, "127.0.0.77"), ACCESS_UNKNOWN);
    iptable_host_publish(table(), host->index, x.refs++, 1);
    fixture_get(&x, host, 1);
    fixture_until(&x, STATS_GET(x.w->page, conns_unlisted) == 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_outcome(&x, 1, RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(o->requests, 0);
    fixture_close(&x);
}

static void the_only_usable_address_is_found_whosever_turn_it_is(void **state)
{
    (void)state;
    start(OK_ANSWER, 3, options("max_conns_per_host=1", "max_lifetime=1ms"));
    set("127.0.0.77", ACCESS_BLACK);
    set("127.0.0.78", ACCESS_BLACK);
    for (unsigned i = 0; i < 20; i++) {
        /* The other worker takes turns in between. */
        atomic_fetch_add(&table()->hosts[host->index].turn, i);
        ask(NULL);
        fixture_pass_ms(&x, 2);
    }
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 20);
    fixture_close(&x);
}

static void what_a_probe_sees_is_told_in_a_note(void **state)
{
    (void)state;
    start(OK_ANSWER, 2, NULL);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    struct conn *conn = TAILQ_FIRST(&fixture_pool_host(&x, host)->ready);
    assert_non_null(conn);
    assert_int_equal(access_judge_probe(conn, 200), ACCESS_UNKNOWN);
    fixture_turns(&x, 3);
    assert_int_equal(x.told_count, 1);
    assert_int_equal(access_judge_probe(conn, 403), ACCESS_BLACK);
    pool_on_release(conn);
    x.asked++;
    fixture_until_told(&x, 2, 0);
    const struct result_message *m = &x.told[1].m;
    assert_int_equal(m->kind, RESULT_NOTE);
    assert_int_equal(m->access, ACCESS_BLACK);
    assert_int_equal(m->status, 403);
    assert_int_equal(m->ip, fixture_ip(&x, "127.0.0.1"));
    assert_int_equal(m->host, host->index);
    assert_int_equal(m->host_generation, host->generation);
    fixture_until(&x, origin_open_count(o) == 0 || o->peers[0]->ended);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_403_is_asked_for_elsewhere_and_told),
        cmocka_unit_test(a_403_of_the_last_address_is_recorded_and_the_rest_ends_at_once),
        cmocka_unit_test(a_post_is_not_sent_again),
        cmocka_unit_test(statuses_that_block_are_an_option),
        cmocka_unit_test(a_fixed_address_is_not_blocked),
        cmocka_unit_test(success_is_told_once),
        cmocka_unit_test(success_under_way_does_not_whiten_what_another_blackened),
        cmocka_unit_test(a_kept_connection_is_not_used_once_its_address_is_black),
        cmocka_unit_test(a_black_address_is_seen_in_a_list_that_is_new),
        cmocka_unit_test(what_a_probe_sees_is_told_in_a_note),
        cmocka_unit_test(a_connection_whose_address_is_gone_when_it_opens_serves_nothing),
        cmocka_unit_test(the_only_usable_address_is_found_whosever_turn_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
