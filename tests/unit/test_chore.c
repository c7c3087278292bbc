/* Chores in a worker: each is answered once, whatever becomes of its connection, and none disturbs the line of waiting
 * fetches. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    o->on_bytes = script_answer;
    o->on_request = script_answer_h2;
    host = fixture_host_at(&x, "a.test", o);
}

static struct iptable *table(void)
{
    return &x.w->region.table;
}

/* A port where nobody listens, under another host. */
static struct fixture_host *host_that_refuses(void)
{
    struct origin *gone = origin_new(ORIGIN_PLAIN);
    struct fixture_host *refusing = fixture_host_at(&x, "b.test", gone);

    origin_free(gone);
    return refusing;
}

static void assert_answer(uint64_t seq, enum outcome outcome, uint32_t count)
{
    assert_outcome(&x, seq, RESULT_CHORE, outcome);
    assert_int_equal(fixture_told(&x, seq)->m.delay_ms, count);
}

static void prewarm_of(enum origin_kind kind)
{
    start(kind, NULL);
    uint64_t seq = fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 1, 0);
    assert_answer(seq, OUTCOME_OK, 1);
    assert_int_equal(fixture_told(&x, seq)->m.ip, fixture_ip(&x, "127.0.0.1"));
    fixture_turns(&x, 5);
    assert_int_equal(fixture_gauge(&x, conns_idle), 1);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"reused\":true");
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

static void prewarmed_connection_stays_and_serves_the_next_fetch(void **state)
{
    (void)state;
    prewarm_of(ORIGIN_PLAIN);
    prewarm_of(ORIGIN_TLS);
    prewarm_of(ORIGIN_H2);
}

static void prewarm_dials_although_idle_connections_are_there(void **state)
{
    (void)state;
    start(ORIGIN_TLS, options("max_conns_per_host=5"));
    for (int i = 0; i < 5; i++)
        fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 5, 0);
    assert_int_equal(fixture_count(&x, RESULT_CHORE, OUTCOME_OK), 5);
    fixture_turns(&x, 5);
    assert_int_equal(fixture_gauge(&x, conns_idle), 5);
    assert_int_equal(o->peer_count, 5);
    fixture_close(&x);
}

static void prewarm_at_the_limit_says_so(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 1, 0);
    uint64_t seq = fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 2, 0);
    assert_answer(seq, OUTCOME_AT_LIMIT, 0);
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

static void refused_prewarm_fails_no_fetch_that_waits(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    static const char *const both[] = {"127.0.0.1", "127.0.0.2"};
    /* Only the first is listened on: an origin listens on 127.0.0.1 alone. */
    struct fixture_host *two = fixture_host(&x, URL_HTTP, "two.test", o->port, both, 2);
    uint64_t seq = fixture_order(&x, TASK_PREWARM, two, fixture_ip(&x, "127.0.0.2"), 0, NULL);
    fixture_get(&x, two, 1);
    fixture_until_told(&x, 2, 0);
    assert_answer(seq, OUTCOME_CONNECTION_REFUSED, 0);
    assert_int_equal(fixture_told(&x, seq)->m.ip, fixture_ip(&x, "127.0.0.2"));
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"attempts\":1");
    fixture_close(&x);
}

static void prewarm_of_an_address_that_the_host_lost_is_not_found(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    uint64_t seq = fixture_order(&x, TASK_PREWARM, host, 40, 0, NULL);
    uint64_t wild = fixture_order(&x, TASK_PREWARM, host, UINT32_MAX - 1, 0, NULL);
    fixture_until_told(&x, 2, 0);
    assert_answer(seq, OUTCOME_NOT_FOUND, 0);
    assert_answer(wild, OUTCOME_NOT_FOUND, 0);
    fixture_close(&x);
}

static void prewarm_makes_no_connection_to_a_blocked_address(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    uint32_t ip = fixture_ip(&x, "127.0.0.1");
    assert_true(iptable_set_access(table(), host->index, ip, ACCESS_BLACK, ACCESS_ANY));
    uint64_t seq = fixture_order(&x, TASK_PREWARM, host, ip, 0, NULL);
    uint64_t in_turn = fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 2, 0);
    assert_answer(seq, OUTCOME_IP_EXHAUSTED, 0);
    assert_answer(in_turn, OUTCOME_IP_EXHAUSTED, 0);
    assert_int_equal(STATS_GET(x.w->page, dials), 0);
    fixture_close(&x);
}

