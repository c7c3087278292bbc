/* What a job keeps: all parts of a commit or none, of one moment, and nothing of it when it is of another version. */
#include "tests/unit/job_place.h"

#define SUMS_MAX 5000

/* What was read, in the order in which it came. */
struct reading {
    struct job_facts facts;
    char output[JOB_OUTPUT_NAME_MAX];
    unsigned chunks, sum_parts, outcomes;
    uint64_t chunk_numbers[64];
    uint8_t chunk_marks[64]; /* the first byte of each */
    uint32_t sums[SUMS_MAX];
    size_t sum_count;
    uint64_t counts[OUTCOME_COUNT];
};

static int setup(void **state)
{
    make_job_dir();
    *state = calloc(1, sizeof(struct reading));
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return remove_job_dir();
}

static void on_chunk(void *user, uint64_t number, const uint8_t *bits)
{
    struct reading *r = user;

    assert_in_range(r->chunks, 0, 63);
    for (size_t i = 1; i < JOB_CHUNK_BYTES; i++)
        assert_int_equal(bits[i], bits[0]);
    r->chunk_numbers[r->chunks] = number;
    r->chunk_marks[r->chunks++] = bits[0];
}

static void on_sums(void *user, uint64_t from, const uint32_t *sums, size_t count)
{
    struct reading *r = user;

    assert_int_equal(from, r->sum_count);
    assert_in_range(from + count, 1, SUMS_MAX);
    memcpy(r->sums + from, sums, count * sizeof *sums);
    r->sum_count += count;
    r->sum_parts++;
}

static void on_outcome(void *user, const char *name, size_t name_len, uint64_t count)
{
    struct reading *r = user;

    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        const char *known = outcome_name((enum outcome)o);
        if (strlen(known) == name_len && memcmp(known, name, name_len) == 0)
            r->counts[o] = count;
    }
    r->outcomes++;
}

static enum outcome read_map(struct job_map *map, struct reading *r)
{
    const struct job_reader reader = {r, on_chunk, on_sums, on_outcome};

    *r = (struct reading){0};
    return job_map_read(map, &r->facts, r->output, &reader);
}

static enum outcome read_again(struct reading *r)
{
    struct job_map *map = open_job_map(true);
    enum outcome outcome = read_map(map, r);

    job_map_close(map);
    return outcome;
}

/* Chunk `i` is all of byte marks[i]. */
static uint8_t chunk_bits[8 * JOB_CHUNK_BYTES];
static uint64_t chunk_numbers[8];
static uint64_t outcome_counts[OUTCOME_COUNT];
static uint32_t sums[SUMS_MAX];

static struct job_commit make_commit(uint64_t records)
{
    memset(outcome_counts, 0, sizeof outcome_counts);
    return (struct job_commit){
        .facts = {.version = JOB_FACTS_VERSION, .state = JOB_OPEN, .output_kind = JOB_OUTPUT_FILE, .records = records},
        .output = "/some/output",
        .outcomes = outcome_counts,
    };
}

static void add_chunk(struct job_commit *c, uint64_t number, uint8_t mark)
{
    memset(chunk_bits + c->chunk_count * JOB_CHUNK_BYTES, mark, JOB_CHUNK_BYTES);
    chunk_numbers[c->chunk_count++] = number;
    c->chunks = chunk_numbers;
    c->bits = chunk_bits;
}

static void add_sums(struct job_commit *c, uint64_t from, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++)
        sums[i] = (uint32_t)(from + i) * 7 + seed;
    c->sums = sums;
    c->sums_from = from;
    c->sum_count = count;
}

static void commit(struct job_map *map, const struct job_commit *c)
{
    const char *reason = "";

    if (job_map_commit(map, c, &reason) != OUTCOME_OK)
        fail_msg("%s", reason);
}

static void commit_alone(const struct job_commit *c)
{
    struct job_map *map = open_job_map(false);

    commit(map, c);
    job_map_close(map);
}

