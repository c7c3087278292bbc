/* Deadlines: what fires, in which order and when, under moving, stopping and removing; and a long random run against a
 * plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "common/timers.h"

#define MANY 1000

/* The timer stands first, so that a callback finds its owner by a cast. */
struct alarm {
    struct timer timer;
    unsigned fired;
    uint64_t again_us; /* 0: not armed again */
    struct alarm *victim;
    bool free_victim, free_self;
};

struct clockwork {
    struct timers timers;
    struct alarm *order[MANY];
    unsigned fired;
};

static void on_expire(struct timer *timer, void *user)
{
    struct alarm *a = (struct alarm *)(void *)timer;
    struct clockwork *c = user;

    assert_true(timer->expires_us == TIMER_NEVER);
    a->fired++;
    if (c->fired < MANY)
        c->order[c->fired] = a;
    c->fired++;
    if (a->again_us)
        timer_set(&c->timers, timer, a->again_us);
    a->again_us = 0;
    if (a->victim) {
        timer_remove(&c->timers, &a->victim->timer);
        if (a->free_victim)
            free(a->victim);
    }
    if (a->free_self)
        free(a);
}

static void alarm_at(struct clockwork *c, struct alarm *a, uint64_t at_us)
{
    *a = (struct alarm){0};
    timer_init(&a->timer, on_expire);
    timer_set(&c->timers, &a->timer, at_us);
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct clockwork));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    struct clockwork *c = *state;

    timers_fini(&c->timers);
    assert_null(c->timers.heap);
    free(c);
    return 0;
}

static void run_at(struct clockwork *c, uint64_t now_us)
{
    timers_run(&c->timers, now_us, c);
}

static void nothing_is_due_in_an_empty_heap(void **state)
{
    struct clockwork *c = *state;

    assert_true(timers_next(&c->timers) == TIMER_NEVER);
    run_at(c, UINT64_MAX - 1);
    assert_int_equal(c->fired, 0);
}

static void fires_at_its_moment_and_not_before(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;

    alarm_at(c, &a, 100);
    assert_int_equal(timers_next(&c->timers), 100);
    run_at(c, 99);
    assert_int_equal(a.fired, 0);
    run_at(c, 100);
    assert_int_equal(a.fired, 1);
    run_at(c, 1000);
    assert_int_equal(a.fired, 1);
    assert_int_equal(a.timer.place, 0);
}

static void fires_in_order_of_deadlines(void **state)
{
    struct clockwork *c = *state;
    static struct alarm alarms[MANY];

    for (uint64_t i = 0; i < MANY; i++)
        alarm_at(c, &alarms[i], 1 + (i * 7919) % MANY);
    run_at(c, MANY);
    assert_int_equal(c->fired, MANY);
    for (unsigned i = 1; i < MANY; i++) {
        size_t before = (size_t)(c->order[i - 1] - alarms);
        size_t after = (size_t)(c->order[i] - alarms);
        assert_true((before * 7919) % MANY < (after * 7919) % MANY);
    }
}

static void one_moved_later_keeps_still_at_the_old_moment(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;

    alarm_at(c, &a, 100);
    timer_set(&c->timers, &a.timer, 300);
    assert_true(timers_next(&c->timers) <= 300);
    run_at(c, 299);
    assert_int_equal(a.fired, 0);
    assert_int_equal(timers_next(&c->timers), 300);
    run_at(c, 300);
    assert_int_equal(a.fired, 1);
}

static void one_moved_later_and_back_fires_at_the_last_word(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;
    struct alarm other;

    alarm_at(c, &a, 100);
    alarm_at(c, &other, 50);
    timer_set(&c->timers, &a.timer, 900);
    timer_set(&c->timers, &a.timer, 120);
    run_at(c, 119);
    assert_int_equal(a.fired, 0);
    run_at(c, 120);
    assert_int_equal(a.fired, 1);
}

static void one_moved_earlier_overtakes(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;
    struct alarm b;

    alarm_at(c, &a, 100);
    alarm_at(c, &b, 200);
    timer_set(&c->timers, &b.timer, 50);
    assert_int_equal(timers_next(&c->timers), 50);
    run_at(c, 60);
    assert_int_equal(b.fired, 1);
    assert_int_equal(a.fired, 0);
}

static void a_stopped_one_is_silent_and_can_be_armed_again(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;

    alarm_at(c, &a, 100);
    timer_stop(&a.timer);
    run_at(c, 100);
    assert_int_equal(a.fired, 0);
    assert_int_equal(a.timer.place, 0);
    timer_set(&c->timers, &a.timer, 150);
    timer_stop(&a.timer);
    timer_set(&c->timers, &a.timer, 120);
    run_at(c, 120);
    assert_int_equal(a.fired, 1);
}