static void fetch_takes_the_connection_that_a_prewarm_is_making(void **state)
{
    (void)state;
    start(ORIGIN_TLS, NULL);
    fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

static void check_of(enum origin_kind kind)
{
    start(kind, options("method=DELETE", "data=abc"));
    char url[64];
    snprintf(url, sizeof url, "%s://a.test:%u/check", kind == ORIGIN_PLAIN ? "http" : "https", o->port);
    uint64_t seq = fixture_order(&x, TASK_CHECK, host, fixture_ip(&x, "127.0.0.1"), 0, url);
    /* These wait while the check's connection is made, and need one of their own. */
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 3, 0);
    assert_answer(seq, OUTCOME_OK, 0);
    assert_int_equal(fixture_told(&x, seq)->m.status, 200);
    fixture_until(&x, o->peers[0]->ended || o->peers[0]->broken || o->peers[0]->fd < 0);
    assert_int_equal(o->peers[0]->requests, 1);
    assert_in_range(o->peer_count, 2, 3);
    assert_int_equal(o->requests, 3);
    fixture_close(&x);
}

static void check_is_one_request_on_a_connection_of_its_own(void **state)
{
    (void)state;
    check_of(ORIGIN_TLS);
    check_of(ORIGIN_H2);
}

static char first_request[512];

static void keep_first(struct peer *p)
{
    if (!first_request[0])
        snprintf(first_request, sizeof first_request, "%.*s", (int)p->in.len, p->in.data);
    script_answer(p);
}

static void check_is_a_get_whatever_the_options_say(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("method=DELETE", "data=abc"));
    first_request[0] = '\0';
    o->on_bytes = keep_first;
    fixture_order(&x, TASK_CHECK, host, fixture_ip(&x, "127.0.0.1"), 0, "http://a.test/check");
    fixture_until_told(&x, 1, 0);
    assert_memory_equal(first_request, "GET /check HTTP/1.1\r\n", 21);
    assert_null(strstr(first_request, "abc"));
    assert_null(strstr(first_request, "Content-Length"));
    fixture_close(&x);
}

static void check_that_is_not_answered_ends_in_time(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("request_timeout=80ms"));
    o->on_bytes = NULL;
    uint64_t seq = fixture_order(&x, TASK_CHECK, host, fixture_ip(&x, "127.0.0.1"), 0, "http://a.test/check");
    fixture_until_told(&x, 1, 0);
    assert_answer(seq, OUTCOME_REQUEST_TIMEOUT, 0);
    fixture_turns(&x, 3);
    assert_int_equal(iptable_fleet_open(table()), 0);
    fixture_close(&x);
}

static void check_makes_room_among_idle_connections(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_connections=1"));
    struct fixture_host *second = fixture_host_at(&x, "b.test", o);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    uint64_t seq = fixture_order(&x, TASK_CHECK, second, fixture_ip(&x, "127.0.0.1"), 0, "http://b.test/");
    fixture_until_told(&x, 2, 0);
    assert_answer(seq, OUTCOME_OK, 0);
    fixture_close(&x);
}

static void check_makes_room_at_the_limit_of_its_host(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    struct fixture_host *second = fixture_host_at(&x, "b.test", o);
    fixture_get(&x, second, 1);
    fixture_until_told(&x, 1, 0);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    uint64_t seq = fixture_order(&x, TASK_CHECK, host, fixture_ip(&x, "127.0.0.1"), 0, "http://a.test/");
    fixture_until_told(&x, 3, 0);
    assert_answer(seq, OUTCOME_OK, 0);
    /* The other host's is not in the way. */
    fixture_until(&x, fixture_gauge(&x, conns_idle) == 1 && fixture_gauge(&x, conns_active) == 0);
    fixture_close(&x);
}

static void refused_chores_are_answered(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host *refusing = host_that_refuses();
    uint64_t warm = fixture_order(&x, TASK_PREWARM, refusing, IP_NONE, 0, NULL);
    uint64_t check = fixture_order(&x, TASK_CHECK, refusing, fixture_ip(&x, "127.0.0.1"), 0, "http://b.test/");
    fixture_until_told(&x, 2, 0);
    assert_answer(warm, OUTCOME_CONNECTION_REFUSED, 0);
    assert_int_equal(fixture_told(&x, warm)->m.ip, fixture_ip(&x, "127.0.0.1"));
    assert_answer(check, OUTCOME_CONNECTION_REFUSED, 0);
    fixture_close(&x);
}

static void unknown_host_and_old_generation_are_not_found(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host wild = {.index = UINT32_MAX, .generation = 2};
    struct fixture_host old = {.index = host->index, .generation = host->generation + 2};
    uint64_t first = fixture_order(&x, TASK_PREWARM, &wild, IP_NONE, 0, NULL);
    uint64_t second = fixture_order(&x, TASK_CHECK, &old, 0, 0, "http://a.test/");
    fixture_until_told(&x, 2, 0);
    assert_answer(first, OUTCOME_NOT_FOUND, 0);
    assert_answer(second, OUTCOME_NOT_FOUND, 0);
    fixture_close(&x);
}

