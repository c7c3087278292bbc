/* Lines beyond the window: how much of it a host may have, that each line comes back once and in order, and that what
 * is on the way is bounded. */
#include "tests/unit/overflow_scene.h"

#define MIB ((uint64_t)1 << 20)

static struct house_plan plan_of(uint32_t window, uint32_t hosts)
{
    struct house_plan plan = usual_plan;

    plan.window = window;
    plan.max_hosts = hosts;
    plan.ips_max = 2 * hosts;
    plan.ip_refs_max = 4 * hosts;
    return plan;
}

static int scene_setup(void **state)
{
    struct house_plan plan = plan_of(960, 512);

    *state = scene_new(&plan, 1024 * MIB);
    return 0;
}

static int scene_teardown(void **state)
{
    scene_free(*state);
    return 0;
}

static struct scene *anew(void **state, uint32_t window, uint32_t hosts, uint64_t overflow_max)
{
    struct house_plan plan = plan_of(window, hosts);

    scene_free(*state);
    *state = scene_new(&plan, overflow_max);
    return *state;
}

static void one_host_has_a_third_of_the_window_and_the_rest_is_kept(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 320);
    assert_int_equal(overflow_lines(s->overflow), 0);
    assert_null(numbered_host(s, 1)->overflow);
    give_many(s, 1, 1680);
    settle(s);
    assert_int_equal(numbered_host(s, 1)->pending_count, 320);
    assert_int_equal(overflow_lines(s->overflow), 1680);
    assert_int_equal(overflow_lines_total(s->overflow), 1680);
    assert_true(intake_has_room(&s->intake));
    drain(s);
    assert_int_equal(overflow_lines_total(s->overflow), 1680);
}

static void a_second_host_has_a_share_of_what_is_left(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 2000);
    give_many(s, 2, 2000);
    /* Of 640: until it has as many as half of what is left. That is no more than the half that is kept free. */
    assert_in_range(numbered_host(s, 2)->pending_count, 150, 214);
    assert_int_equal(numbered_host(s, 1)->pending_count, 320);
    drain(s);
}

/* When half of the window is in use a host has what it answers in a moment, and a quarter is for newcomers. */
static void the_last_half_of_the_window_is_given_by_pace(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 1000);
    give_many(s, 2, 1000);
    uint32_t left = task_room(s->house->tasks);
    assert_true(left <= 480);
    give_many(s, 3, 1000);
    assert_int_equal(numbered_host(s, 3)->pending_count, 16);
    give_many(s, 4, 1);
    numbered_host(s, 4)->pace = 2;
    give_many(s, 4, 1000);
    assert_in_range(numbered_host(s, 4)->pending_count, 60, 80);
    /* Newcomers, until only the quarter is left: then each has one. */
    for (unsigned host = 5; task_room(s->house->tasks) > 240; host++)
        give_many(s, host, 100);
    give_many(s, 100, 100);
    assert_int_equal(numbered_host(s, 100)->pending_count, 1);
    give_many(s, 101, 1);
    assert_null(numbered_host(s, 101)->overflow);
    drain(s);
}

static void a_line_waits_behind_those_that_came_before_it(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 1000);
    struct host *host = numbered_host(s, 1);
    /* There is room again, and still a new line goes behind the others. */
    assert_int_equal(take(s, host, 320), 320);
    assert_true(overflow_wants(s->overflow, host));
    give_many(s, 1, 1);
    assert_int_equal(host->pending_count, 0);
    assert_int_equal(overflow_lines(s->overflow), 681);
    drain(s);
}

static void a_host_that_runs_low_is_given_its_share_again(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 3000);
    settle(s);
    struct host *host = numbered_host(s, 1);
    assert_int_equal(host->pending_count, 320);
    take(s, host, 10);
    settle(s);
    /* Not for a few. */
    assert_int_equal(host->pending_count, 310);
    take(s, host, 200);
    TURN_UNTIL(s, host->pending_count >= 320);
    /* Half of what was free. */
    settle(s);
    assert_in_range(host->pending_count, 320, 480);
    assert_int_equal(overflow_lines(s->overflow) + host->pending_count + s->taken, 3000);
    drain(s);
}

