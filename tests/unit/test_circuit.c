/* Hosts' health in the coordinator's middle: circuits hold tasks back, let one go, end what waits; names are asked for
 * anew; the map remembers; and it is swept. */
#include "tests/unit/coordinator_house.h"

#include "shm/store_health.h"
#include "shm/store_sweep.h"

#define HOUSE_CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#undef CASE /* each of the two headers has one of its own */
#include "tests/unit/store_place.h"

#define HERE "198.51.100.7"

static struct house *open_house(void **state, int64_t failures, uint64_t delay_ms)
{
    struct house *h = *state;

    h->options.breaker_failures = failures;
    h->options.breaker_delay = delay_ms;
    /* Answers of an hour are good for as long as that. */
    h->options.dns_update_interval = 7200000;
    return h;
}

static unsigned in_flight(struct house *h, struct task_message *out, unsigned max)
{
    unsigned n = 0;

    deal(h);
    for (unsigned w = 0; w < h->fleet.count; w++) {
        while (n < max && pop_task(h, w, &out[n]))
            out[n++].refused_tries = (uint8_t)w;
    }
    return n;
}

/* The worker says how the attempt ended. */
static void end(struct house *h, const struct task_message *m, enum result_kind kind, enum outcome outcome)
{
    struct result_message r = result_of(m, kind);
    char line[64];

    snprintf(line, sizeof line, "{\"seq\":%llu}\n", (unsigned long long)m->seq);
    r.outcome = outcome;
    r.status = outcome == OUTCOME_OK ? 200 : 0;
    send_result(h, m->refused_tries, r, kind == RESULT_RECORD ? line : "");
    results_turn(&h->results);
}

static void refuse(struct house *h, const struct task_message *m)
{
    end(h, m, RESULT_RECORD, OUTCOME_CONNECTION_REFUSED);
}

/* Turns until the delay of the host's circuit is over. */
static void wait_for_trial(struct house *h)
{
    uint64_t give_up_us = clock_us() + 5000000;

    while (frontier_first(h->frontier) == NULL) {
        timers_run(&h->timers, clock_us(), h->frontier);
        assert_true(clock_us() < give_up_us);
        usleep(500);
    }
}

static void open_circuit_holds_tasks_back(void **state)
{
    struct house *h = open_house(state, 3, 60000);
    struct task_message m[16] = {0};

    for (int i = 0; i < 3; i++)
        add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 3);
    for (int i = 0; i < 3; i++)
        refuse(h, &m[i]);
    assert_int_equal(STATS_GET(h->results.page, circuit_opens), 1);
    assert_int_equal(STATS_GET(h->results.page, circuits_open), 1);
    struct host *host = add_at(h, "http://a.test/", HERE)->host;
    assert_int_equal(in_flight(h, m, 16), 0);
    assert_host(host);
    /* Another host is not touched by it. */
    add_at(h, "http://b.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 1);
}

static void half_open_circuit_lets_one_task_go_and_its_answer_closes(void **state)
{
    struct house *h = open_house(state, 2, 20);
    struct task_message m[16] = {0};

    for (int i = 0; i < 2; i++)
        add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 2);
    refuse(h, &m[0]);
    refuse(h, &m[1]);
    for (int i = 0; i < 5; i++)
        add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 0);
    wait_for_trial(h);
    assert_int_equal(in_flight(h, m, 16), 1);
    assert_int_equal(in_flight(h, m + 1, 15), 0);
    end(h, &m[0], RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(STATS_GET(h->results.page, circuit_closes), 1);
    assert_int_equal(STATS_GET(h->results.page, circuits_open), 0);
    assert_int_equal(in_flight(h, m, 16), 4);
}

