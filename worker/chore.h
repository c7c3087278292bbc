#pragma once
/* Chores: what the coordinator asks of a worker on its own account (shm/task.h). Each is carried by a fetch, which ends
 * with a RESULT_CHORE instead of a record. */

#include <stddef.h>
#include <stdint.h>

#include "worker/fetch.h"

/* Begins the chore that `f` carries; it may be over when this returns. */
void chore_begin(struct fetch *f);
/* Answers it: `count` is what the kind of chore counts. Gone after this call. */
void chore_end(struct fetch *f, enum outcome outcome, uint32_t count);
/* Sends bytes of its answer, before the end. `len` must pass through the record ring. */
void chore_put(struct fetch *f, const void *bytes, size_t len);
/* Bytes that one chore_put() may take. */
size_t chore_put_max(const struct fetch *f);
