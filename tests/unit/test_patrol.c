/* What workers write about themselves: what can be is let be, what cannot ends its writer, once, and is put right. */
#include "tests/unit/coordinator_house.h"

#include "coordinator/patrol.h"

struct beat {
    struct house *h;
    struct patrol *patrol;
    uint64_t now_us;
};

static int beat_setup(void **state)
{
    struct beat *b = calloc(1, sizeof *b);

    b->h = house_new(&usual_plan);
    for (unsigned w = 0; w < 2; w++)
        atomic_store(&b->h->region.header->worker[w].pid, 1000 + w);
    b->patrol = patrol_new(&b->h->region, &b->h->fleet, &b->h->options);
    *state = b;
    return 0;
}

static int beat_teardown(void **state)
{
    struct beat *b = *state;

    patrol_free(b->patrol);
    house_free(b->h);
    free(b);
    return 0;
}

static void go_round(struct beat *b)
{
    b->now_us += 1000000;
    assert_int_equal(patrol_turn(b->patrol, b->now_us, false), b->now_us + 1000000);
}

/* The next round ends worker 1 and no other. */
static void assert_found_out(struct beat *b)
{
    unsigned kills = b->h->fleet.kills[1];

    go_round(b);
    assert_int_equal(b->h->fleet.kills[1], kills + 1);
    assert_int_equal(b->h->fleet.kills[0], 0);
    go_round(b);
    assert_int_equal(b->h->fleet.kills[1], kills + 1);
    b->h->fleet.workers[1].pid = 0;
    iptable_reclaim(&b->h->region.table, 1);
    stats_page_reset_gauges(region_page(&b->h->region, 1));
    patrol_on_death(b->patrol, 1, false);
    house_attach(b->h, 1);
    b->h->fleet.workers[1].condemned = false;
    b->h->fleet.workers[1].pid = 1001;
}

static void assert_left_alone(struct beat *b)
{
    go_round(b);
    assert_int_equal(b->h->fleet.kills[0] + b->h->fleet.kills[1], 0);
}

static void a_host_with(struct beat *b, uint32_t connections)
{
    struct task *task = add_at(b->h, "http://a.example/", "192.0.2.1");
    struct iptable *t = &b->h->region.table;

    for (uint32_t i = 0; i < connections; i++)
        assert_int_equal(iptable_lease(t, 1, task->host->index, 0, 0, 0, 0), LEASE_GRANTED);
}

static void sound_workers_are_left_alone(void **state)
{
    struct beat *b = *state;
    struct stats_page *page = region_page(&b->h->region, 1);

    a_host_with(b, 100);
    for (unsigned round = 0; round < 20; round++) {
        STATS_ADD(page, bytes_in, UINT64_C(1) << 40);
        STATS_SET(page, conns_active, round % 2 ? 100 : 0);
        histogram_add(&page->response_time, 5);
        atomic_store(&b->h->region.header->worker[1].asleep, round % 2);
        assert_left_alone(b);
    }
}

static void nothing_is_looked_at_before_its_time(void **state)
{
    struct beat *b = *state;

    go_round(b);
    atomic_store(&b->h->region.header->worker[1].asleep, 7);
    assert_int_equal(patrol_turn(b->patrol, b->now_us + 999999, false), b->now_us + 1000000);
    assert_int_equal(b->h->fleet.kills[1], 0);
    assert_found_out(b);
}

static void a_cell_above_every_limit_is_nonsense(void **state)
{
    struct beat *b = *state;
    struct iptable *t = &b->h->region.table;

    a_host_with(b, 1);
    _Atomic uint32_t *cells[] = {&t->fleet_cells[1], &t->host_cells[1], &t->ip_cells[1]};
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        atomic_store(cells[i], UINT32_MAX);
        assert_found_out(b);
        assert_int_equal(atomic_load(cells[i]), 0);
        atomic_store(cells[i], 102);
        assert_found_out(b);
    }
}

static void a_limit_that_was_higher_once_still_counts(void **state)
{
    struct beat *b = *state;

    b->h->options.max_connections = 1000;
    patrol_follow_options(b->patrol);
    for (unsigned i = 0; i < 5; i++)
        a_host_with(b, 60);
    b->h->options.max_connections = 10;
    patrol_follow_options(b->patrol);
    for (unsigned round = 0; round < 10; round++)
        assert_left_alone(b);
}

static void cells_that_contradict_each_other_for_long_are_nonsense(void **state)
{
    struct beat *b = *state;
    struct iptable *t = &b->h->region.table;

    a_host_with(b, 5);
    const struct {
        _Atomic uint32_t *cell;
        uint32_t value;
    } rows[] = {{&t->fleet_cells[1], 50}, {&t->host_cells[1], 50}, {&t->ip_cells[1], 50}, {&t->fleet_cells[1], 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint32_t n = 0; i && n < 5; n++)
            assert_int_equal(iptable_lease(t, 1, 0, 0, 100, 0, 0), LEASE_GRANTED);
        uint32_t right = atomic_load(rows[i].cell);
        unsigned kills = b->h->fleet.kills[1];
        /* For a moment it may be in the middle of counting. */
        atomic_store(rows[i].cell, rows[i].value);
        for (unsigned round = 0; round < 4; round++)
            go_round(b);
        atomic_store(rows[i].cell, right);
        go_round(b);
        atomic_store(rows[i].cell, rows[i].value);
        for (unsigned round = 0; round < 4; round++)
            go_round(b);
        assert_int_equal(b->h->fleet.kills[1], kills);
        assert_found_out(b);
    }
}

