/* Marks of records, batches of marks, and commits. */
#include "coordinator/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/disk.h"
#include "coordinator/done_set.h"

_Static_assert(DONE_CHUNK_BYTES == JOB_CHUNK_BYTES, "a chunk is kept as it is");
_Static_assert(INPUT_SUM_BYTES == JOB_SUM_BYTES, "sums are kept as they are");

#define WRITTEN_LOOK_US 10000 /* how often a batch that is not out yet is looked at */

/* A record: its line and its outcome in one number. */
struct marks {
    uint64_t *items;
    size_t count, room;
};

/* One commit at a time is with the thread; its memory is used again. */
struct commit_work {
    struct disk_work work;
    struct checkpoint *checkpoint;
    struct job_commit commit;
    uint64_t *chunks;
    uint8_t *bits;
    size_t chunk_room;
    uint32_t *sums;
    size_t sum_room;
    uint64_t outcomes[OUTCOME_COUNT];
    int output_fd;
    enum outcome outcome;
    const char *reason;
};

struct checkpoint {
    const struct options *options;
    struct job_map *map;
    struct disk *disk;
    struct done_set *done;
    struct input_sums sums;
    const struct feed *feed;
    struct records *records;
    struct job_facts facts;
    char output[JOB_OUTPUT_NAME_MAX];
    uint64_t outcomes[OUTCOME_COUNT];
    struct marks fresh, due;     /* since the batch, and of it */
    uint64_t due_at;             /* bytes of this run's output that hold the batch */
    bool has_due, passed, retry; /* retry: the last commit failed */
    bool committing, failure_told;
    bool awaited;          /* the commit under way is waited for: no other will be tried */
    uint64_t output_start; /* where this run's first record stands */
    uint64_t begun_us, active_before_us, last_us;
    uint64_t base_committed, sums_committed, records_committed;
    struct commit_work work;
};

static void *must_have(void *memory)
{
    if (!memory)
        die("out of memory: no room for a checkpoint");
    return memory;
}

static void run_commit(struct disk_work *work);
static void on_committed(struct disk_work *work);

struct checkpoint *checkpoint_new(struct event_base *base, struct job_map *map, const struct options *options)
{
    struct checkpoint *c = must_have(calloc(1, sizeof *c));

    c->options = options;
    c->map = map;
    c->done = done_set_new();
    c->disk = disk_open(base, "checkpoint");
    c->begun_us = c->last_us = clock_us();
    c->work.work = (struct disk_work){.run = run_commit, .done = on_committed};
    c->work.checkpoint = c;
    return c;
}

void checkpoint_free(struct checkpoint *c)
{
    if (!c)
        return;
    disk_close(c->disk);
    done_set_free(c->done);
    input_sums_fini(&c->sums);
    free(c->fresh.items);
    free(c->due.items);
    free(c->work.chunks);
    free(c->work.bits);
    free(c->work.sums);
    free(c);
}

static void on_chunk(void *user, uint64_t number, const uint8_t *bits)
{
    struct checkpoint *c = user;

    done_set_load(c->done, number, bits);
}

static void on_sums(void *user, uint64_t from, const uint32_t *sums, size_t count)
{
    struct checkpoint *c = user;

    input_sums_load(&c->sums, from, sums, count);
}

static void on_outcome(void *user, const char *name, size_t name_len, uint64_t count)
{
    struct checkpoint *c = user;

    for (unsigned o = 0; o <= OUTCOME_RECORD_LAST; o++) {
        const char *known = outcome_name((enum outcome)o);
        if (strlen(known) == name_len && memcmp(known, name, name_len) == 0)
            c->outcomes[o] = count;
    }
}

enum outcome checkpoint_load(struct checkpoint *c)
{
    static const struct job_reader facts_alone = {0};
    const struct job_reader all = {c, on_chunk, on_sums, on_outcome};
    enum outcome outcome = job_map_read(c->map, &c->facts, c->output, &facts_alone);

    /* The base comes first: chunks are counted from it. */
    if (outcome == OUTCOME_OK) {
        done_set_start(c->done, c->facts.done_base);
        outcome = job_map_read(c->map, &c->facts, c->output, &all);
    }
    if (outcome != OUTCOME_OK)
        return outcome;
    if (!c->options->force && !input_sums_expect(&c->sums, c->facts.input_bytes, c->facts.input_partial_sum))
        return OUTCOME_CORRUPT;
    if (c->options->force)
        input_sums_fini(&c->sums);
    c->active_before_us = c->facts.active_us;
    c->base_committed = c->facts.done_base;
    c->records_committed = c->facts.records;
    c->sums_committed = c->sums.count;
    return OUTCOME_OK;
}

const struct job_facts *checkpoint_facts(const struct checkpoint *c)
{
    return &c->facts;
}

