/* Results on their way: order under a full ring, the word that room is wanted, and whom it wakes. */
#include "tests/unit/worker_fixture.h"

#include <unistd.h>

#include "common/clock.h"
#include "worker/outbox.h"

static struct fixture x;
static struct fixture_host *host;

static void start(uint32_t ring_bytes)
{
    fixture_open(&x, &(struct fixture_plan){.record_ring_bytes = ring_bytes});
    /* Without an address: every task ends at once. */
    host = fixture_host(&x, URL_HTTP, "a.test", 80, NULL, 0);
}

static bool woken(void)
{
    uint64_t count;

    return read(x.w->coordinator_fd, &count, sizeof count) == sizeof count;
}

static void order_is_kept_through_a_full_ring(void **state)
{
    (void)state;
    start(4096);
    x.unchecked = true;
    for (int round = 0; round < 10; round++) {
        x.reader_stopped = true;
        fixture_get(&x, host, 30);
        fixture_turns(&x, 3);
        x.reader_stopped = false;
        fixture_turns(&x, 3);
    }
    fixture_until_told(&x, 300, 0);
    for (uint64_t i = 0; i < 300; i++)
        assert_int_equal(x.told[i].m.seq, i);
    assert_true(TAILQ_EMPTY(&x.w->unsent));
    fixture_close(&x);
}

static void results_of_many_connections_wait_in_their_order(void **state)
{
    (void)state;
    fixture_open(&x, &(struct fixture_plan){.record_ring_bytes = 4096,
                                            .options = (const char *const[]){"max_conns_per_host=30", NULL}});
    x.unchecked = true;
    struct origin *o = fixture_origin(&x, ORIGIN_PLAIN);
    fixture_get(&x, fixture_host_at(&x, "a.test", o), 30);
    fixture_until(&x, o->peer_count == 30);
    fixture_turns(&x, 5);
    x.reader_stopped = true;
    for (unsigned i = 0; i < 30; i++) {
        script_answer(o->peers[i]);
        fixture_turns(&x, 2);
    }
    assert_int_equal(STATS_GET(x.w->page, records), 30);
    assert_false(TAILQ_EMPTY(&x.w->unsent));
    x.reader_stopped = false;
    fixture_until_told(&x, 30, 0);
    for (uint64_t i = 0; i < 30; i++)
        assert_int_equal(x.told[i].m.seq, i);
    fixture_close(&x);
}

static void room_is_wanted_until_all_is_sent(void **state)
{
    (void)state;
    start(4096);
    x.unchecked = true;
    x.reader_stopped = true;
    fixture_get(&x, host, 30);
    fixture_turns(&x, 3);
    assert_false(TAILQ_EMPTY(&x.w->unsent));
    assert_int_equal(atomic_load(&x.w->shared->wants_room), 1);
    x.reader_stopped = false;
    fixture_until_told(&x, 30, 0);
    fixture_turn(&x);
    assert_int_equal(atomic_load(&x.w->shared->wants_room), 0);
    fixture_close(&x);
}

/* Expected: a worker that goes to sleep with an unsent result has said that it wants room. Today results that do not
 * fit after outbox_retry() of the same turn say nothing before the sleep; if the coordinator empties the ring meanwhile
 * it wakes nobody, and if no other event comes the run hangs (worker/main.c, run(): the order of a turn). */
static void worker_that_sleeps_with_unsent_results_has_asked_for_room(void **state)
{
    (void)state;
    start(4096);
    x.unchecked = true;
    x.reader_stopped = true;
    fixture_get(&x, host, 30);
    fixture_turn(&x);
    assert_false(TAILQ_EMPTY(&x.w->unsent));
    assert_int_equal(atomic_load(&x.w->shared->wants_room), 1);
    fixture_close(&x);
}

static void sleeping_coordinator_is_woken_by_the_first_message(void **state)
{
    (void)state;
    start(0);
    atomic_store(&x.w->region.header->coordinator_asleep, REGION_ASLEEP);
    fixture_get(&x, host, 5);
    fixture_turn(&x);
    assert_true(woken());
    assert_int_equal(atomic_load(&x.w->region.header->coordinator_asleep), REGION_AWAKE);
    fixture_get(&x, host, 5);
    fixture_turn(&x);
    assert_false(woken());
    fixture_close(&x);
}

static void dozing_coordinator_is_woken_by_a_worker_without_work_alone(void **state)
{
    (void)state;
    start(0);
    atomic_store(&x.w->region.header->coordinator_asleep, REGION_DOZING);
    x.w->committed = true;
    outbox_publish(x.w, false);
    assert_false(woken());
    x.w->committed = true;
    outbox_publish(x.w, true);
    assert_true(woken());
    fixture_close(&x);
}

static void nothing_committed_wakes_nobody(void **state)
{
    (void)state;
    start(0);
    atomic_store(&x.w->region.header->coordinator_asleep, REGION_ASLEEP);
    fixture_turns(&x, 3);
    outbox_publish(x.w, true);
    assert_false(woken());
    fixture_close(&x);
}

static void messages_are_shown_once_a_turn(void **state)
{
    const void *message;
    uint32_t len;

    (void)state;
    start(0);
    x.reader_stopped = true;
    fixture_get(&x, host, 1);
    struct fetch *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *f = (struct fetch){.worker = x.w};
    timer_init(&f->timer, NULL);
    outbox_put(f, "abc", 3);
    assert_int_equal(f->state, FETCH_SPARE);
    assert_int_equal(ring_peek(&x.records, &message, &len), OUTCOME_AGAIN);
    outbox_publish(x.w, false);
    assert_int_equal(ring_peek(&x.records, &message, &len), OUTCOME_OK);
    assert_int_equal(len, sizeof(struct result_message) + 3);
    fixture_turn(&x);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(order_is_kept_through_a_full_ring),
        test(results_of_many_connections_wait_in_their_order),
        test(room_is_wanted_until_all_is_sent),
        test(worker_that_sleeps_with_unsent_results_has_asked_for_room),
        test(sleeping_coordinator_is_woken_by_the_first_message),
        test(dozing_coordinator_is_woken_by_a_worker_without_work_alone),
        test(nothing_committed_wakes_nobody),
        test(messages_are_shown_once_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