static void failed_trial_ends_what_waits(void **state)
{
    struct house *h = open_house(state, 2, 20);
    struct task_message m[16] = {0};

    for (int i = 0; i < 2; i++)
        add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 2);
    refuse(h, &m[0]);
    refuse(h, &m[1]);
    for (int i = 0; i < 5; i++)
        add_at(h, "http://a.test/", HERE);
    wait_for_trial(h);
    assert_int_equal(in_flight(h, m, 16), 1);
    /* A retry would wait for the next trial: it ends with the others. */
    end(h, &m[0], RESULT_RETRY, OUTCOME_CONNECTION_TIMEOUT);
    assert_int_equal(h->failures, 4);
    assert_int_equal(h->last_failure, OUTCOME_CONNECTION_TIMEOUT);
    assert_output_has(h, "the host's circuit is open: 3 attempts in a row failed");
    for (uint64_t seq = 1; seq <= 7; seq++)
        assert_int_equal(records_of(h, seq), 1);
    assert_all_gone(h);
    assert_int_equal(STATS_GET(h->results.page, circuit_opens), 2);
    assert_int_equal(STATS_GET(h->results.page, circuits_open), 1);
}

static void trial_that_is_handed_back_or_lost_gives_way_to_the_next(void **state)
{
    struct house *h = open_house(state, 1, 10);
    struct task_message m[16] = {0};

    add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 1);
    refuse(h, &m[0]);
    for (int i = 0; i < 2; i++)
        add_at(h, "http://a.test/", HERE);
    wait_for_trial(h);
    assert_int_equal(in_flight(h, m, 16), 1);
    end(h, &m[0], RESULT_HAND_BACK, OUTCOME_OK);
    frontier_unblock(h->frontier, 1);
    assert_int_equal(in_flight(h, m, 16), 1);
    die_and_start_again(h, m[0].refused_tries);
    assert_int_equal(in_flight(h, m, 16), 1);
    assert_int_equal(in_flight(h, m + 1, 15), 0);
    end(h, &m[0], RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(STATS_GET(h->results.page, circuits_open), 0);
}

static void late_answer_ends_the_hold(void **state)
{
    struct house *h = open_house(state, 2, 60000);
    struct task_message m[16] = {0};

    for (int i = 0; i < 4; i++)
        add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 4);
    refuse(h, &m[0]);
    refuse(h, &m[1]);
    add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m + 4, 12), 0);
    end(h, &m[2], RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(in_flight(h, m + 4, 12), 1);
}

static void hold_that_the_server_asked_for_outlives_the_circuit(void **state)
{
    struct house *h = open_house(state, 1, 10);
    struct task_message m[16] = {0};

    for (int i = 0; i < 2; i++)
        add_at(h, "http://a.test/", HERE);
    struct host *host = add_at(h, "http://a.test/", HERE)->host;
    assert_int_equal(in_flight(h, m, 16), 3);
    refuse(h, &m[0]);
    frontier_hold_host(h->frontier, host, 60000);
    end(h, &m[1], RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(host->breaker.state, BREAKER_CLOSED);
    assert_true(host->not_before_us > clock_us());
    add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m + 3, 13), 0);
}

