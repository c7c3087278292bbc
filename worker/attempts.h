#pragma once
/* The log of a task's attempts (option attempt_log). Its text is kept in the fetch while the task is here and travels
 * with the task from worker to worker; without the option nothing is formatted, kept or sent. */

#include "worker/fetch.h"

/* A new fetch: takes the log that came with its task, if any. */
void attempts_take(struct fetch *f, struct span carried);
/* An attempt has ended with `status` (0: without an answer) and for the log's next reader with `outcome`. `conn`: the
 * connection it was on, or that could not be made; NULL: none could even be begun. */
void attempts_add(struct fetch *f, const struct conn *conn, unsigned status, enum outcome outcome);
/* The text, for a record; absent without the option. */
struct span attempts_text(const struct fetch *f);
