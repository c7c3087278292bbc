/* Jobs: what may go on and what must not, and what becomes of an output from before. */
#include "common/clock.h"
#include "coordinator/job.h"
#include "tests/unit/job_place.h"

struct scene {
    struct event_base *base;
    struct options options;
    struct job *job;
    struct records *records;
    struct feed *feed;
    int input_fd;
    uint64_t line;
    char input[128], output[128], other[128];
};

static void set(struct scene *s, const char *name, const char *value)
{
    struct options_error error;

    if (!options_set(&s->options, name, value, "test", &error))
        fail_msg("%s", error.message);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_file(const char *path, const char *wanted)
{
    char text[512] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, wanted);
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    make_job_dir();
    options_init(&s->options);
    set(s, "job", job_dir);
    set(s, "silent", "true");
    snprintf(s->input, sizeof s->input, "%s/input", job_dir);
    snprintf(s->output, sizeof s->output, "%s/output", job_dir);
    snprintf(s->other, sizeof s->other, "%s/other", job_dir);
    set(s, "output", s->output);
    write_file(s->input, "a\nb\nc\n");
    s->base = event_base_new();
    s->input_fd = -1;
    *state = s;
    return 0;
}

static void end_run(struct scene *s)
{
    job_close(s->job);
    s->job = NULL;
    records_close(s->records);
    s->records = NULL;
    feed_close(s->feed);
    s->feed = NULL;
    if (s->input_fd >= 0)
        close(s->input_fd);
    s->input_fd = -1;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    end_run(s);
    options_fini(&s->options);
    event_base_free(s->base);
    free(s);
    return remove_job_dir();
}

static enum job_opened begin(struct scene *s)
{
    s->input_fd = open(s->input, O_RDONLY | O_CLOEXEC);
    return job_open(&s->job, &s->options, s->base, s->input_fd);
}

static void on_writable(void *user)
{
    (void)user;
}

static bool take_output(struct scene *s)
{
    assert_int_equal(records_open(&s->records, s->base, s->options.output, true, on_writable, s), OUTCOME_OK);
    return job_take_output(s->job, s->records);
}

static void on_line(void *user, const struct feed_line *line)
{
    struct scene *s = user;

    s->line = line->seq;
    if (job_passes_over(s->job, line->seq))
        return;
    buffer_printf(records_buffer(s->records), "%.*s\n", (int)line->len, line->text);
    records_added(s->records);
    job_mark(s->job, line->seq, line->len == 1 ? OUTCOME_OK : OUTCOME_INVALID_URL);
}

/* Lines up to this one are wanted. */
static uint64_t wanted;

static bool wants_more(void *user)
{
    const struct scene *s = user;

    return s->line < wanted;
}

static void do_lines(struct scene *s, uint64_t last)
{
    if (!s->feed) {
        s->line = 0;
        s->feed = feed_open(s->base, s->input_fd, 1000, on_line, wants_more, s);
        job_take_input(s->job, s->feed);
    }
    wanted = last;
    for (int i = 0; i < 10 && s->line < last && !feed_ended(s->feed); i++)
        feed_turn(s->feed);
    if (last == UINT64_MAX)
        assert_true(feed_ended(s->feed));
    assert_int_equal(records_flush(s->records), OUTCOME_OK);
}

static void begin_well(struct scene *s)
{
    assert_int_equal(begin(s), JOB_GOES);
    assert_true(take_output(s));
}

/* A whole run: all lines, or those up to `last`. */
static void run(struct scene *s, uint64_t last)
{
    begin_well(s);
    do_lines(s, last);
    assert_true(job_end(s->job, last == UINT64_MAX && !feed_differs(s->feed)));
    end_run(s);
}

