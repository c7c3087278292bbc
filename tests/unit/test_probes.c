/* The schedule of probes: whose turn it is, when, and which workers are told. */
#include "coordinator/probes.h"
#include "tests/unit/coordinator_house.h"

#define INTERVAL_US 1000000u

static struct probes *make(struct house *h)
{
    h->options.health_check_interval = INTERVAL_US / 1000;
    return probes_new(h->frontier, h->chores, h->health, &h->region, &h->options);
}

static void lease(struct house *h, unsigned worker, const struct host *host)
{
    assert_int_equal(iptable_lease(&h->region.table, worker, host->index, IP_NONE, 0, 0, 0), LEASE_GRANTED);
}

/* Orders to probe that wait for this worker. */
static unsigned orders(struct house *h, unsigned w)
{
    struct task_message m;
    unsigned count = 0;

    while (pop_task(h, w, &m)) {
        if (m.kind != TASK_PROBE)
            continue;
        count++;
        assert_true(m.seq & CHORE_SEQ);
        assert_int_equal(m.ip, IP_NONE);
        struct result_message r = {.seq = m.seq, .slot = m.slot, .kind = RESULT_CHORE, .ip = IP_NONE};
        send_result(h, w, r, "");
    }
    results_turn(&h->results);
    return count;
}

static uint64_t pass(struct probes *p, uint64_t from_us, uint64_t to_us)
{
    while (from_us < to_us) {
        uint64_t next = probes_turn(p, from_us);
        assert_true(next > from_us);
        from_us = next;
    }
    return from_us;
}

static void each_holder_is_told_once_an_interval(void **state)
{
    struct house *h = *state;
    struct probes *p = make(h);
    uint64_t now_us = clock_us();
    unsigned told = 0;

    struct host *host = add_at(h, "http://a.test/", "198.51.100.7")->host;
    add_at(h, "http://b.test/", "198.51.100.8");
    deal(h);
    orders(h, 0);
    orders(h, 1);
    lease(h, 1, host);
    /* Not before it may have been idle for the interval. */
    now_us = pass(p, now_us, now_us + INTERVAL_US * 8 / 10);
    assert_int_equal(orders(h, 1), 0);
    for (int i = 0; i < 200; i++) {
        now_us = pass(p, now_us, now_us + INTERVAL_US / 10);
        unsigned now = orders(h, 1);
        assert_in_range(now, 0, 1);
        told += now;
    }
    /* Twenty intervals, each a tenth longer or shorter, and found by steps of a sixteenth. */
    assert_in_range(told, 16, 22);
    assert_int_equal(orders(h, 0), 0);
    assert_true(host->probed_wall_us > 0);
    assert_int_equal(chores_open(h->chores), 0);
    iptable_return(&h->region.table, 1, host->index, IP_NONE);
    pass(p, now_us, now_us + 5 * (uint64_t)INTERVAL_US);
    assert_int_equal(orders(h, 1), 0);
    probes_free(p);
}

static void all_holders_are_told(void **state)
{
    struct house *h = *state;
    struct probes *p = make(h);
    uint64_t now_us = clock_us();

    struct host *host = add_at(h, "http://a.test/", "198.51.100.7")->host;
    deal(h);
    orders(h, 0);
    orders(h, 1);
    lease(h, 0, host);
    lease(h, 1, host);
    pass(p, now_us, now_us + INTERVAL_US * 13 / 10);
    assert_int_equal(orders(h, 0), 1);
    assert_int_equal(orders(h, 1), 1);
    iptable_return(&h->region.table, 0, host->index, IP_NONE);
    iptable_return(&h->region.table, 1, host->index, IP_NONE);
    probes_free(p);
}

static void shorter_interval_is_in_force_at_once(void **state)
{
    struct house *h = *state;
    struct probes *p = make(h);
    uint64_t now_us = clock_us();

    h->options.health_check_interval = 3600000;
    struct host *host = add_at(h, "http://a.test/", "198.51.100.7")->host;
    deal(h);
    orders(h, 0);
    orders(h, 1);
    lease(h, 0, host);
    probes_turn(p, now_us);
    now_us = pass(p, now_us, now_us + 3600000000u);
    orders(h, 0);
    h->options.health_check_interval = 100;
    pass(p, now_us + 1000, now_us + 400000);
    assert_true(orders(h, 0) >= 1);
    iptable_return(&h->region.table, 0, host->index, IP_NONE);
    probes_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_holder_is_told_once_an_interval),
        CASE(all_holders_are_told),
        CASE(shorter_interval_is_in_force_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
