#pragma once
/* Checkpoints: at a moment when some batch of records is known to be in the output, what a job is to know of it is
 * gathered in the loop and committed by a thread, first the output and then the map. So a line counts as done only once
 * its record is safe, and the loop waits for no disk. */

#include <event2/event.h>

#include "common/options.h"
#include "coordinator/feed.h"
#include "coordinator/input_sums.h"
#include "coordinator/records.h"
#include "shm/job_map.h"

struct checkpoint;

/* `map` is borrowed. */
struct checkpoint *checkpoint_new(struct event_base *base, struct job_map *map, const struct options *options);
/* Ends the thread when its work is done; commits nothing. */
void checkpoint_free(struct checkpoint *c);
/* Reads the last commit. OUTCOME_NOT_FOUND: it is a new job; OUTCOME_CORRUPT. */
must_check enum outcome checkpoint_load(struct checkpoint *c);
/* As they were loaded, or as they stand now. */
const struct job_facts *checkpoint_facts(const struct checkpoint *c);
/* The output's name in the last commit; "" for a stream. */
const char *checkpoint_output(const struct checkpoint *c);
/* What the input is compared with; to be given to the feed. */
struct input_sums *checkpoint_sums(struct checkpoint *c);

/* The run begins: its output, where its first record will stand, and whether the job is one of this shard. */
struct checkpoint_start {
    struct records *records;
    const char *output;
    uint32_t shard_index, shard_count;
};
void checkpoint_start(struct checkpoint *c, const struct checkpoint_start *start);
void checkpoint_use_feed(struct checkpoint *c, const struct feed *feed);

/* The line was done in an earlier run. */
bool checkpoint_has(const struct checkpoint *c, uint64_t line);
/* A record of the line was added to the output's buffer. */
void checkpoint_mark(struct checkpoint *c, uint64_t line, enum outcome outcome);
/* The line is done without a record. */
void checkpoint_pass_over(struct checkpoint *c, uint64_t line);
/* Begins a commit when one is due. Returns when it next wants its turn (monotonic, µs). */
uint64_t checkpoint_turn(struct checkpoint *c, uint64_t now_us);
/* Commits all that is in the output and waits for it; `state`: what the job is from then on, unless records are still
 * on their way into the output: then it is open. False: it could not be committed (logged). */
must_check bool checkpoint_commit(struct checkpoint *c, enum job_state state);
