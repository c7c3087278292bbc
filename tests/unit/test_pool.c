/* Who gets a connection: limits of host, address and fleet, the line of waiters, slots that change hands, addresses
 * that the policy forbids. lease.c and pool_idle.c are seen through the pool: apart from it they have no behaviour. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})
#define addresses(...) \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    host = fixture_host_at(&x, "a.test", o);
}

static struct iptable *table(void)
{
    return &x.w->region.table;
}

/* Answers everything on all connections, now and later. */
static void serve(void)
{
    o->on_bytes = script_answer;
    o->on_request = script_answer_h2;
    for (unsigned i = 0; i < o->peer_count; i++)
        script_answer(o->peers[i]);
}

static void a_connection_is_made_for_each_waiter_up_to_the_limit(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=4"));
    fixture_get(&x, host, 10);
    fixture_until(&x, o->peer_count == 4);
    fixture_turns(&x, 10);
    assert_int_equal(o->peer_count, 4);
    assert_int_equal(iptable_host_open(table(), host->index), 4);
    assert_int_equal(pool_waiting(x.w->pool), 6);
    serve();
    fixture_until_told(&x, 10, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 10);
    assert_int_equal(o->peer_count, 4);
    fixture_close(&x);
}

static void waiters_are_served_in_their_order(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    serve();
    fixture_get(&x, host, 20);
    fixture_until_told(&x, 20, 0);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(x.told[i].m.seq, i);
    fixture_close(&x);
}

static void addresses_take_turns(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=4"));
    struct fixture_host *two = fixture_host(&x, URL_HTTP, "two.test", o->port, addresses("127.0.0.1", "127.0.0.1"));
    table()->ips[x.ips] = table()->ips[0];
    table()->ip_refs[x.refs - 1] = x.ips++;
    fixture_get(&x, two, 4);
    fixture_until(&x, o->peer_count == 4);
    assert_int_equal(iptable_ip_open(table(), 0), 2);
    assert_int_equal(iptable_ip_open(table(), 1), 2);
    serve();
    fixture_until_told(&x, 4, 0);
    fixture_close(&x);
}

static void one_tls_connection_is_looked_at_before_more_are_made(void **state)
{
    (void)state;
    start(ORIGIN_TLS, options("max_conns_per_host=5"));
    o->deaf = true;
    fixture_get(&x, host, 10);
    fixture_turns(&x, 5);
    assert_int_equal(fixture_gauge(&x, conns_dialing), 1);
    o->deaf = false;
    serve();
    fixture_until_told(&x, 10, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 10);
    fixture_close(&x);
}

static void idle_connection_of_another_host_makes_room(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_connections=2"));
    serve();
    static const char *const names[] = {"b.test", "c.test", "d.test"};
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    for (size_t i = 0; i < 3; i++) {
        fixture_get(&x, fixture_host_at(&x, names[i], o), 1);
        fixture_until_told(&x, i + 2, 0);
        assert_in_range(iptable_fleet_open(table()), 1, 2);
    }
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 4);
    fixture_close(&x);
}

static void host_without_any_connection_gets_the_next_free_slot(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_connections=1"));
    struct fixture_host *second = fixture_host_at(&x, "b.test", o);
    fixture_get(&x, host, 1);
    fixture_until(&x, o->peer_count == 1);
    fixture_get(&x, second, 1);
    fixture_turns(&x, 5);
    serve();
    fixture_until_told(&x, 2, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 2);
    fixture_close(&x);
}

static void host_with_a_long_line_does_not_keep_its_slot_for_ever(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_connections=1"));
    struct fixture_host *second = fixture_host_at(&x, "b.test", o);
    fixture_get(&x, host, 200);
    fixture_until(&x, o->peer_count == 1);
    fixture_get(&x, second, 1);
    serve();
    fixture_until_told(&x, 201, 20000);
    size_t place = 0;
    while (x.told[place].m.seq != 200)
        place++;
    assert_in_range(place, 0, 60);
    fixture_close(&x);
}

/* As over HTTP/1.1, a busy HTTP/2 connection is given up for a host that has none, once it has had its share: a line
 * that is never empty leaves no moment without any stream. */
