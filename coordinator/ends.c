/* Opening and closing input, output and job. */
#include "coordinator/ends.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

static bool open_input(struct ends *e, const struct options *o)
{
    struct stat st;

    e->input_fd = *o->input && strcmp(o->input, "-") != 0 ? open(o->input, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (e->input_fd >= 0 && fstat(e->input_fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        log_event(LOG_ERROR, "no-input", "file=\"%s\" error=\"it is a directory\"",
                  *o->input ? o->input : "standard input");
        return false;
    }
    if (e->input_fd < 0) {
        log_event(LOG_ERROR, "no-input", "file=\"%s\" error=\"%s\"", o->input, strerror(errno));
        return false;
    }
    return true;
}

enum ends_opened ends_open(struct ends *e, const struct options *o, struct event_base *base,
                           records_on_writable on_writable, void *user)
{
    const char *path = strcmp(o->output, "-") == 0 ? "" : o->output;
    /* A dry run leaves the job alone: nothing was done. */
    bool is_job = *o->job && !o->dry_run;

    *e = (struct ends){.input_fd = -1};
    if (!open_input(e, o))
        return ENDS_REFUSED;
    enum job_opened opened = is_job ? job_open(&e->job, o, base, e->input_fd) : JOB_GOES;
    if (opened != JOB_GOES)
        return opened == JOB_IS_DONE ? ENDS_NOTHING_TO_DO : ENDS_REFUSED;
    if (records_open(&e->records, base, path, is_job, on_writable, user) != OUTCOME_OK) {
        log_event(LOG_ERROR, "no-output", "file=\"%s\" error=\"%s\"", *path ? path : "standard output",
                  strerror(errno));
        return ENDS_REFUSED;
    }
    return !is_job || job_take_output(e->job, e->records) ? ENDS_OPEN : ENDS_REFUSED;
}

void ends_close(struct ends *e)
{
    job_close(e->job);
    records_close(e->records);
    if (e->input_fd > 0)
        close(e->input_fd);
}