static void a_position_outside_its_task_ring_is_nonsense(void **state)
{
    struct beat *b = *state;

    atomic_store(&((struct ring_header *)region_task_ring(&b->h->region, 1))->head, 64);
    assert_found_out(b);
    /* The next one's ring is a new one. */
    go_round(b);
    assert_int_equal(b->h->fleet.kills[1], 1);
}

static void the_coordinators_positions_are_nobody_elses(void **state)
{
    struct beat *b = *state;

    atomic_store(&((struct ring_header *)region_task_ring(&b->h->region, 1))->tail, 64);
    assert_found_out(b);
    atomic_store(&((struct ring_header *)region_record_ring(&b->h->region, 1))->head, 64);
    assert_found_out(b);
    go_round(b);
    assert_int_equal(b->h->fleet.kills[1], 2);
}

static void words_that_are_none_are_nonsense(void **state)
{
    struct beat *b = *state;
    struct region_worker *words = &b->h->region.header->worker[1];

    atomic_store(&words->asleep, 2);
    assert_found_out(b);
    atomic_store(&words->asleep, 0);
    atomic_store(&words->wants_room, UINT32_MAX);
    assert_found_out(b);
}

static void a_page_that_leaps_or_goes_back_is_nonsense_and_put_right(void **state)
{
    struct beat *b = *state;
    struct stats_page *page = region_page(&b->h->region, 1);

    STATS_SET(page, requests, 1000);
    histogram_add(&page->response_time, 5);
    go_round(b);
    STATS_SET(page, requests, 999);
    assert_found_out(b);
    assert_int_equal(STATS_GET(page, requests), 1000);
    STATS_SET(page, requests, UINT64_MAX);
    assert_found_out(b);
    assert_int_equal(STATS_GET(page, requests), 1000);
    STATS_SET(page, conns_idle, UINT64_C(1) << 32);
    go_round(b);
    assert_int_equal(b->h->fleet.kills[1], 3);
    b->h->fleet.workers[1].condemned = false;
    memset(page, 0xa5, sizeof *page);
    assert_found_out(b);
    assert_int_equal(STATS_GET(page, requests), 1000);
    assert_int_equal(STATS_GET(page, conns_idle), 0);
    assert_int_equal(atomic_load(&page->response_time.buckets[histogram_bucket(5)]), 1);
}

/* Dead before the round came. */
static void the_page_of_a_dead_worker_is_put_right(void **state)
{
    struct beat *b = *state;
    struct stats_page *page = region_page(&b->h->region, 1);

    STATS_SET(page, records, 7);
    go_round(b);
    STATS_SET(page, records, 9);
    patrol_on_death(b->patrol, 1, false);
    assert_int_equal(STATS_GET(page, records), 9);
    STATS_SET(page, records, 8);
    patrol_on_death(b->patrol, 1, false);
    assert_int_equal(STATS_GET(page, records), 9);
}

static void the_coordinators_words_are_put_right(void **state)
{
    struct beat *b = *state;
    struct region_header *header = b->h->region.header;

    atomic_store(&header->draining, REGION_CLOSES);
    atomic_store(&header->slot_wanted, 77);
    atomic_store(&header->worker[0].pid, 1);
    assert_left_alone(b);
    assert_int_equal(atomic_load(&header->draining), REGION_RUNS);
    assert_int_equal(atomic_load(&header->slot_wanted), REGION_SLOT_FREED);
    assert_int_equal(atomic_load(&header->worker[0].pid), 1000);
    atomic_store(&header->draining, REGION_CLOSES);
    patrol_on_death(b->patrol, 1, true);
    assert_int_equal(atomic_load(&header->draining), REGION_DRAINS);
}

static void workers_with_tasks_are_woken(void **state)
{
    struct beat *b = *state;

    b->h->fleet.workers[1].given_count = 1;
    go_round(b);
    b->h->fleet.workers[1].given_count = 0;
    assert_int_equal(b->h->fleet.nudges[0], 0);
    assert_int_equal(b->h->fleet.nudges[1], 1);
}

/* Between two rounds all goes on. */
static void wild_cells_of_a_host_do_no_harm_to_dispatch(void **state)
{
    struct beat *b = *state;
    struct iptable *t = &b->h->region.table;

    a_host_with(b, 1);
    for (uint32_t w = 0; w < 2; w++)
        atomic_store(&t->host_cells[w], UINT32_MAX - w);
    for (unsigned n = 0; n < 500; n++)
        add_at(b->h, "http://a.example/", "192.0.2.1");
    atomic_store(&t->hosts[0].streams_max, UINT32_MAX);
    atomic_store(&t->hosts[0].flags, UINT32_MAX);
    deal(b->h);
    go_round(b);
    assert_int_equal(b->h->fleet.kills[0], 1);
    assert_int_equal(b->h->fleet.kills[1], 1);
    for (unsigned w = 0; w < 2; w++)
        die_and_start_again(b->h, w);
    assert_true(deal(b->h) > 0);
}

#undef CASE
#define CASE(name) cmocka_unit_test_setup_teardown(name, beat_setup, beat_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sound_workers_are_left_alone),
        CASE(nothing_is_looked_at_before_its_time),
        CASE(a_cell_above_every_limit_is_nonsense),
        CASE(a_limit_that_was_higher_once_still_counts),
        CASE(cells_that_contradict_each_other_for_long_are_nonsense),
        CASE(a_position_outside_its_task_ring_is_nonsense),
        CASE(the_coordinators_positions_are_nobody_elses),
        CASE(words_that_are_none_are_nonsense),
        CASE(a_page_that_leaps_or_goes_back_is_nonsense_and_put_right),
        CASE(the_page_of_a_dead_worker_is_put_right),
        CASE(the_coordinators_words_are_put_right),
        CASE(workers_with_tasks_are_woken),
        CASE(wild_cells_of_a_host_do_no_harm_to_dispatch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