static void busy_http2_connection_does_not_keep_its_slot_for_ever(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_connections=1", "max_streams_per_conn=2", "acquire_timeout=3s"));
    struct origin *plain = fixture_origin(&x, ORIGIN_PLAIN);
    plain->on_bytes = script_answer;
    struct fixture_host *second = fixture_host_at(&x, "b.test", plain);
    serve();
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    o->on_request = NULL;
    fixture_get(&x, host, 200);
    fixture_get(&x, second, 1);
    /* One of two streams always runs. */
    for (unsigned n = 1; n < 150 && STATS_GET(x.w->page, dials) == 1; n++) {
        fixture_turns(&x, 5);
        if (STATS_GET(x.w->page, dials) == 1 && n < o->peers[0]->requests)
            script_answer_h2(o->peers[0], o->peers[0]->streams[n]);
        fixture_turns(&x, 2);
    }
    assert_true(STATS_GET(x.w->page, dials) >= 2);
    fixture_close(&x);
}

static void tasks_go_back_when_others_hold_all_slots(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_connections=2"));
    struct fixture_host *second = fixture_host_at(&x, "b.test", o);
    for (int i = 0; i < 2; i++)
        assert_int_equal(iptable_lease(table(), OTHER_WORKER, second->index, IP_NONE, 2, 2, 0), LEASE_GRANTED);
    fixture_get(&x, host, 3);
    fixture_until_told(&x, 3, 0);
    assert_int_equal(fixture_count(&x, RESULT_HAND_BACK, OUTCOME_OK), 3);
    assert_int_equal(fixture_told(&x, 0)->m.attempts, 0);
    assert_int_equal(STATS_GET(x.w->page, handed_back), 3);
    assert_int_equal(o->peer_count, 0);
    fixture_close(&x);
}

static void tasks_go_back_when_others_hold_the_hosts_slots(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1"));
    assert_int_equal(iptable_lease(table(), OTHER_WORKER, host->index, IP_NONE, 0, 1, 0), LEASE_GRANTED);
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(fixture_count(&x, RESULT_HAND_BACK, OUTCOME_OK), 2);
    fixture_close(&x);
}

static void full_address_is_passed_over(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_ip=1"));
    struct fixture_host *two = fixture_host(&x, URL_HTTP, "two.test", o->port, addresses("127.0.0.2", "127.0.0.1"));
    assert_int_equal(iptable_lease(table(), OTHER_WORKER, host->index, fixture_ip(&x, "127.0.0.2"), 0, 0, 1),
                     LEASE_GRANTED);
    serve();
    fixture_get(&x, two, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 0, "\"host_ip\":\"127.0.0.1\"");
    fixture_close(&x);
}

static void address_shared_by_hosts_has_one_limit(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_ip=2"));
    struct fixture_host *second = fixture_host_at(&x, "b.test", o);
    fixture_get(&x, host, 2);
    fixture_get(&x, second, 2);
    fixture_until(&x, o->peer_count == 2);
    fixture_turns(&x, 10);
    assert_int_equal(o->peer_count, 2);
    serve();
    fixture_until_told(&x, 4, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 4);
    fixture_close(&x);
}

static void private_address_is_denied(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("allow_private=false"));
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_ADDRESS_DENIED);
    assert_int_equal(STATS_GET(x.w->page, dials), 0);
    fixture_close(&x);
}

static void host_without_addresses_is_exhausted(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    fixture_get(&x, fixture_host(&x, URL_HTTP, "none.test", 80, NULL, 0), 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_IP_EXHAUSTED);
    fixture_close(&x);
}

/* A private and a public address, the public one at its limit (192.88.99.1 would not do: it is reserved). Expected: the
 * tasks wait or go back, whichever address had its turn last; nothing is ever dialed. Today every other one is recorded
 * as address-denied (lease.c, draw_address: the last address decides). */
static void allowed_address_at_its_limit_is_not_a_denial(void **state)
{
    static const char *const mixes[][3] = {
        {"8.8.8.8", "10.0.0.1"}, {"10.0.0.1", "8.8.8.8"}, {"8.8.8.8", "127.0.0.1", "10.0.0.1"}};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        start(ORIGIN_PLAIN, options("allow_private=false", "max_conns_per_ip=1"));
        struct fixture_host *mixed = fixture_host(&x, URL_HTTP, "mixed.test", o->port, mixes[i], i == 2 ? 3 : 2);
        assert_int_equal(iptable_lease(table(), OTHER_WORKER, host->index, fixture_ip(&x, "8.8.8.8"), 0, 0, 1),
                         LEASE_GRANTED);
        for (int j = 0; j < 3; j++)
            fixture_get(&x, mixed, 1);
        fixture_until_told(&x, 3, 0);
        assert_int_equal(STATS_GET(x.w->page, dials), 0);
        assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_ADDRESS_DENIED), 0);
        assert_int_equal(fixture_count(&x, RESULT_HAND_BACK, OUTCOME_OK), 3);
        fixture_close(&x);
    }
}

