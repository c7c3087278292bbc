/* The disk thread: order, where each half of a piece runs, and that nothing given is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/disk.h"

#define PIECES 2000

struct bench {
    struct event_base *base;
    struct disk *disk;
    pthread_t loop;
    atomic_bool held; /* pieces wait for it to be let go */
    atomic_uint begun, runs;
    unsigned told; /* pieces whose done() was called */
};

struct piece {
    struct disk_work work;
    struct bench *bench;
    unsigned number;
    unsigned run_as; /* the how manieth */
    bool in_other_thread;
    unsigned takes_us;
    unsigned again; /* times that it gives itself anew when it is done */
    char name[16];  /* of the thread */
    sigset_t mask;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    b->base = event_base_new();
    b->loop = pthread_self();
    b->disk = disk_open(b->base, "disk-test");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    disk_close(b->disk);
    event_base_free(b->base);
    free(b);
    return 0;
}

static void run_piece(struct disk_work *work)
{
    struct piece *p = (struct piece *)(void *)work;

    atomic_fetch_add(&p->bench->begun, 1);
    while (atomic_load(&p->bench->held))
        usleep(100);
    usleep(p->takes_us);
    p->in_other_thread = !pthread_equal(pthread_self(), p->bench->loop);
    pthread_getname_np(pthread_self(), p->name, sizeof p->name);
    pthread_sigmask(SIG_SETMASK, NULL, &p->mask);
    p->run_as = atomic_fetch_add(&p->bench->runs, 1);
}

static void on_done(struct disk_work *work)
{
    struct piece *p = (struct piece *)(void *)work;

    assert_true(pthread_equal(pthread_self(), p->bench->loop));
    assert_true(p->in_other_thread);
    if (p->again > 0) {
        p->again--;
        disk_give(p->bench->disk, &p->work);
        return;
    }
    assert_int_equal(p->number, p->bench->told);
    p->bench->told++;
}

static struct piece *make_pieces(struct bench *b, unsigned count)
{
    struct piece *pieces = calloc(count, sizeof *pieces);

    assert_non_null(pieces);
    for (unsigned i = 0; i < count; i++)
        pieces[i] = (struct piece){.work = {.run = run_piece, .done = on_done}, .bench = b, .number = i};
    return pieces;
}