static void a_queue_that_is_empty_is_gone_and_lets_its_host_go(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 1000);
    struct host *host = numbered_host(s, 1);
    assert_non_null(host->overflow);
    assert_int_equal(host->held_count, 321);
    /* Held as long as lines of it are kept, with no task at all. */
    assert_int_equal(take(s, host, 320), 320);
    assert_int_equal(host->held_count, 1);
    assert_host(host);
    drain(s);
    assert_null(host->overflow);
    assert_int_equal(host->held_count, 0);
    assert_host(host);
    assert_all_gone(s->house);
    /* And begins again. */
    give_many(s, 1, 1000);
    assert_non_null(host->overflow);
    drain(s);
}

static void few_lines_never_see_the_disk(void **state)
{
    struct scene *s = *state;

    give_many(s, 1, 400);
    uint64_t before = overflow_bytes(s->overflow);
    drain(s);
    assert_int_equal(overflow_bytes(s->overflow), before);
}

static void many_lines_come_back_from_the_disk(void **state)
{
    struct scene *s = *state;

    for (unsigned i = 0; i < 20000; i++) {
        give_numbered(s, i % 3, 400);
        if (i % 100 == 0)
            turn(s);
    }
    TURN_UNTIL(s, overflow_bytes(s->overflow) > 4 * MIB);
    drain(s);
}

static void a_line_longer_than_a_block_comes_back_whole(void **state)
{
    struct scene *s = anew(state, 16, 16, 1024 * MIB);

    for (unsigned i = 0; i < 60; i++)
        give_numbered(s, 1, i % 4 == 3 ? 60000 : i * 700);
    settle(s);
    drain(s);
}

/* As they were written: parsed again, or with the shape that was kept. */
static void lines_of_all_kinds_come_back_as_they_were(void **state)
{
    struct scene *s = anew(state, 16, 16, 1024 * MIB);
    static const char json[] = "{\"url\":\"http://10.0.0.1/json\",\"method\":\"PUT\",\"headers\":{\"A\":\"b\"},"
                               "\"body\":\"x\",\"tag\":{\"k\":1}}";
    static const char *const lines[] = {
        "http://10.0.0.1/plain?q#f", "HTTP://10.0.0.1:80/up",      "http://10.0.0.1/\r", json,
        "http://10.0.0.1",           "  http://10.0.0.1/spaces  ",
    };
    unsigned ends = 0;

    for (unsigned i = 0; i < 300; i++)
        give(s, lines[i % 6], strlen(lines[i % 6]));
    assert_true(overflow_lines(s->overflow) > 200);
    struct host *host = numbered_host(s, 0x000001);
    for (unsigned turns = 0; turns < 10000 && ends < 300; turns++) {
        turn(s);
        struct task *task = frontier_take(s->house->frontier, host);
        if (!task) {
            usleep(50);
            continue;
        }
        assert_int_equal(sum_of(task->input.data, task->input.len), s->text_sums[task->seq]);
        const char *text = lines[(task->seq - 1) % 6];
        const char *slash = strstr(text, "10.0.0.1/");
        if (slash && *text == 'h' && text[strlen(text) - 1] != '\r')
            assert_memory_equal(task->url.text + task->url.path_offset, "/plain?q", task->url.path_len);
        assert_int_equal(task->method.data != NULL, *text == '{');
        assert_int_equal(task->tag.len, *text == '{' ? 7 : 0);
        assert_int_equal(task->headers.len, *text == '{' ? 6 : 0);
        results_fail(&s->house->results, task, OUTCOME_DEADLINE, NULL);
        ends++;
    }
    frontier_rotate(s->house->frontier, host);
    assert_int_equal(ends, 300);
}

static void hosts_have_their_turns_however_many_lines_they_have(void **state)
{
    struct scene *s = anew(state, 200, 512, 1024 * MIB);

    give_many(s, 1, 20000);
    for (unsigned i = 0; i < 3000; i++)
        give_numbered(s, 2 + i % 100, 0);
    /* While the first one is given all that it can take, each of the others comes forward too. */
    for (unsigned round = 0; round < 40; round++) {
        struct host *host;
        settle(s);
        for (unsigned n = 0; n < 200 && (host = frontier_first(s->house->frontier)); n++)
            take(s, host, 2);
        assert_int_equal(records_flush(s->house->records), OUTCOME_OK);
        if (s->taken > 4000)
            break;
    }
    for (unsigned host = 2; host < 102; host++)
        assert_true(s->last_of_host[numbered_host(s, host)->index] > 0);
    assert_in_range(task_count(s->house->tasks), 0, 200);
    drain(s);
}

