/* What may go on, and what must not. */
#include "coordinator/job.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/shard.h"
#include "coordinator/checkpoint.h"
#include "shm/dir_lock.h"

/* Workers whose coordinator was killed end at once, and keep the lock until then. */
#define LOCK_PATIENCE_MS 1000

struct job {
    const struct options *options;
    int lock_fd;
    struct job_map *map;
    struct checkpoint *checkpoint;
    const struct feed *feed;
    struct shard shard;
    bool is_new;
    uint64_t lines_before;
};

/* What a user of jobs wants to know, beside the log of what went wrong. */
__attribute__((format(printf, 2, 3))) static void note(const struct job *j, const char *format, ...)
{
    char text[JOB_OUTPUT_NAME_MAX + 256];
    va_list args;

    if (j->options->silent)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "hotfleet: job %s: %s\n", j->options->job, text);
}

static enum job_opened refuse(const struct job *j, const char *event, const char *why)
{
    log_event(LOG_ERROR, event, "dir=\"%s\" error=\"%s\"", j->options->job, why);
    return JOB_REFUSED;
}

static bool open_directory(struct job *j)
{
    static const struct dir_lock_words words = {"job's directory", "--job", LOCK_PATIENCE_MS};
    const char *dir = j->options->job;
    const char *reason = "";

    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        refuse(j, "no-job", strerror(errno));
        return false;
    }
    if (dir_lock(dir, "job.lock", &words, &j->lock_fd, &reason) != OUTCOME_OK ||
        job_map_open(&j->map, dir, false, &reason) != OUTCOME_OK) {
        refuse(j, "no-job", reason);
        return false;
    }
    return true;
}

/* False when the input is no regular file. */
static bool size_of_input(int fd, uint64_t *size_out)
{
    struct stat st;
    bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

    *size_out = is_file ? (uint64_t)st.st_size : 0;
    return is_file;
}

/* Nothing is to be done, if the records are still there. */
static enum job_opened judge_finished(const struct job *j, const struct job_facts *facts)
{
    const char *output = checkpoint_output(j->checkpoint);
    struct stat st;

    if (*output && (stat(output, &st) != 0 || (uint64_t)st.st_size < facts->output_bytes)) {
        char why[JOB_OUTPUT_NAME_MAX + 160];
        snprintf(why, sizeof why,
                 "the job is finished, and its output \"%s\" is gone or shorter than it was; to make it again begin "
                 "anew in another directory",
                 output);
        return refuse(j, "output-changed", why);
    }
    note(j, "finished: %llu records, %llu failed%s%s; nothing to do", (unsigned long long)facts->records,
         (unsigned long long)facts->failed, *output ? ", in " : "", output);
    return JOB_IS_DONE;
}

static enum job_opened judge_input(const struct job *j, const struct job_facts *facts, int input_fd)
{
    uint64_t size;
    bool is_file = size_of_input(input_fd, &size);

    if (j->options->force)
        return JOB_GOES;
    if (facts->shard_index != j->shard.index || facts->shard_count != j->shard.count)
        return refuse(j, "other-shard", "the job was begun with another --shard; --force goes on with this one");
    if (facts->input_size && is_file && size < facts->input_bytes)
        return refuse(j, "input-changed",
                      "the input is shorter than what the job has read of it; --force goes on, by line numbers");
    if (facts->state != JOB_FINISHED || (is_file && size != facts->input_bytes))
        return JOB_GOES;
    return judge_finished(j, facts);
}

enum job_opened job_open(struct job **job_out, const struct options *options, struct event_base *base, int input_fd)
{
    struct job *j = *job_out = calloc(1, sizeof *j);

    if (!j)
        die("out of memory: no room for the job");
    j->options = options;
    j->lock_fd = -1;
    /* The options were checked. */
    (void)shard_parse(options->shard, &j->shard);
    if (!open_directory(j))
        return JOB_REFUSED;
    j->checkpoint = checkpoint_new(base, j->map, options);
    enum outcome outcome = checkpoint_load(j->checkpoint);
    j->is_new = outcome == OUTCOME_NOT_FOUND;
    if (outcome == OUTCOME_OK)
        return judge_input(j, checkpoint_facts(j->checkpoint), input_fd);
    return j->is_new
               ? JOB_GOES
               : refuse(j, "no-job", "job.mdb is damaged, or of another version; begin anew in another directory");
}

int job_lock_fd(const struct job *j)
{
    return j->lock_fd;
}

void job_close(struct job *j)
{
    if (!j)
        return;
    checkpoint_free(j->checkpoint);
    job_map_close(j->map);
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    free(j);
}

/* The name that the output has from everywhere; "" when it has none. */
static void name_output(const struct job *j, char out[PATH_MAX])
{
    if (!*j->options->output || strcmp(j->options->output, "-") == 0 || !realpath(j->options->output, out))
        out[0] = '\0';
}

static bool same_file(const struct job_facts *facts, int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_dev == facts->output_device && st.st_ino == facts->output_inode;
}

/* Records that go elsewhere from now on would leave the job's in two places. */
static const char *judge_output(const struct job *j, const struct records *records, const char *name)
{
    static char why[JOB_OUTPUT_NAME_MAX + 128];
    const struct job_facts *facts = checkpoint_facts(j->checkpoint);
    const char *before = checkpoint_output(j->checkpoint);

    if (*before && strcmp(before, name) != 0) {
        snprintf(why, sizeof why, "the records so far are in \"%s\"; give that with -o, or --force", before);
        return why;
    }
    if (!*before && *name && facts->output_kind == JOB_OUTPUT_FILE && !same_file(facts, records_fd(records)))
        return "the records so far are in another file, which was standard output; --force goes on elsewhere";
    if ((facts->output_kind == JOB_OUTPUT_FILE) != records_to_file(records))
        return facts->output_kind == JOB_OUTPUT_FILE ? "the records so far are in a file; --force goes on elsewhere"
                                                     : "the records so far went to a pipe; --force goes on elsewhere";
    return NULL;
}

