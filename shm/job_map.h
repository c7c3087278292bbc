#pragma once
/* The job map: what a run keeps so that the same command can go on after any end of it, in an LMDB map of its own with
 * real commits: when job_map_commit() returns, its facts are on the disk, all of them or none. The coordinator writes;
 * `hotfleet job status` reads, also while it runs. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/outcome.h"

struct job_map;

enum job_state {
    JOB_OPEN = 1, /* it runs, or was stopped or killed */
    JOB_FINISHED,
};

enum job_output {
    JOB_OUTPUT_FILE = 1, /* can be cut back: each record once */
    JOB_OUTPUT_STREAM,   /* a pipe or a terminal: at least once */
};

enum job_input {
    JOB_INPUT_OPEN,          /* there may be more of it */
    JOB_INPUT_ENDED,         /* as far as is known */
    JOB_INPUT_ENDED_IN_LINE, /* without a newline: more of it would make another line of the last one */
};

/* As they stand at one commit, all of the same moment. Written to disk as it is, in the order of this machine. */
struct job_facts {
    uint8_t version, state, output_kind, input_ended;
    uint32_t shard_index, shard_count; /* which lines are this job's at all */
    uint32_t input_partial_sum;        /* CRC-32 of the input's last block, which is not full */
    uint64_t input_bytes, input_lines; /* read so far */
    uint64_t input_size;               /* of a regular file; 0: unknown */
    uint64_t lines_done;               /* with a record, or another shard's */
    uint64_t done_base;                /* chunks of lines (coordinator/done_set.h) below this are all done */
    uint64_t records, failed;
    uint64_t output_bytes;                /* where the last of the records ends */
    uint64_t output_device, output_inode; /* of a file */
    uint64_t created_wall_us, committed_wall_us;
    uint64_t runs, active_us;           /* times it was started, and how long it ran in all */
    uint64_t recent_us, recent_records; /* the last interval between two commits, for a rate */
};
#define JOB_FACTS_VERSION 1
_Static_assert(sizeof(struct job_facts) == 144, "struct job_facts is written to disk");

#define JOB_SUM_BYTES       65536u /* of the input, for each sum */
#define JOB_SUMS_A_KEY      1024u
#define JOB_CHUNK_BYTES     4096u
#define JOB_OUTPUT_NAME_MAX 4096

/* What changed since the commit before. All is borrowed. */
struct job_commit {
    struct job_facts facts;
    const char *output; /* absolute name of the output file; "" for a stream */
    uint64_t base_before;
    const uint64_t *chunks; /* numbers of changed chunks, */
    const uint8_t *bits;    /* and JOB_CHUNK_BYTES for each */
    size_t chunk_count;
    uint64_t sums_from; /* index of the first that changed, a multiple of JOB_SUMS_A_KEY */
    const uint32_t *sums;
    size_t sum_count;
    const uint64_t *outcomes; /* records by outcome, OUTCOME_COUNT of them */
};

/* Opens the map in `dir`, or makes it; readers find it or nothing. OUTCOME_SYSTEM: *reason_out says why not (until the
 * next call); OUTCOME_NOT_FOUND: there is none to read. */
must_check enum outcome job_map_open(struct job_map **map_out, const char *dir, bool read_only,
                                     const char **reason_out);
void job_map_close(struct job_map *m);
/* Waits for the disk. OUTCOME_SYSTEM: nothing was changed; *reason_out says why (a constant). */
must_check enum outcome job_map_commit(struct job_map *m, const struct job_commit *commit, const char **reason_out);

/* What to hand the parts of a commit to; each may be NULL. */
struct job_reader {
    void *user;
    void (*on_chunk)(void *user, uint64_t number, const uint8_t *bits);
    void (*on_sums)(void *user, uint64_t from, const uint32_t *sums, size_t count);
    void (*on_outcome)(void *user, const char *name, size_t name_len, uint64_t count);
};
/* The facts of the last commit, the output's name, and what `reader` asks for, in order, all of one moment.
 * OUTCOME_NOT_FOUND: nothing was committed yet; OUTCOME_CORRUPT: of another version, or damaged. */
must_check enum outcome job_map_read(struct job_map *m, struct job_facts *facts_out,
                                     char output_out[JOB_OUTPUT_NAME_MAX], const struct job_reader *reader);
