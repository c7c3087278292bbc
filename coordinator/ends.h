#pragma once
/* The two ends of a run: what it reads and what it writes; and the job that stands between two runs of them. */

#include "coordinator/job.h"
#include "coordinator/records.h"

struct ends {
    int input_fd; /* -1: not open */
    struct records *records;
    struct job *job; /* NULL: the run is none */
};

enum ends_opened { ENDS_OPEN, ENDS_NOTHING_TO_DO, ENDS_REFUSED };

/* Opens the files that the options name, standard input and output in their place. ENDS_NOTHING_TO_DO: the job is
 * finished; ENDS_REFUSED: told why. `e` is to be closed in any case. */
enum ends_opened ends_open(struct ends *e, const struct options *options, struct event_base *base,
                           records_on_writable on_writable, void *user);
void ends_close(struct ends *e);