static void lines_are_done_once_over_several_runs(void **state)
{
    struct scene *s = *state;

    run(s, 1);
    assert_file(s->output, "a\n");
    begin_well(s);
    do_lines(s, UINT64_MAX);
    assert_int_equal(job_lines_before(s->job), 1);
    assert_true(job_end(s->job, true));
    assert_int_equal(job_failed(s->job), 0);
    end_run(s);
    assert_file(s->output, "a\nb\nc\n");
    assert_int_equal(begin(s), JOB_IS_DONE);
}

static void a_finished_job_goes_on_when_its_input_has_grown(void **state)
{
    struct scene *s = *state;

    run(s, UINT64_MAX);
    assert_int_equal(begin(s), JOB_IS_DONE);
    end_run(s);
    write_file(s->input, "a\nb\nc\nlong\n");
    run(s, UINT64_MAX);
    assert_file(s->output, "a\nb\nc\nlong\n");
    assert_int_equal(begin(s), JOB_IS_DONE);
    assert_int_equal(job_failed(s->job), 1);
}

static void a_shorter_input_is_refused(void **state)
{
    struct scene *s = *state;

    run(s, 2);
    write_file(s->input, "a\nb\n");
    assert_int_equal(begin(s), JOB_REFUSED);
    end_run(s);
    s->options.force = true;
    run(s, UINT64_MAX);
    assert_file(s->output, "a\nb\n");
}

static void another_input_ends_the_run_and_is_no_end_of_the_job(void **state)
{
    struct scene *s = *state;

    run(s, 2);
    for (unsigned again = 0; again < 2; again++) {
        write_file(s->input, "a\nB\nc\nd\n");
        begin_well(s);
        do_lines(s, UINT64_MAX);
        assert_true(feed_differs(s->feed));
        assert_int_equal(feed_lines(s->feed), 0);
        assert_true(job_end(s->job, false));
        end_run(s);
    }
    assert_file(s->output, "a\nb\n");
    write_file(s->input, "a\nb\nc\n");
    run(s, UINT64_MAX);
    assert_file(s->output, "a\nb\nc\n");
}

static void another_shard_is_refused(void **state)
{
    struct scene *s = *state;

    set(s, "shard", "2/3");
    run(s, 2);
    set(s, "shard", "1/3");
    assert_int_equal(begin(s), JOB_REFUSED);
    end_run(s);
    set(s, "shard", "");
    assert_int_equal(begin(s), JOB_REFUSED);
    end_run(s);
    set(s, "shard", "2/3");
    begin_well(s);
    end_run(s);
    set(s, "shard", "1/3");
    s->options.force = true;
    begin_well(s);
}

static void a_directory_is_made_and_one_run_at_a_time_has_it(void **state)
{
    struct scene *s = *state;
    struct job *second = NULL;
    char dir[128];
    struct stat st;

    snprintf(dir, sizeof dir, "%s/made", job_dir);
    set(s, "job", dir);
    assert_int_equal(begin(s), JOB_GOES);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(job_open(&second, &s->options, s->base, s->input_fd), JOB_REFUSED);
    job_close(second);
    end_run(s);
    assert_int_equal(begin(s), JOB_GOES);
    end_run(s);
    char command[160];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    set(s, "job", "/nowhere/at/all");
    assert_int_equal(begin(s), JOB_REFUSED);
}

static void a_map_of_another_version_is_refused(void **state)
{
    struct scene *s = *state;
    struct job_facts facts = {.version = JOB_FACTS_VERSION + 1};

    run(s, 2);
    put_raw_named("facts", "facts", &facts, sizeof facts);
    assert_int_equal(begin(s), JOB_REFUSED);
    end_run(s);
    s->options.force = true;
    assert_int_equal(begin(s), JOB_REFUSED);
    end_run(s);
    assert_file(s->output, "a\nb\n");
}