const char *checkpoint_output(const struct checkpoint *c)
{
    return c->output;
}

struct input_sums *checkpoint_sums(struct checkpoint *c)
{
    return &c->sums;
}

void checkpoint_start(struct checkpoint *c, const struct checkpoint_start *start)
{
    struct stat st = {0};

    c->records = start->records;
    c->output_start = records_to_file(start->records) ? records_position(start->records) : c->facts.output_bytes;
    snprintf(c->output, sizeof c->output, "%s", start->output);
    if (!c->facts.created_wall_us)
        c->facts.created_wall_us = clock_wall_us();
    c->facts.version = JOB_FACTS_VERSION;
    c->facts.output_kind = records_to_file(start->records) ? JOB_OUTPUT_FILE : JOB_OUTPUT_STREAM;
    c->facts.shard_index = start->shard_index;
    c->facts.shard_count = start->shard_count;
    c->facts.runs++;
    if (c->facts.output_kind == JOB_OUTPUT_FILE && fstat(records_fd(start->records), &st) == 0) {
        c->facts.output_device = st.st_dev;
        c->facts.output_inode = st.st_ino;
    }
}

void checkpoint_use_feed(struct checkpoint *c, const struct feed *feed)
{
    c->feed = feed;
}

bool checkpoint_has(const struct checkpoint *c, uint64_t line)
{
    return done_set_has(c->done, line);
}

void checkpoint_mark(struct checkpoint *c, uint64_t line, enum outcome outcome)
{
    struct marks *m = &c->fresh;

    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 1024;
        m->items = must_have(reallocarray(m->items, m->room, sizeof *m->items));
    }
    m->items[m->count++] = line << 8 | (uint8_t)outcome;
}

void checkpoint_pass_over(struct checkpoint *c, uint64_t line)
{
    done_set_add(c->done, line);
    c->passed = true;
}

/* From now on what is marked belongs to the next batch. */
static void begin_batch(struct checkpoint *c)
{
    struct marks empty = c->due;

    c->due = c->fresh;
    c->fresh = empty;
    c->fresh.count = 0;
    c->due_at = records_bytes_added(c->records);
    c->has_due = true;
}

/* The batch is in the output: its lines are done. */
static void settle_batch(struct checkpoint *c)
{
    for (size_t i = 0; i < c->due.count; i++) {
        unsigned outcome = (uint8_t)c->due.items[i];
        done_set_add(c->done, c->due.items[i] >> 8);
        c->outcomes[outcome]++;
        c->facts.records++;
        c->facts.failed += outcome != OUTCOME_OK;
    }
    c->due.count = 0;
    c->has_due = c->passed = false;
    c->facts.output_bytes = c->output_start + c->due_at;
}

/* While the input is still being read again, what is known of it is what was known before; and so it stays when this is
 * another input. */
static void note_input(struct checkpoint *c)
{
    uint64_t at;

    if (!c->feed || c->sums.bytes < c->sums.known_bytes || c->sums.differs)
        return;
    c->facts.input_bytes = c->sums.bytes;
    c->facts.input_partial_sum = c->sums.partial;
    c->facts.input_lines = feed_lines(c->feed);
    enum job_input input = !feed_ended(c->feed) || feed_failed(c->feed) ? JOB_INPUT_OPEN
                           : feed_ended_in_line(c->feed)                ? JOB_INPUT_ENDED_IN_LINE
                                                                        : JOB_INPUT_ENDED;
    c->facts.input_ended = (uint8_t)input;
    feed_position(c->feed, &at, &c->facts.input_size);
}

static void copy_chunks(struct checkpoint *c, struct commit_work *w)
{
    const uint8_t *bits;
    uint64_t number;
    size_t count = 0;

    while (done_set_take_changed(c->done, &number, &bits)) {
        if (count == w->chunk_room) {
            w->chunk_room = w->chunk_room ? 2 * w->chunk_room : 16;
            w->chunks = must_have(reallocarray(w->chunks, w->chunk_room, sizeof *w->chunks));
            w->bits = must_have(reallocarray(w->bits, w->chunk_room, DONE_CHUNK_BYTES));
        }
        w->chunks[count] = number;
        memcpy(w->bits + count * DONE_CHUNK_BYTES, bits, DONE_CHUNK_BYTES);
        count++;
    }
    w->commit.chunks = w->chunks;
    w->commit.bits = w->bits;
    w->commit.chunk_count = count;
}

static void copy_sums(struct checkpoint *c, struct commit_work *w)
{
    size_t from = (size_t)c->sums_committed / JOB_SUMS_A_KEY * JOB_SUMS_A_KEY;
    size_t count = c->sums.count > c->sums_committed ? c->sums.count - from : 0;

    if (count > w->sum_room) {
        w->sums = must_have(reallocarray(w->sums, count, sizeof *w->sums));
        w->sum_room = count;
    }
    if (count)
        memcpy(w->sums, c->sums.sums + from, count * sizeof *w->sums);
    w->commit.sums = w->sums;
    w->commit.sums_from = from;
    w->commit.sum_count = count;
}

