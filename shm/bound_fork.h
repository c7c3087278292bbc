#pragma once
/* A child that dies with its parent, and takes no signal that is the parent's to answer. */

#include <sys/types.h>

/* fork(): TERM, INT, HUP, USR1 and USR2, which reach whole groups, do nothing in the child, also behind an exec; the
 * parent's handlers never run there. The child is killed when the parent dies, also when that was before. */
pid_t bound_fork(void);