static void worker_that_ends_answers_its_open_chores(void **state)
{
    (void)state;
    start(ORIGIN_TLS, NULL);
    o->deaf = true;
    for (int i = 0; i < 3; i++) {
        fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
        fixture_order(&x, TASK_CHECK, host, fixture_ip(&x, "127.0.0.1"), 0, "https://a.test/");
    }
    fixture_turns(&x, 5);
    assert_int_equal(fixture_gauge(&x, conns_dialing), 6);
    /* Asserts that neither lease nor connection is left; the leak checker sees to the rest. */
    fixture_close(&x);
}

static void flush_of_what_is_idle_leaves_what_works(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=4"));
    for (int i = 0; i < 2; i++)
        fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 2, 0);
    o->on_bytes = NULL;
    fixture_get(&x, host, 1);
    fixture_turns(&x, 5);
    uint64_t seq = fixture_order(&x, TASK_FLUSH, NULL, IP_NONE, TASK_IDLE_ONLY, NULL);
    fixture_until_told(&x, 3, 0);
    assert_answer(seq, OUTCOME_OK, 1);
    assert_int_equal(fixture_gauge(&x, conns_active), 1);
    for (unsigned i = 0; i < o->peer_count; i++)
        script_answer(o->peers[i]);
    fixture_until_told(&x, 4, 0);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void flush_closes_what_works_and_its_fetch_goes_again(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=4"));
    o->on_bytes = NULL;
    fixture_get(&x, host, 1);
    fixture_until(&x, o->peer_count == 1 && o->peers[0]->in.len > 0);
    uint64_t seq = fixture_order(&x, TASK_FLUSH, NULL, IP_NONE, 0, NULL);
    fixture_until_told(&x, 2, 0);
    assert_answer(seq, OUTCOME_OK, 1);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_CLOSED);
    assert_int_equal(iptable_fleet_open(table()), 0);
    fixture_close(&x);
}

/* The lines of all parts of a list, NUL-terminated; the caller frees. */
static char *listed(uint64_t seq, unsigned *parts_out)
{
    struct buffer all = {0};

    *parts_out = 0;
    for (size_t i = 0; i < x.told_count; i++) {
        const struct told *told = &x.told[i];
        if (told->m.seq != seq || told->m.kind != RESULT_PART)
            continue;
        assert_in_range(told->m.len, 1, 32768);
        assert_int_equal(told->text[0], '{');
        assert_int_equal(told->text[told->m.len - 1], '\n');
        buffer_append(&all, told->text, told->m.len);
        ++*parts_out;
    }
    buffer_append_char(&all, '\0');
    return all.data;
}

static unsigned count_of(const char *text, const char *word)
{
    unsigned count = 0;

    for (; (text = strstr(text, word)); text++)
        count++;
    return count;
}

/* Asks for a list; returns its lines once the end has come. */
static char *list(const struct fixture_host *of, uint32_t ip, const char *url, uint32_t count_wanted, unsigned *parts)
{
    uint64_t seq = fixture_order(&x, TASK_LIST, of, ip, 0, url);

    fixture_until(&x, x.told_count && x.told[x.told_count - 1].m.seq == seq &&
                          x.told[x.told_count - 1].m.kind == RESULT_CHORE);
    assert_int_equal(x.told[x.told_count - 1].m.delay_ms, count_wanted);
    return listed(seq, parts);
}

static void list_tells_of_each_connection_in_its_state(void **state)
{
    unsigned parts;

    (void)state;
    start(ORIGIN_TLS, NULL);
    char *text = list(NULL, IP_NONE, NULL, 0, &parts);
    assert_int_equal(parts, 0);
    free(text);
    fixture_get(&x, host, 1);
    fixture_until(&x, fixture_count(&x, RESULT_RECORD, OUTCOME_OK) == 1);
    o->deaf = true;
    fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    const struct pool_host *own = fixture_pool_host(&x, host);
    fixture_until(&x, own->dialing_count == 1 && TAILQ_FIRST(&own->dialing)->state == CONN_HANDSHAKE);
    text = list(NULL, IP_NONE, NULL, 2, &parts);
    assert_int_equal(parts, 1);
    assert_int_equal(count_of(text, "\n"), 2);
    assert_int_equal(count_of(text, "\"target_ip\":\"127.0.0.1\",\"target_host\":\"a.test\""), 2);
    assert_int_equal(count_of(text, "\"state\":\"open\""), 1);
    assert_int_equal(count_of(text, "\"state\":\"handshake\""), 1);
    assert_int_equal(count_of(text, "\"request_count\":1,"), 1);
    assert_int_equal(count_of(text, "\"http_version\":\"1.1\""), 1);
    assert_int_equal(count_of(text, "\"http_version\":null"), 1);
    assert_int_equal(count_of(text, "\"last_used\":null"), 1);
    assert_int_equal(count_of(text, "\"tls\":{\"version\":\"TLS1.3\""), 1);
    free(text);
    fixture_close(&x);
}

