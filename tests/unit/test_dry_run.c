/* Dry runs: each line ends as a record that says so, hosts in turn, and nothing is asked for or fetched. */
#include "coordinator/dry_run.h"
#include "tests/unit/overflow_scene.h"

static int scene_setup(void **state)
{
    struct house_plan plan = usual_plan;

    plan.window = 300;
    struct scene *s = *state = scene_new(&plan, 1u << 30);
    s->house->options.dry_run = true;
    return 0;
}

static int scene_teardown(void **state)
{
    scene_free(*state);
    return 0;
}

static void give_line(struct scene *s, const char *text)
{
    give(s, text, strlen(text));
}

static void run_dry(struct scene *s)
{
    for (unsigned i = 0; i < 20000 && (task_count(s->house->tasks) || overflow_lines(s->overflow)); i++) {
        turn(s);
        (void)dry_run_turn(&s->house->results);
        if (records_full(s->house->records))
            assert_int_equal(records_flush(s->house->records), OUTCOME_OK);
        usleep(20);
    }
    assert_all_gone(s->house);
    assert_int_equal(overflow_lines(s->overflow), 0);
}

static void each_line_ends_as_a_record_that_says_so(void **state)
{
    struct scene *s = *state;

    give_line(s, "http://a.example/");
    give_line(s, "{\"url\":\"http://b.example/\",\"method\":\"PUT\",\"tag\":7}");
    give_line(s, "nonsense");
    run_dry(s);
    for (uint64_t seq = 1; seq <= 3; seq++)
        assert_int_equal(records_of(s->house, seq), 1);
    assert_output_has(s->house, "\"dry_run\":true");
    assert_output_has(s->house, "\"tag\":7");
    assert_int_equal(s->house->results.done, 3);
    /* The one that is no request. */
    assert_int_equal(s->house->results.failed, 1);
}

static void no_name_is_asked_for(void **state)
{
    struct scene *s = *state;

    give_line(s, "http://a.example/");
    give_line(s, "http://192.0.2.1/");
    give_line(s, "{\"url\":\"http://b.example/\",\"ip\":\"192.0.2.2\"}");
    assert_int_equal(s->house->resolver.asked, 0);
    run_dry(s);
    assert_int_equal(s->house->resolver.asked, 0);
    assert_int_equal(s->house->failures, 0);
}

static void a_turn_with_nothing_to_do_does_nothing(void **state)
{
    struct scene *s = *state;

    assert_false(dry_run_turn(&s->house->results));
    assert_int_equal(s->house->results.done, 0);
}

/* Where a record of the line stands in the output. */
static size_t place_of(struct scene *s, uint64_t seq)
{
    char key[40];

    snprintf(key, sizeof key, "{\"seq\":%llu,", (unsigned long long)seq);
    const char *text = output(s->house);
    const char *at = strstr(text, key);
    assert_non_null(at);
    return (size_t)(at - text);
}

static void hosts_have_their_turns(void **state)
{
    struct scene *s = *state;

    for (unsigned i = 0; i < 70; i++)
        give_line(s, "http://a.example/");
    give_line(s, "http://b.example/");
    give_line(s, "http://b.example/");
    run_dry(s);
    /* 32 of the first, the second's, the others of the first: in the order of the input for each. */
    assert_true(place_of(s, 32) < place_of(s, 71));
    assert_true(place_of(s, 71) < place_of(s, 72));
    assert_true(place_of(s, 72) < place_of(s, 33));
    assert_true(place_of(s, 33) < place_of(s, 70));
}

static void lines_beyond_the_window_come_too(void **state)
{
    struct scene *s = *state;

    for (unsigned i = 0; i < 20000; i++) {
        give_line(s, i % 2 ? "http://a.example/some/longer/path/that/fills/blocks" : "http://b.example/");
        if (i % 200 == 0)
            turn(s);
    }
    assert_true(overflow_lines(s->overflow) > 19000);
    run_dry(s);
    assert_int_equal(s->house->results.done, 20000);
}

static void a_full_buffer_of_records_is_waited_for(void **state)
{
    struct scene *s = *state;
    static char line[60000] = "http://a.example/";

    memset(line + 17, 'a', sizeof line - 17);
    for (unsigned i = 0; i < 70 && task_room(s->house->tasks); i++)
        give(s, line, sizeof line);
    for (unsigned i = 0; i < 10; i++)
        (void)dry_run_turn(&s->house->results);
    assert_true(records_full(s->house->records));
    uint64_t done = s->house->results.done;
    assert_true(done < 70);
    (void)dry_run_turn(&s->house->results);
    assert_int_equal(s->house->results.done, done);
    assert_int_equal(records_flush(s->house->records), OUTCOME_OK);
    run_dry(s);
    assert_int_equal(s->house->results.done, s->house->seq);
}

#define SCENE_CASE(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE_CASE(each_line_ends_as_a_record_that_says_so), SCENE_CASE(no_name_is_asked_for),
        SCENE_CASE(a_turn_with_nothing_to_do_does_nothing),  SCENE_CASE(hosts_have_their_turns),
        SCENE_CASE(lines_beyond_the_window_come_too),        SCENE_CASE(a_full_buffer_of_records_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
