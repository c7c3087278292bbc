#pragma once
/* Kept answers (option cache_fallback): the last good answer of each URL, in the map, to be told when the URL fails or
 * would have to wait. Only of lines that ask for the URL alone, by GET: what others get may be meant for them. Bodies
 * and request headers are not kept. A NULL of answers_open() is the option turned off: every call takes it. */

#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"
#include "common/outcome.h"
#include "common/record.h"
#include "coordinator/task.h"
#include "shm/store.h"

struct answers;

struct answer {
    struct span members; /* for record_format_stale(); borrowed until the next call */
    unsigned status;
    uint64_t since_wall_us;
};

/* Everything is borrowed. NULL: the option is off, or the map has no room for the table (logged). */
struct answers *answers_open(struct store *store, const struct options *options);
void answers_close(struct answers *a);
/* Whether a kept answer may be told in place of this outcome: by whom it blames, not for reasons of input or policy. */
bool answers_stand_in(enum outcome outcome);
/* Keeps the answer in a record line of a worker if it is one to keep. `method`: of lines that name none. */
void answers_keep(struct answers *a, const struct task *task, struct span method, unsigned status, const char *line,
                  size_t len);
/* The answer kept for the task's first URL; false: none that is to be told. */
bool answers_find(struct answers *a, const struct task *task, struct span method, struct answer *answer_out);