static void turn_until(struct bench *b, unsigned told)
{
    for (unsigned i = 0; i < 5000 && b->told < told; i++) {
        event_base_loop(b->base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    assert_int_equal(b->told, told);
}

static void a_piece_runs_in_the_thread_and_is_done_in_the_loop(void **state)
{
    struct bench *b = *state;
    struct piece *p = make_pieces(b, 1);

    disk_give(b->disk, &p->work);
    while (atomic_load(&b->runs) == 0)
        usleep(100);
    usleep(2000);
    /* Nothing is told before the loop's turn. */
    assert_int_equal(b->told, 0);
    turn_until(b, 1);
    assert_string_equal(p->name, "disk-test");
    free(p);
}

static void signals_stay_the_loops(void **state)
{
    struct bench *b = *state;
    struct piece *p = make_pieces(b, 1);
    sigset_t mine;

    disk_give(b->disk, &p->work);
    disk_wait(b->disk);
    assert_int_equal(sigismember(&p->mask, SIGTERM), 1);
    assert_int_equal(sigismember(&p->mask, SIGINT), 1);
    assert_int_equal(sigismember(&p->mask, SIGCHLD), 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_int_equal(sigismember(&mine, SIGTERM), 0);
    free(p);
}

static void pieces_run_and_are_told_in_the_order_in_which_they_were_given(void **state)
{
    struct bench *b = *state;
    struct piece *pieces = make_pieces(b, PIECES);

    for (unsigned i = 0; i < PIECES; i++) {
        disk_give(b->disk, &pieces[i].work);
        if (i % 64 == 0)
            event_base_loop(b->base, EVLOOP_NONBLOCK);
    }
    turn_until(b, PIECES);
    for (unsigned i = 0; i < PIECES; i++)
        assert_int_equal(pieces[i].run_as, i);
    free(pieces);
}

static void the_loop_goes_on_while_a_piece_waits_for_the_disk(void **state)
{
    struct bench *b = *state;
    struct piece *pieces = make_pieces(b, 3);

    b->held = true;
    for (unsigned i = 0; i < 3; i++)
        disk_give(b->disk, &pieces[i].work);
    for (unsigned i = 0; i < 10; i++) {
        event_base_loop(b->base, EVLOOP_NONBLOCK);
        usleep(500);
    }
    assert_int_equal(b->told, 0);
    b->held = false;
    turn_until(b, 3);
    free(pieces);
}

static void a_loop_that_sleeps_is_woken(void **state)
{
    struct bench *b = *state;
    struct piece *p = make_pieces(b, 1);

    for (unsigned i = 1; i <= 20; i++) {
        p->number = i - 1;
        disk_give(b->disk, &p->work);
        /* Without a time: it would sleep for ever. */
        while (b->told < i)
            event_base_loop(b->base, EVLOOP_ONCE);
    }
    free(p);
}

static void waiting_ends_when_all_is_done_and_told(void **state)
{
    struct bench *b = *state;
    struct piece *pieces = make_pieces(b, PIECES);

    disk_wait(b->disk);
    for (unsigned i = 0; i < PIECES; i++) {
        disk_give(b->disk, &pieces[i].work);
        if (i % 100 == 99) {
            disk_wait(b->disk);
            assert_int_equal(b->told, i + 1);
        }
    }
    /* Word of it that still stands with the loop is of nothing. */
    event_base_loop(b->base, EVLOOP_NONBLOCK);
    assert_int_equal(b->told, PIECES);
    disk_wait(b->disk);
    free(pieces);
}

static void a_piece_that_runs_is_waited_for(void **state)
{
    struct bench *b = *state;
    struct piece *p = make_pieces(b, 1);

    p->takes_us = 30000;
    disk_give(b->disk, &p->work);
    while (atomic_load(&b->begun) == 0)
        usleep(100);
    disk_wait(b->disk);
    assert_int_equal(b->told, 1);
    free(p);
}

static void a_piece_is_its_givers_again_once_it_is_done(void **state)
{
    struct bench *b = *state;
    struct piece *p = make_pieces(b, 1);

    p->again = 30;
    disk_give(b->disk, &p->work);
    turn_until(b, 1);
    assert_int_equal(b->runs, 31);
    free(p);
}

static void closing_runs_and_tells_of_what_is_under_way(void **state)
{
    struct bench *b = *state;
    struct piece *pieces = make_pieces(b, 500);

    for (unsigned i = 0; i < 500; i++)
        disk_give(b->disk, &pieces[i].work);
    disk_close(b->disk);
    assert_int_equal(b->told, 500);
    assert_int_equal(b->runs, 500);
    free(pieces);
    b->disk = disk_open(b->base, "disk-test");
}

static void closing_runs_what_is_given_while_it_is_told(void **state)
{
    struct bench *b = *state;
    struct piece *p = make_pieces(b, 1);

    p->again = 5;
    disk_give(b->disk, &p->work);
    disk_close(b->disk);
    assert_int_equal(b->runs, 6);
    assert_int_equal(b->told, 1);
    free(p);
    b->disk = disk_open(b->base, "disk-test");
}

static void none_may_be_closed(void **state)
{
    (void)state;
    disk_close(NULL);
}

/* Two of them, as a run with a job has, do not know of each other. */
static void threads_are_apart(void **state)
{
    struct bench *b = *state;
    struct bench other = {.base = b->base, .loop = b->loop, .disk = disk_open(b->base, "other")};
    struct piece *held = make_pieces(b, 1);
    struct piece *free_one = make_pieces(&other, 1);

    b->held = true;
    disk_give(b->disk, &held->work);
    disk_give(other.disk, &free_one->work);
    turn_until(&other, 1);
    assert_string_equal(free_one->name, "other");
    assert_int_equal(b->told, 0);
    b->held = false;
    turn_until(b, 1);
    disk_close(other.disk);
    free(held);
    free(free_one);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_piece_runs_in_the_thread_and_is_done_in_the_loop),
        CASE(signals_stay_the_loops),
        CASE(pieces_run_and_are_told_in_the_order_in_which_they_were_given),
        CASE(the_loop_goes_on_while_a_piece_waits_for_the_disk),
        CASE(a_loop_that_sleeps_is_woken),
        CASE(waiting_ends_when_all_is_done_and_told),
        CASE(a_piece_that_runs_is_waited_for),
        CASE(a_piece_is_its_givers_again_once_it_is_done),
        CASE(closing_runs_and_tells_of_what_is_under_way),
        CASE(closing_runs_what_is_given_while_it_is_told),
        CASE(none_may_be_closed),
        CASE(threads_are_apart),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
