#pragma once
/* What a finished fetch tells: its record, formatted into the worker's line buffer. */

#include "worker/fetch.h"

/* Formats the record of `f` into w->line (cleared first). `conn`: the connection it ended on, or NULL. */
void record_of_fetch(struct fetch *f, const struct conn *conn, enum outcome outcome, const char *detail);