static void name_is_asked_for_anew_when_no_address_answers(void **state)
{
    struct house *h = open_house(state, 30, 60000);
    struct task_message m[16] = {0};

    h->options.dns_ttl_min = 60000;
    add(h, "http://a.test/");
    answer_ok(h, 1, 1);
    assert_int_equal(in_flight(h, m, 16), 1);
    end(h, &m[0], RESULT_RETRY, OUTCOME_CONNECTION_BROKEN);
    assert_int_equal(h->resolver.count, 0);
    assert_int_equal(in_flight(h, m, 16), 1);
    end(h, &m[0], RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(h->resolver.asked_anew, 1);
    assert_int_equal(h->resolver.count, 1);
    answer_ok(h, 1, 2);
    assert_int_equal(in_flight(h, m, 16), 1);
    /* Not again so soon. */
    end(h, &m[0], RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(h->resolver.count, 0);
    assert_int_equal(STATS_GET(h->results.page, dns_second_looks), 1);
}

static void host_with_an_open_connection_keeps_its_addresses(void **state)
{
    struct house *h = open_house(state, 30, 60000);
    struct task_message m[16] = {0};

    struct host *host = add(h, "http://a.test/")->host;
    answer_ok(h, 2, 1);
    assert_int_equal(iptable_lease(&h->region.table, 0, host->index, IP_NONE, 0, 0, 0), LEASE_GRANTED);
    assert_int_equal(in_flight(h, m, 16), 1);
    end(h, &m[0], RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(h->resolver.count, 0);
    /* More failures in a row than it may have connections: none of these is any good. */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(in_flight(h, m, 16), 1);
        end(h, &m[0], RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    }
    assert_int_equal(h->resolver.count, 1);
    iptable_return(&h->region.table, 0, host->index, IP_NONE);
}

/* --- the map --- */
static struct house *house_with_map(struct store *s, int64_t failures, uint64_t delay_ms)
{
    struct house *h = house_new(&usual_plan);

    h->options.breaker_failures = failures;
    h->options.breaker_delay = delay_ms;
    health_free(h->health);
    h->results.health = h->health = health_new(h->frontier, &h->region, s, &h->options);
    return h;
}

static struct store *open_map(const struct place *place)
{
    struct store *s = NULL;
    const char *reason = "";

    if (store_open(&s, place->dir, false, &reason) != OUTCOME_OK)
        fail_msg("%s", reason);
    return s;
}

static void next_run_knows_the_open_circuit(void **state)
{
    struct store *s = open_map(*state);
    struct house *h = house_with_map(s, 1, 300);
    struct task_message m[16] = {0};

    add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 1);
    refuse(h, &m[0]);
    house_free(h);
    store_close(s);
    s = open_map(*state);
    h = house_with_map(s, 1, 300);
    add_at(h, "http://a.test/", HERE);
    add_at(h, "http://a.test/", HERE);
    assert_int_equal(STATS_GET(h->results.page, circuits_open), 1);
    assert_int_equal(in_flight(h, m, 16), 0);
    wait_for_trial(h);
    assert_int_equal(in_flight(h, m, 16), 1);
    end(h, &m[0], RESULT_RECORD, OUTCOME_OK);
    house_free(h);
    h = house_with_map(s, 1, 300);
    add_at(h, "http://a.test/", HERE);
    assert_int_equal(in_flight(h, m, 16), 1);
    house_free(h);
    store_close(s);
}

/* As a pre-warm does. */
static void host_that_is_there_before_its_first_task_is_known_too(void **state)
{
    static const char origin[] = "http://127.0.0.9:80";
    struct store *s = open_map(*state);
    struct house *h = house_with_map(s, 5, 300);
    const char *reason = "";
    struct buffer text = {0};
    struct url url;

    store_health_put(s, origin, sizeof origin - 1,
                     &(struct store_health){.circuit = STORE_CIRCUIT_OPEN, .trial_wall_us = UINT64_MAX});
    assert_int_equal(url_parse("http://127.0.0.9/", 17, NULL, &text, &url, &reason), OUTCOME_OK);
    struct host *host = frontier_host(h->frontier, &url);
    assert_int_equal(host->breaker.state, BREAKER_OPEN);
    assert_int_equal(STATS_GET(h->results.page, circuits_open), 1);
    frontier_let_go(h->frontier, host);
    buffer_fini(&text);
    house_free(h);
    store_close(s);
}

static void record_from_another_hand_does_no_harm(void **state)
{
    static const char origin[] = "http://a.test:80@" HERE;
    struct store *s = open_map(*state);
    struct house *h = house_with_map(s, 5, 20);
    struct task_message m[16] = {0};

    store_health_put(s, origin, sizeof origin - 1,
                     &(struct store_health){.circuit = STORE_CIRCUIT_OPEN,
                                            .delay_times = UINT32_MAX,
                                            .trial_wall_us = UINT64_MAX,
                                            .probed_wall_us = UINT64_MAX});
    struct host *host = add_at(h, "http://a.test/", HERE)->host;
    assert_int_equal(host->breaker.state, BREAKER_OPEN);
    assert_int_equal(host->breaker.delay_times, BREAKER_DELAY_TIMES_MAX);
    assert_int_equal(host->probed_wall_us, 0);
    assert_true(host->breaker.trial_at_us <= clock_us() + 201000);
    wait_for_trial(h);
    assert_int_equal(in_flight(h, m, 16), 1);
    end(h, &m[0], RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(host->breaker.state, BREAKER_CLOSED);
    house_free(h);
    store_close(s);
}

static void sweep_takes_what_is_out_of_date(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    struct store *s = open_map(*state);
    struct store_dns *dns = calloc(1, sizeof *dns + sizeof dns->addresses[0]);
    struct store_dns *found = NULL;
    struct store_health health;
    unsigned steps = 0;

    assert_non_null(dns);
    dns->outcome = OUTCOME_OK;
    dns->count = 1;
    for (size_t i = 0; i < 6; i++) {
        dns->expires_wall_us = i % 2 ? 100 : UINT64_MAX;
        store_dns_put(s, names[i], 1, dns);
        store_health_put(s, names[i], 1, &(struct store_health){.written_wall_us = i % 2 ? 200 : STORE_HEALTH_KEEP_US});
    }
    uint64_t now_wall_us = STORE_HEALTH_KEEP_US + 300;
    while (store_sweep(s, now_wall_us, 2))
        assert_in_range(++steps, 1, 20);
    assert_in_range(steps, 5, 20);
    for (size_t i = 0; i < 6; i++) {
        enum outcome wanted = i % 2 ? OUTCOME_NOT_FOUND : OUTCOME_OK;
        assert_int_equal(store_health_get(s, names[i], 1, &health), wanted);
        assert_int_equal(store_dns_get(s, names[i], 1, 50, &found), wanted);
        free(found);
        found = NULL;
    }
    free(dns);
    store_close(s);
}

static void turn_sweeps_the_map_once_an_interval(void **state)
{
    struct store *s = open_map(*state);
    struct house *h = house_with_map(s, 1, 300);
    uint64_t now_us = clock_us();

    h->options.cleanup_interval = 1000;
    assert_true(health_turn(h->health, now_us) > now_us + 900000);
    assert_int_equal(STATS_GET(h->results.page, sweeps), 0);
    assert_int_equal(health_turn(h->health, now_us + 1500000), now_us + 2500000);
    assert_int_equal(STATS_GET(h->results.page, sweeps), 1);
    /* A shorter one is in force at once. */
    h->options.cleanup_interval = 10;
    health_turn(h->health, now_us + 1600000);
    assert_int_equal(STATS_GET(h->results.page, sweeps), 2);
    house_free(h);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOUSE_CASE(open_circuit_holds_tasks_back),
        HOUSE_CASE(half_open_circuit_lets_one_task_go_and_its_answer_closes),
        HOUSE_CASE(failed_trial_ends_what_waits),
        HOUSE_CASE(trial_that_is_handed_back_or_lost_gives_way_to_the_next),
        HOUSE_CASE(late_answer_ends_the_hold),
        HOUSE_CASE(hold_that_the_server_asked_for_outlives_the_circuit),
        HOUSE_CASE(name_is_asked_for_anew_when_no_address_answers),
        HOUSE_CASE(host_with_an_open_connection_keeps_its_addresses),
        CASE(next_run_knows_the_open_circuit),
        CASE(host_that_is_there_before_its_first_task_is_known_too),
        CASE(record_from_another_hand_does_no_harm),
        CASE(sweep_takes_what_is_out_of_date),
        CASE(turn_sweeps_the_map_once_an_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
