/* Checkpoints: what a commit holds, that no line is done before its record is out, and that nothing is forgotten when a
 * commit fails. */
#include "tests/unit/checkpoint_scene.h"

static void a_new_job_has_nothing_done(void **state)
{
    struct scene *s = *state;

    assert_int_equal(begin_run(s), OUTCOME_NOT_FOUND);
    assert_false(checkpoint_has(s->checkpoint, 1));
    assert_string_equal(checkpoint_output(s->checkpoint), "");
    assert_int_equal(checkpoint_sums(s->checkpoint)->known_bytes, 0);
}

static void a_commit_holds_what_is_in_the_output(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    commit(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(s->facts.state, JOB_OPEN);
    add_record(s, 1, OUTCOME_OK);
    add_record(s, 2, OUTCOME_DEADLINE);
    add_record(s, 5, OUTCOME_DEADLINE);
    flush(s);
    commit(s);
    assert_int_equal(s->facts.records, 3);
    assert_int_equal(s->facts.failed, 2);
    assert_int_equal(s->facts.lines_done, 3);
    assert_int_equal(s->facts.output_bytes, 27);
    assert_int_equal(s->facts.output_kind, JOB_OUTPUT_FILE);
    assert_int_equal(s->facts.shard_index, 2);
    assert_int_equal(s->facts.shard_count, 3);
    assert_string_equal(s->output, "/the/output");
    assert_true(done_set_has(s->done, 1) && done_set_has(s->done, 2) && done_set_has(s->done, 5));
    assert_false(done_set_has(s->done, 3));
    assert_int_equal(s->outcomes[OUTCOME_OK], 1);
    assert_int_equal(s->outcomes[OUTCOME_DEADLINE], 2);
    struct stat st;
    assert_int_equal(fstat(records_fd(s->records), &st), 0);
    assert_int_equal(s->facts.output_inode, st.st_ino);
    assert_int_equal(s->facts.output_device, st.st_dev);
}

static void a_record_that_is_not_written_yet_is_not_done(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    add_record(s, 1, OUTCOME_OK);
    uint64_t next = turn_later(s);
    assert_in_range(next, s->now_us + 1, s->now_us + 1000000);
    assert_int_equal(checkpoint_facts(s->checkpoint)->lines_done, 0);
    commit(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(s->facts.output_bytes, 0);
    flush(s);
    commit(s);
    assert_int_equal(s->facts.lines_done, 1);
    assert_int_equal(s->facts.output_bytes, 9);
}

static void a_record_in_a_pipe_is_done_when_its_reader_has_it(void **state)
{
    struct scene *s = *state;
    char bytes[64];

    assert_int_equal(begin_run(s), OUTCOME_NOT_FOUND);
    output_to_pipe(s);
    start(s);
    add_record(s, 1, OUTCOME_OK);
    add_record(s, 2, OUTCOME_OK);
    flush(s);
    uint64_t next = turn_later(s);
    assert_in_range(next, s->now_us + 1, s->now_us + 1000000);
    commit(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(s->facts.output_kind, JOB_OUTPUT_STREAM);
    /* A part of a batch is not enough: which of its records is in it is not known any more. */
    assert_int_equal(read(s->output_fd, bytes, 17), 17);
    commit(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(read(s->output_fd, bytes, 1), 1);
    assert_int_equal(turn_later(s), UINT64_MAX);
    look(s);
    assert_int_equal(s->facts.lines_done, 2);
    assert_int_equal(s->facts.output_bytes, 18);
}

static void what_comes_after_a_batch_began_is_of_the_next(void **state)
{
    struct scene *s = *state;
    char bytes[64];

    assert_int_equal(begin_run(s), OUTCOME_NOT_FOUND);
    output_to_pipe(s);
    start(s);
    add_record(s, 1, OUTCOME_OK);
    flush(s);
    turn_later(s);
    add_record(s, 2, OUTCOME_OK);
    flush(s);
    assert_int_equal(read(s->output_fd, bytes, 9), 9);
    turn_later(s);
    look(s);
    assert_int_equal(s->facts.lines_done, 1);
    assert_false(done_set_has(s->done, 2));
    assert_int_equal(s->facts.output_bytes, 9);
    assert_int_equal(read(s->output_fd, bytes, 9), 9);
    turn_later(s);
    look(s);
    assert_int_equal(s->facts.lines_done, 2);
    assert_int_equal(s->facts.output_bytes, 18);
}

/* Its reader has gone, and left records in the pipe. */
static void a_job_is_not_finished_while_records_are_not_out(void **state)
{
    struct scene *s = *state;
    char bytes[64];

    assert_int_equal(begin_run(s), OUTCOME_NOT_FOUND);
    output_to_pipe(s);
    start(s);
    add_record(s, 1, OUTCOME_OK);
    flush(s);
    assert_true(checkpoint_commit(s->checkpoint, JOB_FINISHED));
    look(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(s->facts.state, JOB_OPEN);
    assert_int_equal(read(s->output_fd, bytes, 9), 9);
    assert_true(checkpoint_commit(s->checkpoint, JOB_FINISHED));
    look(s);
    assert_int_equal(s->facts.lines_done, 1);
    assert_int_equal(s->facts.state, JOB_FINISHED);
}

static void commits_come_when_something_happened_and_no_sooner_than_their_interval(void **state)
{
    struct scene *s = *state;

    s->options.commit_interval = 500;
    run_to_file(s, true);
    commit(s);
    uint64_t committed_us = clock_us();
    assert_int_equal(checkpoint_turn(s->checkpoint, committed_us + 3600000000u), UINT64_MAX);
    add_record(s, 1, OUTCOME_OK);
    flush(s);
    assert_in_range(checkpoint_turn(s->checkpoint, clock_us()), committed_us + 400000, committed_us + 500000);
    look(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(checkpoint_turn(s->checkpoint, committed_us + 500000), UINT64_MAX);
    /* One at a time. */
    add_record(s, 2, OUTCOME_OK);
    flush(s);
    assert_int_equal(checkpoint_turn(s->checkpoint, committed_us + 5000000), UINT64_MAX);
    let_commit_end(s);
    look(s);
    assert_int_equal(s->facts.lines_done, 1);
    assert_int_equal(s->facts.recent_records, 1);
    assert_in_range(s->facts.recent_us, 500000, 600000);
    assert_int_equal(checkpoint_turn(s->checkpoint, committed_us + 5000000), UINT64_MAX);
    let_commit_end(s);
    look(s);
    assert_int_equal(s->facts.lines_done, 2);
    assert_int_equal(s->facts.recent_records, 1);
}

static void a_line_that_is_passed_over_is_done_without_a_record(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    commit(s);
    checkpoint_pass_over(s->checkpoint, 7);
    assert_int_equal(turn_later(s), UINT64_MAX);
    look(s);
    assert_int_equal(s->facts.lines_done, 1);
    assert_int_equal(s->facts.records, 0);
    assert_true(done_set_has(s->done, 7));
    assert_true(checkpoint_has(s->checkpoint, 7));
    /* And nothing more is to be committed. */
    uint64_t committed_us = s->facts.committed_wall_us;
    assert_int_equal(turn_later(s), UINT64_MAX);
    look(s);
    assert_int_equal(s->facts.committed_wall_us, committed_us);
}

static void facts_go_on_from_run_to_run(void **state)
{
    struct scene *s = *state;
    uint64_t created_us = 0;

    for (unsigned run = 1; run <= 3; run++) {
        run_to_file(s, run == 1);
        for (uint64_t i = 1; i < run; i++)
            assert_true(checkpoint_has(s->checkpoint, i));
        assert_false(checkpoint_has(s->checkpoint, run));
        usleep(20000);
        add_record(s, run, run == 2 ? OUTCOME_DEADLINE : OUTCOME_OK);
        flush(s);
        commit(s);
        assert_int_equal(s->facts.runs, run);
        assert_int_equal(s->facts.records, run);
        assert_int_equal(s->facts.lines_done, run);
        assert_int_equal(s->facts.failed, run >= 2);
        assert_int_equal(s->facts.output_bytes, run * 9);
        assert_in_range(s->facts.active_us, run * 20000, run * 20000 + 10000000);
        created_us = created_us ? created_us : s->facts.created_wall_us;
        assert_int_equal(s->facts.created_wall_us, created_us);
        assert_true(s->facts.committed_wall_us >= created_us);
        assert_int_equal(s->outcomes[OUTCOME_OK], run - (run >= 2));
        assert_int_equal(s->outcomes[OUTCOME_DEADLINE], run >= 2);
        end_run(s);
    }
}

static void a_commit_that_failed_is_made_again_with_all_that_changed(void **state)
{
    struct scene *s = *state;
    static char input[300 * 1024];

    memset(input, '\n', sizeof input);
    run_to_file(s, true);
    give_input(s, input, sizeof input);
    commit(s);
    for (uint64_t line = 1; line <= CHUNK; line++)
        checkpoint_pass_over(s->checkpoint, line);
    for (uint64_t i = 1; i < 30; i++)
        add_record(s, i * CHUNK + 1, OUTCOME_OK);
    flush(s);
    read_input(s);
    limit_files(8192);
    turn_later(s);
    assert_false(checkpoint_commit(s->checkpoint, JOB_OPEN));
    limit_files(RLIM_INFINITY);
    look(s);
    assert_int_equal(s->facts.lines_done, 0);
    assert_int_equal(s->sum_count, 0);
    /* Something more happens meanwhile in one of the chunks. */
    add_record(s, 5 * CHUNK + 2, OUTCOME_DEADLINE);
    flush(s);
    assert_int_equal(turn_later(s), UINT64_MAX);
    look(s);
    assert_int_equal(s->facts.lines_done, CHUNK + 30);
    assert_int_equal(s->facts.done_base, 1);
    for (uint64_t i = 1; i < 30; i++)
        assert_true(done_set_has(s->done, i * CHUNK + 1));
    assert_true(done_set_has(s->done, 5 * CHUNK + 2));
    assert_int_equal(s->sum_count, 4);
    assert_int_equal(s->facts.input_bytes, sizeof input);
    assert_int_equal(s->outcomes[OUTCOME_OK], 29);
    assert_true(checkpoint_commit(s->checkpoint, JOB_FINISHED));
}

/* Nothing but the failure asks for the next commit. */
static void a_commit_that_failed_is_tried_again_though_nothing_happens(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    commit(s);
    for (uint64_t i = 0; i < 30; i++)
        add_record(s, i * CHUNK + 1, OUTCOME_OK);
    flush(s);
    limit_files(8192);
    turn_later(s);
    limit_files(RLIM_INFINITY);
    turn_later(s);
    look(s);
    assert_int_equal(s->facts.lines_done, 30);
}

static void chunks_that_became_part_of_the_base_are_not_kept(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    checkpoint_pass_over(s->checkpoint, CHUNK + 1);
    checkpoint_pass_over(s->checkpoint, 1);
    commit(s);
    for (uint64_t line = 1; line <= 2 * CHUNK + 1; line++)
        checkpoint_pass_over(s->checkpoint, line);
    commit(s);
    assert_int_equal(s->facts.done_base, 2);
    assert_int_equal(s->facts.lines_done, 2 * CHUNK + 1);
    end_run(s);
    run_to_file(s, false);
    assert_true(checkpoint_has(s->checkpoint, 1));
    assert_true(checkpoint_has(s->checkpoint, 2 * CHUNK));
    assert_true(checkpoint_has(s->checkpoint, 2 * CHUNK + 1));
    assert_false(checkpoint_has(s->checkpoint, 2 * CHUNK + 2));
    for (uint64_t line = 1; line <= 3 * CHUNK; line++)
        checkpoint_pass_over(s->checkpoint, line);
    commit(s);
    assert_int_equal(s->facts.done_base, 3);
}

static void an_output_that_is_gone_leaves_the_last_commit(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    add_record(s, 1, OUTCOME_OK);
    flush(s);
    commit(s);
    add_record(s, 2, OUTCOME_OK);
    limit_files(9);
    assert_int_equal(records_flush(s->records), OUTCOME_SYSTEM);
    limit_files(RLIM_INFINITY);
    assert_int_equal(turn_later(s), UINT64_MAX);
    assert_true(checkpoint_commit(s->checkpoint, JOB_FINISHED));
    look(s);
    assert_int_equal(s->facts.lines_done, 1);
    assert_int_equal(s->facts.state, JOB_OPEN);
}

static void closing_waits_for_a_commit_under_way(void **state)
{
    struct scene *s = *state;

    run_to_file(s, true);
    commit(s);
    add_record(s, 1, OUTCOME_OK);
    flush(s);
    s->now_us += 3600000000u;
    assert_int_equal(checkpoint_turn(s->checkpoint, s->now_us), UINT64_MAX);
    checkpoint_free(s->checkpoint);
    s->checkpoint = NULL;
    look(s);
    assert_int_equal(s->facts.lines_done, 1);
    checkpoint_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_job_has_nothing_done),
        CASE(a_commit_holds_what_is_in_the_output),
        CASE(a_record_that_is_not_written_yet_is_not_done),
        CASE(a_record_in_a_pipe_is_done_when_its_reader_has_it),
        CASE(what_comes_after_a_batch_began_is_of_the_next),
        CASE(a_job_is_not_finished_while_records_are_not_out),
        CASE(commits_come_when_something_happened_and_no_sooner_than_their_interval),
        CASE(a_line_that_is_passed_over_is_done_without_a_record),
        CASE(facts_go_on_from_run_to_run),
        CASE(a_commit_that_failed_is_made_again_with_all_that_changed),
        CASE(a_commit_that_failed_is_tried_again_though_nothing_happens),
        CASE(chunks_that_became_part_of_the_base_are_not_kept),
        CASE(an_output_that_is_gone_leaves_the_last_commit),
        CASE(closing_waits_for_a_commit_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