/* A copy of everything, for the thread. What changed is asked for again when the commit fails. */
static void begin_commit(struct checkpoint *c, enum job_state state, uint64_t now_us)
{
    struct commit_work *w = &c->work;

    note_input(c);
    c->facts.state = (uint8_t)state;
    c->facts.done_base = done_set_base(c->done);
    c->facts.lines_done = done_set_count(c->done);
    c->facts.committed_wall_us = clock_wall_us();
    c->facts.active_us = c->active_before_us + now_us - c->begun_us;
    c->facts.recent_us = now_us - c->last_us;
    c->facts.recent_records = c->facts.records - c->records_committed;
    w->commit.facts = c->facts;
    w->commit.output = c->output;
    w->commit.base_before = c->base_committed;
    copy_chunks(c, w);
    copy_sums(c, w);
    memcpy(w->outcomes, c->outcomes, sizeof w->outcomes);
    w->commit.outcomes = w->outcomes;
    w->output_fd = c->facts.output_kind == JOB_OUTPUT_FILE ? records_fd(c->records) : -1;
    c->last_us = now_us;
    c->committing = true;
    disk_give(c->disk, &w->work);
}

/* In the thread: the records first, then what says that they are there. */
static void run_commit(struct disk_work *work)
{
    struct commit_work *w = (struct commit_work *)(void *)work;

    w->outcome = OUTCOME_SYSTEM;
    if (w->output_fd >= 0 && fdatasync(w->output_fd) != 0 && errno != EINVAL && errno != EROFS)
        w->reason = strerror(errno);
    else
        w->outcome = job_map_commit(w->checkpoint->map, &w->commit, &w->reason);
}

static void on_committed(struct disk_work *work)
{
    struct commit_work *w = (struct commit_work *)(void *)work;
    struct checkpoint *c = w->checkpoint;

    c->committing = false;
    c->retry = w->outcome != OUTCOME_OK;
    if (c->retry) {
        if (c->awaited)
            log_event(LOG_ERROR, "not-committed",
                      "error=\"%s\" hint=\"mend that, and the same command goes on from the last commit\"", w->reason);
        else if (!c->failure_told)
            log_event(LOG_ERROR, "not-committed",
                      "error=\"%s\"; the run goes on and tries again; what it does meanwhile would be done again after "
                      "a kill",
                      w->reason);
        c->failure_told = true;
        for (size_t i = 0; i < w->commit.chunk_count; i++)
            done_set_touch(c->done, w->chunks[i]);
        return;
    }
    c->failure_told = false;
    c->base_committed = w->commit.facts.done_base;
    c->sums_committed = w->commit.sums_from + w->commit.sum_count > c->sums_committed
                            ? w->commit.sums_from + w->commit.sum_count
                            : c->sums_committed;
    c->records_committed = w->commit.facts.records;
}

static bool input_moved(const struct checkpoint *c)
{
    return c->feed && !c->sums.differs &&
           (c->sums.bytes > c->facts.input_bytes ||
            (feed_ended(c->feed) && !c->facts.input_ended && !feed_failed(c->feed)));
}

uint64_t checkpoint_turn(struct checkpoint *c, uint64_t now_us)
{
    uint64_t due_us = c->last_us + c->options->commit_interval * 1000;

    if (c->committing || records_broken(c->records))
        return UINT64_MAX;
    if (!c->has_due) {
        if (c->fresh.count == 0 && !c->passed && !c->retry && !input_moved(c))
            return UINT64_MAX;
        if (now_us < due_us)
            return due_us;
        begin_batch(c);
    }
    if (records_bytes_taken(c->records) < c->due_at)
        return now_us + WRITTEN_LOOK_US;
    settle_batch(c);
    begin_commit(c, JOB_OPEN, now_us);
    return UINT64_MAX;
}

bool checkpoint_commit(struct checkpoint *c, enum job_state state)
{
    disk_wait(c->disk);
    /* What was dropped is not done; the last commit stands. */
    if (records_broken(c->records))
        return true;
    if (c->has_due && records_bytes_taken(c->records) >= c->due_at)
        settle_batch(c);
    if (!c->has_due) {
        begin_batch(c);
        if (records_bytes_taken(c->records) >= c->due_at)
            settle_batch(c);
    }
    c->awaited = true;
    /* Records that never left the pipe are not done, whoever thinks that all is. */
    begin_commit(c, c->has_due ? JOB_OPEN : state, clock_us());
    disk_wait(c->disk);
    c->awaited = false;
    return !c->retry;
}
