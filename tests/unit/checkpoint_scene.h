#pragma once
/* A job's map, its output and its input, for tests of checkpoints; and what the next run would find in the map.
 * Included once by each test executable. */

#include "common/clock.h"
#include "coordinator/checkpoint.h"
#include "coordinator/done_set.h"
#include "tests/unit/job_place.h"

#define CHUNK ((uint64_t)DONE_CHUNK_LINES)

struct scene {
    struct event_base *base;
    struct options options;
    struct job_map *map;
    struct checkpoint *checkpoint;
    struct records *records;
    int output_fd; /* of a file, or a pipe's end for reading */
    int pipe_in;
    struct feed *feed;
    int input_fd;
    uint64_t now_us;
    /* What stands in the map. */
    struct job_facts facts;
    char output[JOB_OUTPUT_NAME_MAX];
    struct done_set *done;
    uint32_t sums[4096];
    size_t sum_count;
    uint64_t outcomes[OUTCOME_COUNT];
};

static inline void on_writable(void *user)
{
    (void)user;
}

static inline void on_line(void *user, const struct feed_line *line)
{
    (void)user;
    (void)line;
}

static inline bool wants_more(void *user)
{
    (void)user;
    return true;
}

static inline int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    make_job_dir();
    options_init(&s->options);
    s->base = event_base_new();
    s->output_fd = s->input_fd = s->pipe_in = -1;
    *state = s;
    return 0;
}

static inline void end_run(struct scene *s)
{
    feed_close(s->feed);
    s->feed = NULL;
    if (s->input_fd >= 0)
        close(s->input_fd);
    s->input_fd = -1;
    checkpoint_free(s->checkpoint);
    s->checkpoint = NULL;
    records_close(s->records);
    s->records = NULL;
    job_map_close(s->map);
    s->map = NULL;
}

static inline int teardown(void **state)
{
    struct scene *s = *state;

    end_run(s);
    if (s->output_fd >= 0)
        close(s->output_fd);
    if (s->pipe_in >= 0)
        close(s->pipe_in);
    done_set_free(s->done);
    options_fini(&s->options);
    event_base_free(s->base);
    free(s);
    return remove_job_dir();
}

static inline void open_output(struct scene *s, const char *path)
{
    assert_int_equal(records_open(&s->records, s->base, path, true, on_writable, s), OUTCOME_OK);
}

static inline void output_to_file(struct scene *s)
{
    char path[96];

    snprintf(path, sizeof path, "%s/output", job_dir);
    open_output(s, path);
}

/* A pipe of one page. */
static inline void output_to_pipe(struct scene *s)
{
    char path[64];
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fcntl(fds[0], F_SETPIPE_SZ, 4096);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    s->output_fd = fds[0];
    s->pipe_in = fds[1];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[1]);
    open_output(s, path);
}

static inline enum outcome begin_run(struct scene *s)
{
    s->map = open_job_map(false);
    s->checkpoint = checkpoint_new(s->base, s->map, &s->options);
    s->now_us = clock_us();
    return checkpoint_load(s->checkpoint);
}

static inline void start(struct scene *s)
{
    checkpoint_start(s->checkpoint, &(struct checkpoint_start){s->records, "/the/output", 2, 3});
}

/* A run with a file as its output; `new`: the first one. */
static inline void run_to_file(struct scene *s, bool new)
{
    assert_int_equal(begin_run(s), new ? OUTCOME_NOT_FOUND : OUTCOME_OK);
    output_to_file(s);
    if (!new)
        assert_true(records_cut(s->records, checkpoint_facts(s->checkpoint)->output_bytes));
    start(s);
}

static inline void give_input(struct scene *s, const char *data, size_t len)
{
    char path[96];

    snprintf(path, sizeof path, "%s/input", job_dir);
    s->input_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(s->input_fd, data, len), (ssize_t)len);
    lseek(s->input_fd, 0, SEEK_SET);
    s->feed = feed_open(s->base, s->input_fd, 1u << 20, on_line, wants_more, s);
    checkpoint_use_feed(s->checkpoint, s->feed);
    feed_compare(s->feed, checkpoint_sums(s->checkpoint));
}

static inline void read_input(struct scene *s)
{
    for (int i = 0; i < 10000 && !feed_ended(s->feed); i++)
        feed_turn(s->feed);
    assert_true(feed_ended(s->feed));
}

static inline void on_chunk(void *user, uint64_t number, const uint8_t *bits)
{
    struct scene *s = user;

    assert_true(number >= done_set_base(s->done));
    done_set_load(s->done, number, bits);
}

static inline void on_sums(void *user, uint64_t from, const uint32_t *sums, size_t count)
{
    struct scene *s = user;

    assert_int_equal(from, s->sum_count);
    memcpy(s->sums + from, sums, count * sizeof *sums);
    s->sum_count += count;
}

static inline void on_outcome(void *user, const char *name, size_t len, uint64_t count)
{
    struct scene *s = user;

    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        if (strlen(outcome_name((enum outcome)o)) == len && memcmp(outcome_name((enum outcome)o), name, len) == 0)
            s->outcomes[o] = count;
    }
}

/* What the next run would find. */
static inline void look(struct scene *s)
{
    const struct job_reader reader = {s, on_chunk, on_sums, on_outcome};
    static const struct job_reader facts_alone = {0};

    done_set_free(s->done);
    s->done = done_set_new();
    s->sum_count = 0;
    memset(s->outcomes, 0, sizeof s->outcomes);
    assert_int_equal(job_map_read(s->map, &s->facts, s->output, &facts_alone), OUTCOME_OK);
    done_set_start(s->done, s->facts.done_base);
    assert_int_equal(job_map_read(s->map, &s->facts, s->output, &reader), OUTCOME_OK);
    assert_int_equal(done_set_count(s->done), s->facts.lines_done);
}

static inline void add_record(struct scene *s, uint64_t line, enum outcome outcome)
{
    buffer_printf(records_buffer(s->records), "%08llu\n", (unsigned long long)line);
    records_added(s->records);
    checkpoint_mark(s->checkpoint, line, outcome);
}

static inline void flush(struct scene *s)
{
    assert_int_equal(records_flush(s->records), OUTCOME_OK);
}

static inline void commit(struct scene *s)
{
    assert_true(checkpoint_commit(s->checkpoint, JOB_OPEN));
    event_base_loop(s->base, EVLOOP_NONBLOCK);
    look(s);
}

/* The loop's part: sleeps until the thread tells of the commit that is under way. */
static inline void let_commit_end(struct scene *s)
{
    event_base_loop(s->base, EVLOOP_ONCE);
}

/* A turn when the next commit is due, and the commit if it began one. */
static inline uint64_t turn_later(struct scene *s)
{
    uint64_t now_us = clock_us();
    uint64_t begun_us = checkpoint_facts(s->checkpoint)->committed_wall_us;

    /* Word of earlier ones that still stands with the loop is of nothing; two are not of the same microsecond. */
    event_base_loop(s->base, EVLOOP_NONBLOCK);
    usleep(1);
    s->now_us = (s->now_us > now_us ? s->now_us : now_us) + s->options.commit_interval * 1000;
    uint64_t next = checkpoint_turn(s->checkpoint, s->now_us);
    if (checkpoint_facts(s->checkpoint)->committed_wall_us != begun_us)
        let_commit_end(s);
    return next;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
