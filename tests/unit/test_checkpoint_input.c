/* Checkpoints of the input: what is known of it after a run, and that another input never becomes the known one. */
#include "tests/unit/checkpoint_scene.h"

static void the_input_is_summed_up(void **state)
{
    struct scene *s = *state;
    static char input[200000];

    memset(input, 'x', sizeof input);
    input[sizeof input - 1] = input[99] = '\n';
    run_to_file(s, true);
    give_input(s, input, sizeof input);
    commit(s);
    assert_int_equal(s->facts.input_bytes, 0);
    read_input(s);
    /* The end alone is worth a commit. */
    assert_int_equal(turn_later(s), UINT64_MAX);
    look(s);
    assert_int_equal(s->facts.input_bytes, sizeof input);
    assert_int_equal(s->facts.input_size, sizeof input);
    assert_int_equal(s->facts.input_lines, 2);
    assert_int_equal(s->facts.input_ended, 1);
    assert_int_equal(s->sum_count, 3);
    assert_int_equal(turn_later(s), UINT64_MAX);
    end_run(s);
    run_to_file(s, false);
    assert_int_equal(checkpoint_sums(s->checkpoint)->known_bytes, sizeof input);
    give_input(s, input, sizeof input);
    read_input(s);
    assert_false(feed_differs(s->feed));
}

/* While it is read again, what is known stays what was known. */
static void an_input_that_is_read_again_in_part_is_known_as_far_as_before(void **state)
{
    struct scene *s = *state;
    static char input[200000];

    memset(input, '\n', sizeof input);
    run_to_file(s, true);
    give_input(s, input, sizeof input);
    read_input(s);
    commit(s);
    end_run(s);
    run_to_file(s, false);
    give_input(s, input, sizeof input);
    feed_turn(s->feed);
    checkpoint_pass_over(s->checkpoint, 1);
    commit(s);
    assert_int_equal(s->facts.input_bytes, sizeof input);
    assert_int_equal(s->facts.input_lines, sizeof input);
    assert_int_equal(s->sum_count, 3);
}

/* Wherever the difference is: the next run with that input must be refused again, and one with the right input not. */
static void another_input_does_not_become_the_known_one(void **state)
{
    struct scene *s = *state;
    static char input[200000];
    static const size_t places[] = {0, 100000, 199999, 3 * 65536 + 1};

    memset(input, '\n', sizeof input);
    run_to_file(s, true);
    give_input(s, input, sizeof input - 100);
    read_input(s);
    commit(s);
    end_run(s);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        size_t place = places[i] < sizeof input - 100 ? places[i] : sizeof input - 101;
        for (unsigned again = 0; again < 2; again++) {
            run_to_file(s, false);
            input[place] = 'x';
            give_input(s, input, sizeof input);
            read_input(s);
            assert_true(feed_differs(s->feed));
            turn_later(s);
            commit(s);
            assert_int_equal(s->facts.input_bytes, sizeof input - 100);
            assert_int_equal(checkpoint_turn(s->checkpoint, s->now_us + 3600000000u), UINT64_MAX);
            end_run(s);
        }
        run_to_file(s, false);
        input[place] = '\n';
        give_input(s, input, sizeof input - 100);
        read_input(s);
        assert_false(feed_differs(s->feed));
        end_run(s);
    }
}

static void sums_that_do_not_fit_the_facts_are_damage_unless_forced(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    checkpoint_pass_over(s->checkpoint, 3);
    commit(s);
    struct job_facts facts = s->facts;
    end_run(s);
    facts.input_bytes = UINT64_C(10) * 65536;
    put_raw_named("facts", "facts", &facts, sizeof facts);
    assert_int_equal(begin_run(s), OUTCOME_CORRUPT);
    end_run(s);
    s->options.force = true;
    assert_int_equal(begin_run(s), OUTCOME_OK);
    assert_true(checkpoint_has(s->checkpoint, 3));
    assert_int_equal(checkpoint_sums(s->checkpoint)->known_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_input_is_summed_up),
        CASE(an_input_that_is_read_again_in_part_is_known_as_far_as_before),
        CASE(another_input_does_not_become_the_known_one),
        CASE(sums_that_do_not_fit_the_facts_are_damage_unless_forced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
