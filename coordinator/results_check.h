#pragma once
/* What a worker's message must be to be believed. A broken worker writes anything: numbers out of their range, text
 * that is none, an answer that contradicts the task it is about. All of this looks at private copies only, since the
 * worker can change the ring's bytes between a look and the use. */

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/task.h"
#include "shm/region.h"
#include "shm/task.h"

/* Each number is within its range, whatever the message is about. `len`: bytes of the message with its head. */
bool result_is_sound(const struct result_message *m, uint32_t len, const struct region_layout *layout);
/* It can be what became of `task` when it was given out as it is; `bytes`: the copied m->len bytes behind the head, of
 * any kind but a record. */
bool result_fits_task(const struct result_message *m, const struct task *task, const char *bytes);
/* One line, whole, of one JSON object as far as a glance tells, that begins with this task's number. */
bool result_is_record(const char *line, size_t len, uint64_t seq);
/* Whole lines of JSON objects, as far as a glance tells. */
bool result_is_lines(const char *text, size_t len);