static void all_parts_are_read_back(void **state)
{
    struct reading *r = *state;
    struct job_commit c = make_commit(77);

    c.facts = (struct job_facts){.version = JOB_FACTS_VERSION,
                                 .state = JOB_FINISHED,
                                 .output_kind = JOB_OUTPUT_STREAM,
                                 .input_ended = 1,
                                 .shard_index = 2,
                                 .shard_count = 3,
                                 .input_partial_sum = 0xdeadbeef,
                                 .input_bytes = 1,
                                 .input_lines = 2,
                                 .input_size = 3,
                                 .lines_done = 4,
                                 .done_base = 5,
                                 .records = 6,
                                 .failed = 7,
                                 .output_bytes = 8,
                                 .output_device = 9,
                                 .output_inode = 10,
                                 .created_wall_us = 11,
                                 .committed_wall_us = 12,
                                 .runs = 13,
                                 .active_us = 14,
                                 .recent_us = 15,
                                 .recent_records = 16};
    add_chunk(&c, 9, 0x11);
    add_chunk(&c, 7, 0x22);
    add_chunk(&c, 300, 0x33);
    add_sums(&c, 0, 2500, 1);
    outcome_counts[OUTCOME_OK] = 5;
    outcome_counts[OUTCOME_DEADLINE] = 1;
    outcome_counts[OUTCOME_RECORD_LAST] = 3;
    commit_alone(&c);
    assert_int_equal(read_again(r), OUTCOME_OK);
    assert_memory_equal(&r->facts, &c.facts, sizeof c.facts);
    assert_string_equal(r->output, "/some/output");
    assert_int_equal(r->chunks, 3);
    assert_int_equal(r->chunk_numbers[0], 7);
    assert_int_equal(r->chunk_numbers[1], 9);
    assert_int_equal(r->chunk_numbers[2], 300);
    assert_memory_equal(r->chunk_marks, "\x22\x11\x33", 3);
    assert_int_equal(r->sum_parts, 3);
    assert_int_equal(r->sum_count, 2500);
    assert_memory_equal(r->sums, sums, 2500 * sizeof *sums);
    /* Those that are none are not kept. */
    assert_int_equal(r->outcomes, 3);
    assert_memory_equal(r->counts, outcome_counts, sizeof outcome_counts);
}

static void a_reader_may_want_the_facts_alone(void **state)
{
    struct reading *r = *state;
    struct job_commit c = make_commit(5);
    static const struct job_reader none = {0};

    add_chunk(&c, 1, 1);
    add_sums(&c, 0, 3, 1);
    outcome_counts[OUTCOME_OK] = 5;
    commit_alone(&c);
    struct job_map *map = open_job_map(true);
    assert_int_equal(job_map_read(map, &r->facts, r->output, &none), OUTCOME_OK);
    assert_int_equal(r->facts.records, 5);
    job_map_close(map);
}

static void a_later_commit_changes_what_it_brings_and_nothing_else(void **state)
{
    struct reading *r = *state;
    struct job_map *map = open_job_map(false);
    struct job_commit c = make_commit(1);

    add_chunk(&c, 1, 0x01);
    add_chunk(&c, 2, 0x02);
    add_sums(&c, 0, 1030, 1);
    outcome_counts[OUTCOME_OK] = 1;
    commit(map, &c);
    c = make_commit(2);
    c.output = "";
    add_chunk(&c, 2, 0x12);
    add_chunk(&c, 3, 0x13);
    /* From the beginning of a key on. */
    add_sums(&c, 1024, 10, 1);
    outcome_counts[OUTCOME_OK] = 2;
    outcome_counts[OUTCOME_DEADLINE] = 1;
    commit(map, &c);
    assert_int_equal(read_map(map, r), OUTCOME_OK);
    assert_int_equal(r->facts.records, 2);
    assert_string_equal(r->output, "");
    assert_int_equal(r->chunks, 3);
    assert_memory_equal(r->chunk_marks, "\x01\x12\x13", 3);
    assert_int_equal(r->sum_count, 1034);
    for (uint32_t i = 0; i < 1034; i++)
        assert_int_equal(r->sums[i], i * 7 + 1);
    assert_int_equal(r->counts[OUTCOME_OK], 2);
    assert_int_equal(r->counts[OUTCOME_DEADLINE], 1);
    job_map_close(map);
}

static void chunks_that_the_base_has_swallowed_are_deleted(void **state)
{
    struct reading *r = *state;
    struct job_map *map = open_job_map(false);
    struct job_commit c = make_commit(1);

    for (uint64_t i = 0; i < 6; i++)
        add_chunk(&c, i, (uint8_t)i);
    commit(map, &c);
    c = make_commit(2);
    c.facts.done_base = 4;
    add_chunk(&c, 4, 0x44);
    commit(map, &c);
    assert_int_equal(read_map(map, r), OUTCOME_OK);
    assert_int_equal(r->chunks, 2);
    assert_int_equal(r->chunk_numbers[0], 4);
    assert_memory_equal(r->chunk_marks, "\x44\x05", 2);
    /* Those that never were are no error. */
    c = make_commit(3);
    c.base_before = 4;
    c.facts.done_base = 20;
    commit(map, &c);
    assert_int_equal(read_map(map, r), OUTCOME_OK);
    assert_int_equal(r->chunks, 0);
    job_map_close(map);
}