static void many_hosts_and_lines_in_any_order(void **state)
{
    struct scene *s = anew(state, 300, 512, 1024 * MIB);

    srandom(6);
    for (unsigned i = 0; i < 30000; i++) {
        unsigned host = random() % 3 ? (unsigned)random() % 5 : (unsigned)random() % 400;
        if (intake_has_room(&s->intake))
            give_numbered(s, host, (size_t)random() % (random() % 50 ? 100 : 9000));
        if (random() % 20 == 0)
            turn(s);
        struct host *first = frontier_first(s->house->frontier);
        if (first && random() % 3 == 0)
            take(s, first, (unsigned)random() % 10);
        if (records_full(s->house->records))
            assert_int_equal(records_flush(s->house->records), OUTCOME_OK);
    }
    assert_true(overflow_lines_total(s->overflow) > 1000);
    drain(s);
    assert_all_gone(s->house);
}

static void lines_of_a_host_that_fails_end_each_with_a_record(void **state)
{
    struct scene *s = *state;

    for (unsigned i = 0; i < 2000; i++) {
        char text[64];
        int len = snprintf(text, sizeof text, "http://a.example/%u", i);
        give(s, text, (size_t)len);
    }
    assert_true(overflow_lines(s->overflow) > 1000);
    answer_failure(s->house, OUTCOME_DNS_NXDOMAIN);
    for (unsigned i = 0; i < 2000 && overflow_lines(s->overflow); i++) {
        turn(s);
        usleep(100);
    }
    assert_int_equal(overflow_lines(s->overflow), 0);
    assert_int_equal(s->house->results.done, 2000);
    assert_int_equal(s->house->results.outcomes[OUTCOME_DNS_NXDOMAIN], 2000);
    for (uint64_t seq = 1; seq <= 2000; seq += 111)
        assert_int_equal(records_of(s->house, seq), 1);
    assert_all_gone(s->house);
}

/* What was kept when the host's queue was ended ends with it, and what comes later does not. */
static void lines_end_with_their_hosts_queue_and_later_ones_do_not(void **state)
{
    struct scene *s = *state;
    char detail[32] = "why it was ended";

    give_many(s, 1, 2000);
    struct host *host = numbered_host(s, 1);
    frontier_end_queue(s->house->frontier, host, OUTCOME_IP_BLOCKED, detail);
    memset(detail, 'x', sizeof detail - 1);
    assert_int_equal(s->house->results.outcomes[OUTCOME_IP_BLOCKED], 320);
    give_many(s, 1, 100);
    assert_int_equal(overflow_lines(s->overflow), 1780);
    TURN_UNTIL(s, s->house->results.outcomes[OUTCOME_IP_BLOCKED] == 2000);
    assert_int_equal(task_count(s->house->tasks) + overflow_lines(s->overflow), 100);
    s->taken = 2000;
    drain(s);
    assert_int_equal(s->house->results.outcomes[OUTCOME_IP_BLOCKED], 2000);
    assert_int_equal(s->house->results.outcomes[OUTCOME_DEADLINE], 100);
    assert_int_equal(records_flush(s->house->records), OUTCOME_OK);
    assert_output_has(s->house, "why it was ended");
    assert_null(strstr(s->house->output.data, "xxx"));
}

/* A line is not read while this much is between the loop and the disk. */
static void what_is_on_the_way_to_the_disk_is_bounded(void **state)
{
    struct scene *s = anew(state, 16, 16, 1024 * MIB);
    uint64_t bytes = 0;

    /* The thread writes meanwhile, and the loop does not hear of it. */
    while (overflow_has_room(s->overflow) && bytes < 100 * MIB) {
        give_numbered(s, 1, 1000);
        bytes += 1000;
    }
    assert_false(intake_has_room(&s->intake));
    assert_in_range(bytes, 7 * MIB, 10 * MIB);
    TURN_UNTIL(s, overflow_has_room(s->overflow));
    drain(s);
}

static void a_full_disk_stops_the_intake_until_lines_were_taken(void **state)
{
    struct scene *s = anew(state, 64, 16, 3 * MIB);
    unsigned lines = 0;

    while (overflow_has_room(s->overflow) && lines < 20000) {
        give_numbered(s, 1, 1000);
        if (lines++ % 20 == 0)
            turn(s);
    }
    /* A batch on the disk, one that has no room there, and what was on the way. */
    assert_in_range(lines, 3000, 12000);
    settle(s);
    TURN_UNTIL(s, !overflow_has_room(s->overflow));
    assert_false(intake_has_room(&s->intake));
    struct host *host = numbered_host(s, 1);
    for (unsigned turns = 0; turns < 100000 && !overflow_has_room(s->overflow); turns++) {
        turn(s);
        take(s, host, 8);
        if (turns % 16 == 0)
            usleep(1000);
    }
    /* By trying again, though no line came. */
    assert_true(overflow_has_room(s->overflow));
    drain(s);
}

