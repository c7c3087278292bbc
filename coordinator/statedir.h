#pragma once
/* The state directory: the one that --state names, or a temporary one that goes with the run. */

#include <limits.h>
#include <stdbool.h>

struct statedir {
    char path[PATH_MAX];
    bool temporary;
};

/* False (with a message in the log) when a temporary directory can't be made. Before one is made, those of this user's
 * that killed runs have left beside it are removed (statedir_stale.h). */
bool statedir_open(struct statedir *s, const char *path);
/* Removes a temporary one with the files in it. */
void statedir_close(struct statedir *s);