static bool take_kept_file(struct job *j, struct records *records, const char *name)
{
    const struct job_facts *facts = checkpoint_facts(j->checkpoint);
    struct stat st;

    if (!*name && !same_file(facts, records_fd(records))) {
        note(j, "standard output is another file than before: it gets what is left");
        return true;
    }
    uint64_t size = fstat(records_fd(records), &st) == 0 ? (uint64_t)st.st_size : 0;
    if (records_cut(records, facts->output_bytes)) {
        if (size > facts->output_bytes)
            note(j, "%llu bytes of records that no commit knows of were cut off; their lines are done again",
                 (unsigned long long)(size - facts->output_bytes));
        return true;
    }
    if (errno == 0)
        refuse(j, "output-changed",
               "the output is shorter than at the last commit: records are missing (a shell's > empties the file; -o "
               "FILE and >> do not); --force goes on without them");
    else
        refuse(j, "no-output", strerror(errno));
    return j->options->force && errno == 0 && records_cut_torn(records);
}

static bool take_new_output(struct job *j, struct records *records)
{
    bool given = *j->options->output && strcmp(j->options->output, "-") != 0;

    if (!records_to_file(records)) {
        log_event(LOG_WARN, "at-least-once",
                  "records go to a pipe, where none can be taken back: after a kill some come twice; -o FILE has each "
                  "once");
    } else if (given && !records_cut(records, 0)) {
        refuse(j, "no-output", strerror(errno));
        return false;
    } else if (!given && !(fcntl(records_fd(records), F_GETFL) & O_APPEND)) {
        log_event(LOG_WARN, "output-is-emptied",
                  "the shell's > empties the file when the command is given again, and its records are lost: use -o "
                  "FILE or >> FILE");
    }
    return true;
}

/* That a file is there at all is what its directory says. */
static void sync_directory_of(const char *path)
{
    char dir[PATH_MAX];

    snprintf(dir, sizeof dir, "%s", path);
    int fd = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    /* Not every file system can; those have no names to lose. */
    (void)fsync(fd);
    close(fd);
}

static void sync_names(const struct job *j, const char *output)
{
    char map[PATH_MAX];

    if (*output)
        sync_directory_of(output);
    snprintf(map, sizeof map, "%s/job.mdb", j->options->job);
    sync_directory_of(map);
    sync_directory_of(j->options->job);
}

bool job_take_output(struct job *j, struct records *records)
{
    char name[PATH_MAX];

    name_output(j, name);
    if (!j->is_new) {
        const char *why = judge_output(j, records, name);
        if (why && !j->options->force) {
            refuse(j, "other-output", why);
            return false;
        }
        bool taken = why                        ? take_new_output(j, records)
                     : records_to_file(records) ? take_kept_file(j, records, name)
                                                : true;
        if (!taken)
            return false;
    } else if (!take_new_output(j, records)) {
        return false;
    }
    checkpoint_start(j->checkpoint, &(struct checkpoint_start){records, name, j->shard.index, j->shard.count});
    if (!j->is_new)
        note(j, "goes on: %llu lines are done", (unsigned long long)checkpoint_facts(j->checkpoint)->lines_done);
    if (!checkpoint_commit(j->checkpoint, JOB_OPEN))
        return false;
    if (j->is_new)
        sync_names(j, name);
    return true;
}

void job_take_input(struct job *j, struct feed *feed)
{
    const struct job_facts *facts = checkpoint_facts(j->checkpoint);

    j->feed = feed;
    checkpoint_use_feed(j->checkpoint, feed);
    struct input_sums *sums = checkpoint_sums(j->checkpoint);
    sums->ends_in_line = sums->known_bytes && facts->input_ended == JOB_INPUT_ENDED_IN_LINE &&
                         checkpoint_has(j->checkpoint, facts->input_lines);
    feed_compare(feed, sums);
}

bool job_passes_over(struct job *j, uint64_t line)
{
    if (!j || !checkpoint_has(j->checkpoint, line))
        return false;
    j->lines_before++;
    return true;
}

uint64_t job_lines_before(const struct job *j)
{
    return j ? j->lines_before : 0;
}

void job_mark(struct job *j, uint64_t line, enum outcome outcome)
{
    if (j)
        checkpoint_mark(j->checkpoint, line, outcome);
}

void job_mark_passed(struct job *j, uint64_t line)
{
    if (j)
        checkpoint_pass_over(j->checkpoint, line);
}

uint64_t job_turn(struct job *j, uint64_t now_us)
{
    return j ? checkpoint_turn(j->checkpoint, now_us) : UINT64_MAX;
}

bool job_end(struct job *j, bool finished)
{
    if (j && feed_differs(j->feed))
        log_event(LOG_ERROR, "input-changed",
                  "line=%llu error=\"from about here on the input is not what the job has read before\" hint=\"give it "
                  "the same input, or go on by line numbers with --force\"",
                  (unsigned long long)feed_lines(j->feed) + 1);
    return !j || checkpoint_commit(j->checkpoint, finished ? JOB_FINISHED : JOB_OPEN);
}

uint64_t job_failed(const struct job *j)
{
    return j ? checkpoint_facts(j->checkpoint)->failed : 0;
}
