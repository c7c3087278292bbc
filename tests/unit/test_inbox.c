/* Reading the task ring: all that waits is taken, none while results wait for room, and room is given back. */
#include "tests/unit/worker_fixture.h"

#include "common/clock.h"
#include "worker/inbox.h"

static struct fixture x;
static struct fixture_host *host;

static void start(uint32_t ring_bytes)
{
    fixture_open(&x, &(struct fixture_plan){.record_ring_bytes = ring_bytes});
    /* Without an address: every task ends at once. */
    host = fixture_host(&x, URL_HTTP, "a.test", 80, NULL, 0);
}

static void empty_ring_gives_nothing(void **state)
{
    (void)state;
    start(0);
    assert_false(inbox_waiting(x.w));
    inbox_drain(x.w);
    assert_true(TAILQ_EMPTY(&x.w->spare));
    fixture_close(&x);
}

static void all_tasks_are_taken_in_one_go(void **state)
{
    (void)state;
    start(0);
    fixture_get(&x, host, 100);
    assert_true(inbox_waiting(x.w));
    inbox_drain(x.w);
    assert_false(inbox_waiting(x.w));
    fixture_until_told(&x, 100, 0);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(x.told[i].m.seq, i);
    fixture_close(&x);
}

static void room_is_given_back_with_each_task(void **state)
{
    (void)state;
    start(0);
    uint64_t before = ring_room(&x.tasks);
    fixture_get(&x, host, 5);
    assert_true(ring_room(&x.tasks) < before);
    inbox_drain(x.w);
    assert_int_equal(atomic_load(&x.tasks.shared->head), x.tasks.position);
    fixture_close(&x);
}

static void no_task_is_taken_while_results_wait_for_room(void **state)
{
    (void)state;
    start(4096);
    x.reader_stopped = true;
    fixture_get(&x, host, 100);
    x.unchecked = true;
    fixture_turns(&x, 5);
    assert_false(TAILQ_EMPTY(&x.w->unsent));
    assert_true(ring_has_message(&x.w->tasks));
    assert_false(inbox_waiting(x.w));
    uint64_t records = STATS_GET(x.w->page, records);
    fixture_turns(&x, 5);
    assert_int_equal(STATS_GET(x.w->page, records), records);
    x.reader_stopped = false;
    fixture_until_told(&x, 100, 0);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(empty_ring_gives_nothing),
        test(all_tasks_are_taken_in_one_go),
        test(room_is_given_back_with_each_task),
        test(no_task_is_taken_while_results_wait_for_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