/* Until a quarter of the window is free, by hosts that have no lines beyond it. */
static void fill_window(struct scene *s, uint32_t window)
{
    for (unsigned n = 10000; task_room(s->house->tasks) > window / 4 + 10; n++) {
        struct host *host = numbered_host(s, n);
        host->pace = 10000;
        while (!overflow_wants(s->overflow, host))
            give_numbered(s, n, 0);
    }
}

/* With thousands of hosts each has a small block, and all that is not full is written when it is too much. */
static void what_is_gathered_for_many_hosts_is_bounded(void **state)
{
    struct scene *s = anew(state, 28000, 8192, 1024 * MIB);

    fill_window(s, 28000);
    for (unsigned host = 0; host < 6500; host++) {
        for (unsigned i = 0; i < 5000 && !intake_has_room(&s->intake); i++) {
            turn(s);
            usleep(200);
        }
        assert_true(intake_has_room(&s->intake));
        give_numbered(s, host, 0);
        give_numbered(s, host, 1000);
        give_numbered(s, host, 1800);
        if (host % 64 == 0)
            turn(s);
    }
    settle(s);
    /* A few of the first have one more in the window. */
    assert_in_range(overflow_lines(s->overflow), 12900, 13000);
    /* More than 16 MiB came. */
    TURN_UNTIL(s, overflow_bytes(s->overflow) > 8 * MIB);
    drain(s);
}

static void it_may_be_closed_with_lines_and_work_under_way(void **state)
{
    struct scene *s = *state;

    for (unsigned i = 0; i < 5000; i++)
        give_numbered(s, i % 7, 500);
    for (unsigned i = 0; i < 7; i++)
        take(s, numbered_host(s, i), 1000);
    overflow_turn(s->overflow);
    overflow_close(s->overflow);
    s->overflow = s->intake.overflow = NULL;
    for (unsigned i = 0; i < 7; i++) {
        struct host *host = numbered_host(s, i);
        assert_null(host->overflow);
        assert_int_equal(host->held_count, host->pending_count);
    }
}

static void a_place_where_nothing_can_be_kept_is_told(void **state)
{
    struct scene *s = *state;
    const char *reason = NULL;
    struct overflow *o =
        overflow_open(&(struct overflow_parts){s->house->base, s->house->frontier, s->house->tasks, &s->house->options,
                                               "/nowhere/at/all", intake_again, &s->intake},
                      &reason);

    assert_null(o);
    assert_non_null(strstr(reason, "/nowhere/at/all"));
    overflow_close(NULL);
}

#define SCENE_CASE(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE_CASE(one_host_has_a_third_of_the_window_and_the_rest_is_kept),
        SCENE_CASE(a_second_host_has_a_share_of_what_is_left),
        SCENE_CASE(the_last_half_of_the_window_is_given_by_pace),
        SCENE_CASE(a_line_waits_behind_those_that_came_before_it),
        SCENE_CASE(a_host_that_runs_low_is_given_its_share_again),
        SCENE_CASE(a_queue_that_is_empty_is_gone_and_lets_its_host_go),
        SCENE_CASE(few_lines_never_see_the_disk),
        SCENE_CASE(many_lines_come_back_from_the_disk),
        SCENE_CASE(a_line_longer_than_a_block_comes_back_whole),
        SCENE_CASE(lines_of_all_kinds_come_back_as_they_were),
        SCENE_CASE(hosts_have_their_turns_however_many_lines_they_have),
        SCENE_CASE(many_hosts_and_lines_in_any_order),
        SCENE_CASE(lines_of_a_host_that_fails_end_each_with_a_record),
        SCENE_CASE(lines_end_with_their_hosts_queue_and_later_ones_do_not),
        SCENE_CASE(what_is_on_the_way_to_the_disk_is_bounded),
        SCENE_CASE(a_full_disk_stops_the_intake_until_lines_were_taken),
        SCENE_CASE(what_is_gathered_for_many_hosts_is_bounded),
        SCENE_CASE(it_may_be_closed_with_lines_and_work_under_way),
        SCENE_CASE(a_place_where_nothing_can_be_kept_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