static void records_that_no_commit_knows_of_are_cut_off_and_done_again(void **state)
{
    struct scene *s = *state;

    run(s, 1);
    begin_well(s);
    do_lines(s, UINT64_MAX);
    assert_file(s->output, "a\nb\nc\n");
    /* Killed before its commit. */
    end_run(s);
    begin_well(s);
    assert_file(s->output, "a\n");
    do_lines(s, UINT64_MAX);
    assert_true(job_end(s->job, true));
    assert_file(s->output, "a\nb\nc\n");
}

static void an_output_that_stood_there_before_a_new_job_is_emptied(void **state)
{
    struct scene *s = *state;

    write_file(s->output, "old\nlines\nof another command\n");
    run(s, 2);
    assert_file(s->output, "a\nb\n");
}

static void another_output_is_refused(void **state)
{
    struct scene *s = *state;

    run(s, 2);
    write_file(s->other, "not the job's\n");
    set(s, "output", s->other);
    assert_int_equal(begin(s), JOB_GOES);
    assert_false(take_output(s));
    end_run(s);
    assert_file(s->other, "not the job's\n");
    /* A name that leads to the same file is the same. */
    char name[160];
    snprintf(name, sizeof name, "%s/../%s/output", job_dir, strrchr(job_dir, '/') + 1);
    set(s, "output", name);
    run(s, UINT64_MAX);
    assert_file(s->output, "a\nb\nc\n");
}

/* As a new job's output. */
static void another_output_is_begun_anew_with_force(void **state)
{
    struct scene *s = *state;

    run(s, 2);
    write_file(s->other, "old lines of another command\n");
    set(s, "output", s->other);
    s->options.force = true;
    run(s, 3);
    assert_file(s->other, "c\n");
    assert_file(s->output, "a\nb\n");
    s->options.force = false;
    write_file(s->input, "a\nb\nc\nd\n");
    run(s, UINT64_MAX);
    assert_file(s->other, "c\nd\n");
}

static void an_output_that_lacks_records_is_refused(void **state)
{
    struct scene *s = *state;

    run(s, 2);
    write_file(s->output, "a\n");
    assert_int_equal(begin(s), JOB_GOES);
    assert_false(take_output(s));
    end_run(s);
    assert_file(s->output, "a\n");
}

/* What is there of the records stays. */
static void an_output_that_lacks_records_is_gone_on_with_by_force(void **state)
{
    struct scene *s = *state;

    run(s, 2);
    write_file(s->output, "a\n");
    s->options.force = true;
    run(s, 3);
    assert_file(s->output, "a\nc\n");
    s->options.force = false;
    write_file(s->input, "a\nb\nc\nd\n");
    run(s, UINT64_MAX);
    assert_file(s->output, "a\nc\nd\n");
}

static void a_run_that_is_no_job_has_nothing_done(void **state)
{
    (void)state;
    assert_false(job_passes_over(NULL, 1));
    assert_int_equal(job_lines_before(NULL), 0);
    job_mark(NULL, 1, OUTCOME_OK);
    job_mark_passed(NULL, 1);
    assert_int_equal(job_turn(NULL, 0), UINT64_MAX);
    assert_true(job_end(NULL, true));
    assert_int_equal(job_failed(NULL), 0);
    job_close(NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_are_done_once_over_several_runs),
        CASE(a_finished_job_goes_on_when_its_input_has_grown),
        CASE(a_shorter_input_is_refused),
        CASE(another_input_ends_the_run_and_is_no_end_of_the_job),
        CASE(another_shard_is_refused),
        CASE(a_directory_is_made_and_one_run_at_a_time_has_it),
        CASE(a_map_of_another_version_is_refused),
        CASE(records_that_no_commit_knows_of_are_cut_off_and_done_again),
        CASE(an_output_that_stood_there_before_a_new_job_is_emptied),
        CASE(another_output_is_refused),
        CASE(another_output_is_begun_anew_with_force),
        CASE(an_output_that_lacks_records_is_refused),
        CASE(an_output_that_lacks_records_is_gone_on_with_by_force),
        CASE(a_run_that_is_no_job_has_nothing_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