/* Expected: an allowed address is found however many forbidden ones stand before it. Today eight are drawn and no more
 * (lease.c, ADDRESS_TRIES), so a name with nine private addresses and a good one fails by turns. */
static void allowed_address_behind_many_denied_ones_is_found(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("allow_private=false", "max_conns_per_ip=1"));
    struct fixture_host *mixed = fixture_host(&x, URL_HTTP, "mixed.test", o->port,
                                              addresses("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5",
                                                        "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9", "8.8.8.8"));
    /* Full, so that it is not dialed: the one way to tell from here that it was drawn. */
    assert_int_equal(iptable_lease(table(), OTHER_WORKER, host->index, fixture_ip(&x, "8.8.8.8"), 0, 0, 1),
                     LEASE_GRANTED);
    fixture_get(&x, mixed, 1);
    fixture_until_told(&x, 1, 0);
    assert_int_equal(fixture_told(&x, 0)->m.kind, RESULT_HAND_BACK);
    fixture_close(&x);
}

static void slot_of_another_generation_is_handed_back(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host old = *host;
    host->generation = iptable_host_set(table(), host->index, URL_HTTP, "new.test", 8, o->port);
    iptable_host_publish(table(), host->index, 0, 1);
    fixture_get(&x, &old, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_HAND_BACK, OUTCOME_OK);
    fixture_close(&x);
}

/* Expected: as pool.h says, NULL for a slot that is no longer of the generation, also when this worker knew the host.
 */
static void known_slot_of_another_generation_is_handed_back(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    serve();
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_turns(&x, 3);
    peer_close(o->peers[0]);
    fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
    struct fixture_host old = *host;
    host->generation = iptable_host_set(table(), host->index, URL_HTTP, "new.test", 8, o->port);
    iptable_host_publish(table(), host->index, 0, 1);
    x.unchecked = true;
    fixture_get(&x, &old, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_HAND_BACK, OUTCOME_OK);
    fixture_close(&x);
}

static void slot_out_of_range_is_handed_back(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host wild = {.index = UINT32_MAX, .generation = 2, .name = "a.test", .port = 80};
    fixture_get(&x, &wild, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_HAND_BACK, OUTCOME_OK);
    fixture_close(&x);
}