static void list_of_an_address_or_a_host_has_no_others(void **state)
{
    static const char *const second[] = {"127.0.0.2"};
    unsigned parts;

    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host *other = fixture_host(&x, URL_HTTP, "b.test", o->port, second, 1);
    o->deaf = true;
    fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_order(&x, TASK_PREWARM, fixture_host_at(&x, "c.test", o), IP_NONE, 0, NULL);
    fixture_until_told(&x, 2, 0);
    (void)other;
    char *text = list(NULL, fixture_ip(&x, "127.0.0.1"), NULL, 2, &parts);
    free(text);
    text = list(NULL, fixture_ip(&x, "127.0.0.2"), NULL, 0, &parts);
    free(text);
    text = list(NULL, IP_NONE, "https://c.test/", 1, &parts);
    assert_int_equal(count_of(text, "\"target_host\":\"c.test\""), 1);
    free(text);
    fixture_close(&x);
}

/* The ring takes a part of it only; what waits for room goes out in order, and tasks flow again after it. */
static void list_that_fills_the_ring_is_told_whole_and_tasks_flow_again(void **state)
{
    static const char *const pairs[] = {"max_conns_per_host=100", "max_connections=100", NULL};
    unsigned parts;

    (void)state;
    fixture_open(&x, &(struct fixture_plan){.options = pairs, .record_ring_bytes = 8192});
    o = fixture_origin(&x, ORIGIN_PLAIN);
    host = fixture_host_at(&x, "a.test", o);
    o->on_bytes = script_answer;
    for (int i = 0; i < 100; i++)
        fixture_order(&x, TASK_PREWARM, host, IP_NONE, 0, NULL);
    fixture_until_told(&x, 100, 0);
    x.reader_stopped = true;
    uint64_t seq = fixture_order(&x, TASK_LIST, NULL, IP_NONE, 0, NULL);
    fixture_get(&x, host, 1);
    fixture_turns(&x, 5);
    assert_false(TAILQ_EMPTY(&x.w->unsent));
    x.reader_stopped = false;
    fixture_until(&x, fixture_count(&x, RESULT_RECORD, OUTCOME_OK) == 1);
    char *text = listed(seq, &parts);
    assert_int_equal(count_of(text, "\n"), 100);
    assert_in_range(parts, 5, 100);
    assert_true(TAILQ_EMPTY(&x.w->unsent));
    free(text);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prewarmed_connection_stays_and_serves_the_next_fetch),
        cmocka_unit_test(prewarm_dials_although_idle_connections_are_there),
        cmocka_unit_test(prewarm_at_the_limit_says_so),
        cmocka_unit_test(refused_prewarm_fails_no_fetch_that_waits),
        cmocka_unit_test(prewarm_of_an_address_that_the_host_lost_is_not_found),
        cmocka_unit_test(prewarm_makes_no_connection_to_a_blocked_address),
        cmocka_unit_test(fetch_takes_the_connection_that_a_prewarm_is_making),
        cmocka_unit_test(check_is_one_request_on_a_connection_of_its_own),
        cmocka_unit_test(check_is_a_get_whatever_the_options_say),
        cmocka_unit_test(check_that_is_not_answered_ends_in_time),
        cmocka_unit_test(check_makes_room_among_idle_connections),
        cmocka_unit_test(check_makes_room_at_the_limit_of_its_host),
        cmocka_unit_test(refused_chores_are_answered),
        cmocka_unit_test(unknown_host_and_old_generation_are_not_found),
        cmocka_unit_test(worker_that_ends_answers_its_open_chores),
        cmocka_unit_test(list_tells_of_each_connection_in_its_state),
        cmocka_unit_test(list_of_an_address_or_a_host_has_no_others),
        cmocka_unit_test(list_that_fills_the_ring_is_told_whole_and_tasks_flow_again),
        cmocka_unit_test(flush_of_what_is_idle_leaves_what_works),
        cmocka_unit_test(flush_closes_what_works_and_its_fetch_goes_again),
    };

    return cmocka_run_group_tests_name("chore", tests, NULL, NULL);
}