static void a_map_without_a_commit_has_nothing(void **state)
{
    struct job_map *map = open_job_map(false);

    assert_int_equal(read_map(map, *state), OUTCOME_NOT_FOUND);
    job_map_close(map);
    assert_int_equal(read_again(*state), OUTCOME_NOT_FOUND);
}

/* As a run leaves it that is killed at the very beginning. */
static void an_empty_file_is_a_map_to_be_made(void **state)
{
    struct job_map *map = NULL;
    const char *reason = NULL;
    char path[96];

    (void)state;
    snprintf(path, sizeof path, "%s/job.mdb", job_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(job_map_open(&map, job_dir, true, &reason), OUTCOME_NOT_FOUND);
    assert_int_equal(job_map_open(&map, job_dir, false, &reason), OUTCOME_OK);
    job_map_close(map);
}

static void readers_find_a_map_or_nothing(void **state)
{
    struct job_map *map = NULL;
    const char *reason = NULL;
    struct stat st;
    char path[96];

    (void)state;
    assert_int_equal(job_map_open(&map, job_dir, true, &reason), OUTCOME_NOT_FOUND);
    assert_int_equal(job_map_open(&map, "/nowhere/at/all", true, &reason), OUTCOME_NOT_FOUND);
    assert_null(map);
    /* They made nothing. */
    snprintf(path, sizeof path, "%s/job.mdb", job_dir);
    assert_int_equal(stat(path, &st), -1);
}

static void a_directory_where_no_map_can_be_made_is_told(void **state)
{
    struct job_map *map = NULL;
    const char *reason = NULL;
    char name[5000];

    (void)state;
    assert_int_equal(job_map_open(&map, "/nowhere/at/all", false, &reason), OUTCOME_SYSTEM);
    assert_non_null(strstr(reason, "cannot open \"/nowhere/at/all/job.mdb\": No such file"));
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(job_map_open(&map, name, false, &reason), OUTCOME_SYSTEM);
    assert_non_null(strstr(reason, "cannot open \"aaa"));
}

static void a_file_that_is_no_map_is_told_and_left_alone(void **state)
{
    struct job_map *map = NULL;
    const char *reason = NULL;
    char path[96];
    char text[16] = "";

    (void)state;
    snprintf(path, sizeof path, "%s/job.mdb", job_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(write(fd, "no map ", 7), 7);
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(job_map_open(&map, job_dir, read_only, &reason), OUTCOME_SYSTEM);
        assert_non_null(strstr(reason, job_dir));
    }
    assert_int_equal(pread(fd, text, 7, 0), 7);
    assert_string_equal(text, "no map ");
    close(fd);
}

/* Another process reads while this one has the map open and writes. */
static void a_reader_in_another_process_sees_the_last_commit(void **state)
{
    struct job_map *map = open_job_map(false);
    struct job_commit c;

    for (uint64_t records = 1; records <= 3; records++) {
        int status;
        c = make_commit(records);
        commit(map, &c);
        pid_t pid = fork();
        if (pid == 0) {
            /* The writer's map is not this process's to use. */
            struct job_map *mine = NULL;
            const char *reason;
            struct reading *r = *state;
            bool good = job_map_open(&mine, job_dir, true, &reason) == OUTCOME_OK && read_map(mine, r) == OUTCOME_OK &&
                        r->facts.records == records;
            _exit(good ? 0 : 1);
        }
        waitpid(pid, &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    job_map_close(map);
}

static void a_commit_that_fails_changes_nothing_and_can_be_made_again(void **state)
{
    struct reading *r = *state;
    struct job_map *map = open_job_map(false);
    struct job_commit c = make_commit(1);
    const char *reason = NULL;

    add_chunk(&c, 1, 1);
    add_sums(&c, 0, 10, 1);
    commit(map, &c);
    c = make_commit(2);
    for (uint64_t i = 2; i < 10; i++)
        add_chunk(&c, i, 2);
    add_sums(&c, 0, SUMS_MAX - 1, 2);
    limit_files(8192);
    enum outcome outcome = job_map_commit(map, &c, &reason);
    limit_files(RLIM_INFINITY);
    assert_int_equal(outcome, OUTCOME_SYSTEM);
    assert_non_null(reason);
    assert_true(strlen(reason) > 5);
    assert_int_equal(read_map(map, r), OUTCOME_OK);
    assert_int_equal(r->facts.records, 1);
    assert_int_equal(r->chunks, 1);
    assert_int_equal(r->sum_count, 10);
    commit(map, &c);
    assert_int_equal(read_map(map, r), OUTCOME_OK);
    assert_int_equal(r->facts.records, 2);
    assert_int_equal(r->chunks, 9);
    assert_int_equal(r->sum_count, SUMS_MAX - 1);
    job_map_close(map);
}

static void a_map_that_only_reads_cannot_be_written(void **state)
{
    struct job_commit c = make_commit(1);
    const char *reason = NULL;

    (void)state;
    commit_alone(&c);
    struct job_map *map = open_job_map(true);
    assert_int_equal(job_map_commit(map, &c, &reason), OUTCOME_SYSTEM);
    assert_non_null(reason);
    job_map_close(map);
}

static void facts_of_another_version_or_size_are_refused(void **state)
{
    struct job_commit c = make_commit(1);
    uint8_t bytes[sizeof(struct job_facts) + 8] = {0};

    commit_alone(&c);
    memcpy(bytes, &c.facts, sizeof c.facts);
    for (int version = 0; version < 256; version++) {
        bytes[0] = (uint8_t)version;
        if (version != JOB_FACTS_VERSION && version % 50 < 3) {
            put_raw_named("facts", "facts", bytes, sizeof c.facts);
            assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
        }
    }
    bytes[0] = JOB_FACTS_VERSION;
    put_raw_named("facts", "facts", bytes, sizeof c.facts - 1);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "facts", bytes, sizeof c.facts + 1);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "facts", bytes, 1);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "facts", bytes, sizeof c.facts);
    assert_int_equal(read_again(*state), OUTCOME_OK);
}