static void host_in_a_slot_written_anew_is_another_one(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    serve();
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_turns(&x, 3);
    peer_close(o->peers[0]);
    fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
    host->generation = iptable_host_set(table(), host->index, URL_HTTP, "new.test", 8, o->port);
    iptable_host_publish(table(), host->index, 0, 1);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void one_failed_dial_costs_one_waiter_an_attempt(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1", "conn_timeout=5s"));
    fixture_get(&x, host, 3);
    fixture_until(&x, o->peer_count == 1);
    o->on_open = peer_reset;
    peer_reset(o->peers[0]);
    fixture_until_told(&x, 3, 0);
    for (uint64_t i = 0; i < 3; i++) {
        assert_outcome(&x, i, RESULT_RETRY, OUTCOME_CONNECTION_BROKEN);
        assert_int_equal(fixture_told(&x, i)->m.attempts, 1);
    }
    fixture_close(&x);
}

/* It joins a line for which dials are under way already. */
static void failed_dial_costs_nothing_to_who_avoids_its_address(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host *two = fixture_host(&x, URL_HTTP, "two.test", 1, addresses("127.0.0.1", "127.0.0.2"));
    uint32_t second = fixture_ip(&x, "127.0.0.2");
    fixture_get(&x, two, 1);
    fixture_ask(&x, two, &(struct ask){.url = "http://two.test:1/", .avoid = second, .avoids = true});
    fixture_until_told(&x, 2, 0);
    for (uint64_t i = 0; i < 2; i++)
        assert_outcome(&x, i, RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(fixture_told(&x, 1)->m.ip, fixture_ip(&x, "127.0.0.1"));
    fixture_close(&x);
}

static void who_avoids_all_addresses_is_dialed_for_once(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    struct fixture_host *one = fixture_host(&x, URL_HTTP, "one.test", 1, addresses("127.0.0.2"));
    uint32_t only = fixture_ip(&x, "127.0.0.2");
    fixture_ask(&x, one, &(struct ask){.url = "http://one.test:1/", .avoid = only, .avoids = true});
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(fixture_told(&x, 0)->m.ip, only);
    fixture_close(&x);
}

static void waiter_that_gives_up_leaves_the_line_whole(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_conns_per_host=1", "acquire_timeout=60ms"));
    fixture_get(&x, host, 4);
    fixture_until_told(&x, 3, 0);
    for (uint64_t i = 1; i < 4; i++)
        assert_outcome(&x, i, RESULT_RECORD, OUTCOME_ACQUIRE_TIMEOUT);
    serve();
    fixture_until_told(&x, 4, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void idle_connections_above_the_limit_are_closed_oldest_first(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_idle_conns=2", "max_conns_per_host=5"));
    fixture_get(&x, host, 5);
    fixture_until(&x, o->peer_count == 5);
    fixture_turns(&x, 3);
    for (unsigned i = 0; i < 5; i++) {
        script_answer(o->peers[i]);
        fixture_until_told(&x, i + 1, 0);
    }
    fixture_turns(&x, 2);
    pool_trim_idle(x.w->pool);
    assert_int_equal(fixture_gauge(&x, conns_idle), 5);
    x.w->now_us += 1000001;
    pool_trim_idle(x.w->pool);
    assert_int_equal(fixture_gauge(&x, conns_idle), 2);
    fixture_turns(&x, 2);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(o->peers[i]->ended, i < 3);
    fixture_close(&x);
}

static void idle_connections_of_other_workers_count(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_idle_conns=2"));
    serve();
    STATS_SET(region_page(&x.w->region, OTHER_WORKER), conns_idle, 2);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_turns(&x, 2);
    x.w->now_us += 1000001;
    pool_trim_idle(x.w->pool);
    assert_int_equal(fixture_gauge(&x, conns_idle), 0);
    fixture_close(&x);
}

static void slot_given_back_wakes_the_coordinator_that_wants_one(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    serve();
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_turns(&x, 3);
    atomic_store(&x.w->region.header->slot_wanted, REGION_SLOT_WANTED);
    atomic_store(&x.w->region.header->coordinator_asleep, REGION_ASLEEP);
    peer_close(o->peers[0]);
    fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
    assert_int_equal(atomic_load(&x.w->region.header->slot_wanted), REGION_SLOT_FREED);
    assert_int_equal(atomic_load(&x.w->region.header->coordinator_asleep), REGION_AWAKE);
    fixture_close(&x);
}

/* A thousand waiters on a server that closes after every answer: a bounded stack and a bounded number of dials. */
static void long_line_on_a_server_that_always_closes_ends(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_conns_per_host=2", "max_streams_per_conn=1000"));
    serve();
    for (int round = 0; round < 10; round++) {
        fixture_get(&x, host, 100);
        fixture_until(&x, x.told_count >= (size_t)(round * 100 + 50));
        if (origin_last(o)->fd >= 0)
            peer_reset(origin_last(o));
    }
    fixture_until_told(&x, 1000, 20000);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK) +
                         fixture_count(&x, RESULT_RETRY, OUTCOME_CONNECTION_BROKEN) +
                         fixture_count(&x, RESULT_RETRY, OUTCOME_CONNECTION_CLOSED),
                     1000);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_connection_is_made_for_each_waiter_up_to_the_limit),
        test(waiters_are_served_in_their_order),
        test(addresses_take_turns),
        test(one_tls_connection_is_looked_at_before_more_are_made),
        test(idle_connection_of_another_host_makes_room),
        test(host_without_any_connection_gets_the_next_free_slot),
        test(host_with_a_long_line_does_not_keep_its_slot_for_ever),
        test(busy_http2_connection_does_not_keep_its_slot_for_ever),
        test(tasks_go_back_when_others_hold_all_slots),
        test(tasks_go_back_when_others_hold_the_hosts_slots),
        test(full_address_is_passed_over),
        test(address_shared_by_hosts_has_one_limit),
        test(private_address_is_denied),
        test(host_without_addresses_is_exhausted),
        test(allowed_address_at_its_limit_is_not_a_denial),
        test(allowed_address_behind_many_denied_ones_is_found),
        test(slot_of_another_generation_is_handed_back),
        test(known_slot_of_another_generation_is_handed_back),
        test(slot_out_of_range_is_handed_back),
        test(host_in_a_slot_written_anew_is_another_one),
        test(one_failed_dial_costs_one_waiter_an_attempt),
        test(failed_dial_costs_nothing_to_who_avoids_its_address),
        test(who_avoids_all_addresses_is_dialed_for_once),
        test(waiter_that_gives_up_leaves_the_line_whole),
        test(idle_connections_above_the_limit_are_closed_oldest_first),
        test(idle_connections_of_other_workers_count),
        test(slot_given_back_wakes_the_coordinator_that_wants_one),
        test(long_line_on_a_server_that_always_closes_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
