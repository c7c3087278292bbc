#pragma once
/* The coordinator: one process, one event loop, which reads the input, resolves, gives tasks to workers and writes the
 * records. */

#include "common/options.h"

/* Runs a fleet to its end and returns the process's exit code (RECORD: 0, 1, 2, 3, 8, 75, 130, 143). `options` is
 * borrowed, and changed when somebody asks for it; argc and argv are what it was loaded from, to load it again.
 * Messages go to stderr. */
int coordinator_run(struct options *options, int argc, char **argv);
