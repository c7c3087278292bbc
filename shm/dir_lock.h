#pragma once
/* The lock of a directory: a file in it that one process at a time holds, as long as it lives; who holds it stands in
 * the file. */

#include <stdbool.h>
#include <sys/types.h>

#include "common/outcome.h"

/* What is said when the lock can't be had. */
struct dir_lock_words {
    const char *what;     /* "state directory" */
    const char *option;   /* "--state" */
    unsigned patience_ms; /* how long to wait for whoever has it */
};

/* Takes the lock `dir`/`name`, making the file; *fd_out (close-on-exec) holds it until it is closed. OUTCOME_SYSTEM:
 * another process has it, or the directory can't be written in; *reason_out says so (until the next call). */
must_check enum outcome dir_lock(const char *dir, const char *name, const struct dir_lock_words *words, int *fd_out,
                                 const char **reason_out);
/* True while some process holds it; *pid_out (may be NULL): which one, 0 when that can't be told. */
bool dir_lock_is_held(const char *dir, const char *name, pid_t *pid_out);
