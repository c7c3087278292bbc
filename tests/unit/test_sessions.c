/* What workers tell of TLS sessions: what is kept, for whom, when it is written, and what ends the worker. */
#include "tests/unit/coordinator_house.h"

#include "common/profile_set.h"
#include "coordinator/sessions.h"
#include "shm/store_parts.h"
#include "shm/store_session.h"
/* Cases have a directory here, and make their house in it. */
#undef CASE
#include "tests/unit/store_place.h"

#define HOST_SECURE 1
#define HOST_PLAIN  2

static struct house *house;
static struct store *store;
static uint32_t generations[3];

static void begin(struct place *place)
{
    house = house_new(&usual_plan);
    store = open_store(place->dir);
    house->results.sessions = sessions_open(store, &house->region, &house->timers, place->dir);
    generations[HOST_SECURE] =
        iptable_host_set(&house->region.table, HOST_SECURE, URL_HTTPS, "a.test", strlen("a.test"), 443);
    generations[HOST_PLAIN] =
        iptable_host_set(&house->region.table, HOST_PLAIN, URL_HTTP, "a.test", strlen("a.test"), 80);
}

static void end(void)
{
    sessions_close(house->results.sessions);
    store_close(store);
    house_free(house);
}

static size_t encode(uint8_t out[STORE_SESSION_RECORD_MAX], uint64_t expires)
{
    struct store_session session = {.expires_wall_us = expires, .der_len = 3, .der = "abc"};

    return store_session_encode(&session, out);
}

static uint32_t told_profile;

static void tell(uint32_t host, uint32_t generation, const void *bytes, size_t len, size_t told_len)
{
    struct result_message m = {.kind = RESULT_SESSION,
                               .host = host,
                               .host_generation = generation,
                               .len = (uint32_t)told_len,
                               .status = told_profile};
    uint8_t *at = ring_reserve(&house->outbox[0], (uint32_t)(sizeof m + len));

    assert_non_null(at);
    memcpy(at, &m, sizeof m);
    memcpy(at + sizeof m, bytes, len);
    ring_commit(&house->outbox[0], (uint32_t)(sizeof m + len));
    ring_publish(&house->outbox[0]);
    results_turn(&house->results);
}

static void tell_good(uint32_t host, uint32_t generation)
{
    uint8_t bytes[STORE_SESSION_RECORD_MAX];
    size_t len = encode(bytes, UINT64_MAX);

    tell(host, generation, bytes, len, len);
}

static bool is_kept(const char *name, uint16_t port)
{
    char key[STORE_SESSION_KEY_MAX];
    struct store_session session;
    size_t len = store_session_key(key, name, strlen(name), port, "");

    return store_session_get(store, key, len, 0, &session) == OUTCOME_OK;
}

static void session_is_kept_for_its_host_and_soon_written(void **state)
{
    begin(*state);
    tell_good(HOST_SECURE, generations[HOST_SECURE]);
    assert_int_equal(house->fleet.kills[0], 0);
    assert_true(is_kept("a.test", 443));
    assert_false(is_kept("a.test", 80));
    assert_non_null(store->writer);
    assert_in_range(timers_next(&house->timers), clock_us() - 1000000, clock_us() + 1000000);
    timers_run(&house->timers, clock_us() + 1000000, NULL);
    assert_null(store->writer);
    assert_true(is_kept("a.test", 443));
    end();
}

static void many_sessions_do_not_wait_for_the_timer(void **state)
{
    unsigned pending = 0;

    begin(*state);
    do {
        tell_good(HOST_SECURE, generations[HOST_SECURE]);
        assert_in_range(++pending, 1, 1000);
    } while (store->writer);
    assert_in_range(pending, 2, 1000);
    end();
}

static void session_of_a_host_that_left_its_slot_is_dropped(void **state)
{
    begin(*state);
    iptable_host_set(&house->region.table, HOST_SECURE, URL_HTTPS, "b.test", strlen("b.test"), 443);
    tell_good(HOST_SECURE, generations[HOST_SECURE]);
    assert_int_equal(house->fleet.kills[0], 0);
    assert_false(is_kept("a.test", 443));
    assert_false(is_kept("b.test", 443));
    end();
}

static void each_profile_has_a_session_of_its_own(void **state)
{
    char key[STORE_SESSION_KEY_MAX];
    struct store_session session;

    begin(*state);
    told_profile = profile_set_find("edge-auto", 9);
    tell_good(HOST_SECURE, generations[HOST_SECURE]);
    told_profile = 0;
    size_t len = store_session_key(key, "a.test", 6, 443, "edge-auto");
    assert_int_equal(store_session_get(store, key, len, 0, &session), OUTCOME_OK);
    assert_false(is_kept("a.test", 443));
    end();
    for (unsigned bad = 0; bad < 2; bad++) {
        begin(*state);
        told_profile = bad ? 255 : 256;
        tell_good(HOST_SECURE, generations[HOST_SECURE]);
        told_profile = 0;
        assert_int_equal(house->fleet.kills[0], 1);
        end();
    }
}

static void message_that_makes_no_sense_ends_its_worker(void **state)
{
    uint8_t bytes[STORE_SESSION_RECORD_MAX + 64] = {0};

    for (int bad = 0; bad < 6; bad++) {
        begin(*state);
        size_t len = encode(bytes, UINT64_MAX);
        uint32_t host = bad == 0 ? usual_plan.max_hosts : bad == 1 ? UINT32_MAX : bad == 2 ? HOST_PLAIN : HOST_SECURE;
        uint32_t generation = host < 3 ? generations[host] : 2;
        if (bad == 3)
            bytes[0] = 'X';
        size_t told = bad == 4 ? len - 1 : bad == 5 ? len + 1 : len;
        tell(host, generation, bytes, len, told);
        assert_int_equal(house->fleet.kills[0], 1);
        assert_int_equal(store_session_count(store), 0);
        end();
    }
}

static void expired_sessions_are_dropped_while_the_fleet_runs(void **state)
{
    uint8_t bytes[STORE_SESSION_RECORD_MAX];

    begin(*state);
    size_t len = encode(bytes, clock_wall_us() - 1);
    tell(HOST_SECURE, generations[HOST_SECURE], bytes, len, len);
    assert_int_equal(store_session_count(store), 1);
    timers_run(&house->timers, clock_us() + 10000000, NULL);
    assert_int_equal(store_session_count(store), 0);
    /* None are left to look for. */
    timers_run(&house->timers, clock_us() + 20000000, NULL);
    assert_true(timers_next(&house->timers) == TIMER_NEVER);
    end();
}

static void workers_are_told_where_the_map_is(void **state)
{
    char dir[REGION_PATH_MAX];
    struct place *place = *state;

    begin(place);
    assert_true(region_state_dir(&house->region, dir));
    assert_string_equal(dir, place->dir);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(session_is_kept_for_its_host_and_soon_written),
        CASE(many_sessions_do_not_wait_for_the_timer),
        CASE(session_of_a_host_that_left_its_slot_is_dropped),
        CASE(message_that_makes_no_sense_ends_its_worker),
        CASE(each_profile_has_a_session_of_its_own),
        CASE(expired_sessions_are_dropped_while_the_fleet_runs),
        CASE(workers_are_told_where_the_map_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