static void removing_twice_does_no_harm(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;

    timer_init(&a.timer, on_expire);
    timer_remove(&c->timers, &a.timer);
    alarm_at(c, &a, 100);
    timer_remove(&c->timers, &a.timer);
    timer_remove(&c->timers, &a.timer);
    assert_int_equal(c->timers.count, 0);
    run_at(c, 200);
    assert_int_equal(a.fired, 0);
}

static void can_be_armed_again_in_its_callback(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;

    alarm_at(c, &a, 100);
    a.again_us = 250;
    run_at(c, 200);
    assert_int_equal(a.fired, 1);
    assert_int_equal(timers_next(&c->timers), 250);
    run_at(c, 250);
    assert_int_equal(a.fired, 2);
}

static void armed_again_for_the_past_it_fires_within_the_run(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;

    alarm_at(c, &a, 100);
    a.again_us = 150;
    run_at(c, 200);
    assert_int_equal(a.fired, 2);
}

static void a_callback_may_remove_and_free_another_that_is_due(void **state)
{
    struct clockwork *c = *state;
    struct alarm a;
    struct alarm *victim = calloc(1, sizeof *victim);

    assert_non_null(victim);
    alarm_at(c, &a, 100);
    alarm_at(c, victim, 101);
    a.victim = victim;
    a.free_victim = true;
    run_at(c, 200);
    assert_int_equal(c->fired, 1);
    assert_int_equal(c->timers.count, 0);
}

static void a_callback_may_free_its_own_owner(void **state)
{
    struct clockwork *c = *state;
    struct alarm *a = calloc(1, sizeof *a);
    struct alarm later;

    assert_non_null(a);
    alarm_at(c, a, 100);
    a->free_self = true;
    alarm_at(c, &later, 150);
    run_at(c, 200);
    assert_int_equal(c->fired, 2);
}

/* Where the heap stands: each knows its place, none is before its parent. */
static void assert_heap(const struct timers *t)
{
    for (size_t i = 0; i < t->count; i++) {
        assert_int_equal(t->heap[i]->place, i + 1);
        assert_true(t->heap[i]->key_us <= t->heap[i]->expires_us);
        assert_true(t->heap[(i - (i > 0)) / 2]->key_us <= t->heap[i]->key_us);
    }
}

static void random_use_agrees_with_a_plain_model(void **state)
{
    struct clockwork *c = *state;
    struct alarm alarms[40];
    uint64_t due[40];
    unsigned wanted[40] = {0};
    uint64_t now = 1;

    srandom(7);
    for (unsigned i = 0; i < 40; i++) {
        alarms[i] = (struct alarm){0};
        timer_init(&alarms[i].timer, on_expire);
        due[i] = TIMER_NEVER;
    }
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)random() % 40;
        switch (random() % 5) {
        case 0:
        case 1:
            due[i] = now + (uint64_t)random() % 50;
            timer_set(&c->timers, &alarms[i].timer, due[i]);
            break;
        case 2:
            due[i] = TIMER_NEVER;
            timer_stop(&alarms[i].timer);
            break;
        case 3:
            due[i] = TIMER_NEVER;
            timer_remove(&c->timers, &alarms[i].timer);
            break;
        default:
            now += (uint64_t)random() % 8;
            run_at(c, now);
            for (unsigned j = 0; j < 40; j++) {
                wanted[j] += due[j] <= now;
                due[j] = due[j] <= now ? TIMER_NEVER : due[j];
                assert_int_equal(alarms[j].fired, wanted[j]);
            }
        }
        assert_heap(&c->timers);
        for (unsigned j = 0; j < 40; j++)
            assert_true(timers_next(&c->timers) <= due[j]);
    }
    assert_true(c->fired > 1000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_due_in_an_empty_heap),
        CASE(fires_at_its_moment_and_not_before),
        CASE(fires_in_order_of_deadlines),
        CASE(one_moved_later_keeps_still_at_the_old_moment),
        CASE(one_moved_later_and_back_fires_at_the_last_word),
        CASE(one_moved_earlier_overtakes),
        CASE(a_stopped_one_is_silent_and_can_be_armed_again),
        CASE(removing_twice_does_no_harm),
        CASE(can_be_armed_again_in_its_callback),
        CASE(armed_again_for_the_past_it_fires_within_the_run),
        CASE(a_callback_may_remove_and_free_another_that_is_due),
        CASE(a_callback_may_free_its_own_owner),
        CASE(random_use_agrees_with_a_plain_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
