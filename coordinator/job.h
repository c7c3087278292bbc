#pragma once
/* A job: a run that can be begun again by the same command after any end. Holds the job's directory, judges whether
 * input and output are still those of the job, and knows which lines are done. */

#include <event2/event.h>

#include "common/options.h"
#include "coordinator/feed.h"
#include "coordinator/records.h"

struct job;

enum job_opened {
    JOB_GOES,    /* or goes on */
    JOB_IS_DONE, /* finished by an earlier run (told): there is nothing to do */
    JOB_REFUSED, /* told why */
};

/* Takes the directory of options->job, which is made when it is missing, and reads what is kept there. `input_fd` is
 * looked at, not read. *job_out is the caller's in any case. */
enum job_opened job_open(struct job **job_out, const struct options *options, struct event_base *base, int input_fd);
/* What holds the directory; borrowed. Handed to workers, it keeps a next run from beginning while one of them lives. */
int job_lock_fd(const struct job *j);
/* NULL is none. */
void job_close(struct job *j);
/* The output was opened, and kept: cuts it back to the last commit, and commits the beginning of this run. False: it is
 * not the job's output, or something failed (told). */
bool job_take_output(struct job *j, struct records *records);
void job_take_input(struct job *j, struct feed *feed);

/* What follows takes NULL for a run that is no job. */
/* The line was done by an earlier run; counted. */
bool job_passes_over(struct job *j, uint64_t line);
/* Lines that job_passes_over() found to be done. */
uint64_t job_lines_before(const struct job *j);
/* A record of the line was added to the output. */
void job_mark(struct job *j, uint64_t line, enum outcome outcome);
/* The line is done without a record. */
void job_mark_passed(struct job *j, uint64_t line);
/* Commits when it is time. Returns when it next wants its turn (monotonic, µs). */
uint64_t job_turn(struct job *j, uint64_t now_us);
/* The last commit of the run, after its last write. False: it failed (told). */
bool job_end(struct job *j, bool finished);
/* Records that failed in all runs so far. */
uint64_t job_failed(const struct job *j);