static void an_output_that_is_no_name_is_refused(void **state)
{
    static char name[JOB_OUTPUT_NAME_MAX + 1];
    struct job_commit c = make_commit(1);

    commit_alone(&c);
    put_raw_named("facts", "output", "no end", 6);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "output", "", 0);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "output", name, sizeof name);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "output", NULL, 0);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("facts", "output", name, sizeof name - 1);
    assert_int_equal(read_again(*state), OUTCOME_OK);
}

static void parts_of_other_sizes_are_refused(void **state)
{
    static uint8_t bytes[JOB_CHUNK_BYTES + 8];
    struct job_commit c = make_commit(1);

    commit_alone(&c);
    put_raw_numbered("done", 1, bytes, JOB_CHUNK_BYTES - 1);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_numbered("done", 1, bytes, JOB_CHUNK_BYTES + 1);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_numbered("done", 1, bytes, JOB_CHUNK_BYTES);
    assert_int_equal(read_again(*state), OUTCOME_OK);
    put_raw_numbered("sums", 0, bytes, 1024 * 4 + 4);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_numbered("sums", 0, bytes, 6);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_numbered("sums", 0, bytes, 4096);
    assert_int_equal(read_again(*state), OUTCOME_OK);
    put_raw_named("outcomes", "ok", bytes, 7);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_named("outcomes", "ok", bytes, 8);
    /* Of a later version. */
    put_raw_named("outcomes", "no-outcome-of-this-version", bytes, 8);
    assert_int_equal(read_again(*state), OUTCOME_OK);
}

/* A number that is far off must not make whoever loads it take all memory. */
static void a_chunk_that_is_far_beyond_all_lines_is_refused(void **state)
{
    static uint8_t bytes[JOB_CHUNK_BYTES];
    struct job_commit c = make_commit(1);

    c.facts.done_base = 1000;
    commit_alone(&c);
    put_raw_numbered("done", 1000 + (1u << 20), bytes, sizeof bytes);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_numbered("done", 1000 + (1u << 20), NULL, 0);
    put_raw_numbered("done", SIZE_MAX, bytes, sizeof bytes);
    assert_int_equal(read_again(*state), OUTCOME_CORRUPT);
    put_raw_numbered("done", SIZE_MAX, NULL, 0);
    put_raw_numbered("done", 1000, bytes, sizeof bytes);
    put_raw_numbered("done", 1000 + (1u << 20) - 1, bytes, sizeof bytes);
    assert_int_equal(read_again(*state), OUTCOME_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(all_parts_are_read_back),
        CASE(a_reader_may_want_the_facts_alone),
        CASE(a_later_commit_changes_what_it_brings_and_nothing_else),
        CASE(chunks_that_the_base_has_swallowed_are_deleted),
        CASE(a_map_without_a_commit_has_nothing),
        CASE(an_empty_file_is_a_map_to_be_made),
        CASE(readers_find_a_map_or_nothing),
        CASE(a_directory_where_no_map_can_be_made_is_told),
        CASE(a_file_that_is_no_map_is_told_and_left_alone),
        CASE(a_reader_in_another_process_sees_the_last_commit),
        CASE(a_commit_that_fails_changes_nothing_and_can_be_made_again),
        CASE(a_map_that_only_reads_cannot_be_written),
        CASE(facts_of_another_version_or_size_are_refused),
        CASE(an_output_that_is_no_name_is_refused),
        CASE(parts_of_other_sizes_are_refused),
        CASE(a_chunk_that_is_far_beyond_all_lines_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
