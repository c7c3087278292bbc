/* The subcommand `job`: reads a job's last commit, whether it runs or not. */
#include "tools/job.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "shm/dir_lock.h"
#include "shm/job_map.h"
#include "tools/fleets.h"

static const char help[] =
    "usage: hotfleet job status DIR [--json]\n\n"
    "Tells what the job in DIR (run --job DIR) has done, what is left, how fast it goes and what failed, as of its "
    "last\n"
    "commit; it may be running meanwhile. Exit code 0: told; 2: there is no job, or wrong usage.\n";

struct job_view {
    const char *dir;
    struct job_facts facts;
    char output[JOB_OUTPUT_NAME_MAX];
    const char *state;
    pid_t pid; /* 0: it does not run */
    struct buffer failed_text, outcomes_json;
};

static void on_outcome(void *user, const char *name, size_t name_len, uint64_t count)
{
    struct job_view *v = user;

    json_put_key(&v->outcomes_json, name, name_len);
    json_put_uint(&v->outcomes_json, count);
    if (name_len == 2 && memcmp(name, "ok", 2) == 0)
        return;
    buffer_printf(&v->failed_text, "%s%.*s %llu", v->failed_text.len ? ", " : "", (int)name_len, name,
                  (unsigned long long)count);
}

static bool look(struct job_view *v)
{
    const struct job_reader reader = {.user = v, .on_outcome = on_outcome};
    const char *reason = "it is damaged, or of another version";
    struct job_map *map;

    json_open(&v->outcomes_json);
    enum outcome outcome = job_map_open(&map, v->dir, true, &reason);
    if (outcome == OUTCOME_OK) {
        outcome = job_map_read(map, &v->facts, v->output, &reader);
        job_map_close(map);
    }
    json_close(&v->outcomes_json);
    if (outcome == OUTCOME_NOT_FOUND)
        fprintf(stderr, "hotfleet: job status: there is no job in \"%s\"; hotfleet run --job DIR makes one\n", v->dir);
    else if (outcome != OUTCOME_OK)
        fprintf(stderr, "hotfleet: job status: \"%s\": %s\n", v->dir, reason);
    bool running = dir_lock_is_held(v->dir, "job.lock", &v->pid);
    v->state = v->facts.state == JOB_FINISHED ? "finished" : running ? "running" : "stopped";
    return outcome == OUTCOME_OK;
}

/* Lines that were read and are not done. */
static uint64_t lines_left(const struct job_facts *f)
{
    return f->input_lines > f->lines_done ? f->input_lines - f->lines_done : 0;
}

/* Lines of a file that were not read yet, if they are as long as those before. */
static uint64_t lines_unread(const struct job_facts *f)
{
    if (f->input_ended || !f->input_bytes || f->input_size <= f->input_bytes)
        return 0;
    return (uint64_t)((double)(f->input_size - f->input_bytes) * (double)f->input_lines / (double)f->input_bytes);
}

static double per_second(uint64_t count, uint64_t us)
{
    return us ? (double)count * 1e6 / (double)us : 0;
}

/* Of the last interval while it runs, else of all runs. */
static double rate(const struct job_view *v)
{
    const struct job_facts *f = &v->facts;

    return v->pid && f->recent_us ? per_second(f->recent_records, f->recent_us) : per_second(f->records, f->active_us);
}

static void put_time(struct buffer *out, uint64_t wall_us)
{
    char text[CLOCK_RFC3339_LEN];

    clock_rfc3339(wall_us, text);
    json_put_string(out, text, sizeof text);
}

static void put_json(const struct job_view *v, struct buffer *out)
{
    const struct job_facts *f = &v->facts;

    json_open(out);
    json_member_string(out, "state", v->state, strlen(v->state));
    json_member_int(out, "pid", v->pid);
    json_member_uint(out, "lines_read", f->input_lines);
    json_member_bool(out, "input_ended", f->input_ended != 0);
    json_member_uint(out, "done", f->lines_done);
    json_member_uint(out, "left", lines_left(f));
    json_member_uint(out, "unread_estimate", lines_unread(f));
    json_member_uint(out, "records", f->records);
    json_member_uint(out, "failed", f->failed);
    json_key(out, "outcomes");
    buffer_append(out, v->outcomes_json.data, v->outcomes_json.len);
    json_key(out, "rate");
    buffer_printf(out, "%.3f", rate(v));
    json_key(out, "rate_average");
    buffer_printf(out, "%.3f", per_second(f->records, f->active_us));
    json_member_uint(out, "input_bytes", f->input_bytes);
    json_key(out, "input_size");
    if (f->input_size)
        json_put_uint(out, f->input_size);
    else
        buffer_append_str(out, "null");
    json_member_string(out, "output", v->output, strlen(v->output));
    json_member_uint(out, "output_bytes", f->output_bytes);
    json_key(out, "shard");
    buffer_printf(out, "\"%u/%u\"", f->shard_index, f->shard_count);
    json_member_uint(out, "runs", f->runs);
    json_key(out, "active_seconds");
    buffer_printf(out, "%.3f", (double)f->active_us / 1e6);
    json_key(out, "started");
    put_time(out, f->created_wall_us);
    json_key(out, "last_commit");
    put_time(out, f->committed_wall_us);
    json_close(out);
    buffer_append_char(out, '\n');
}

static void put_duration(struct buffer *out, double seconds)
{
    if (seconds < 90)
        buffer_printf(out, "%.0f s", seconds);
    else if (seconds < 5400)
        buffer_printf(out, "%.0f min", seconds / 60);
    else
        buffer_printf(out, "%.1f h", seconds / 3600);
}

static void put_left(const struct job_view *v, struct buffer *out)
{
    const struct job_facts *f = &v->facts;
    uint64_t unread = lines_unread(f);
    double per_s = rate(v);

    buffer_printf(out, "left     %llu lines", (unsigned long long)lines_left(f));
    if (unread)
        buffer_printf(out, ", and about %llu that are not read yet", (unsigned long long)unread);
    else if (!f->input_ended)
        buffer_append_str(out, ", and what comes of the input");
    if (per_s > 0 && lines_left(f) + unread > 0) {
        buffer_append_str(out, "; at this rate ");
        put_duration(out, (double)(lines_left(f) + unread) / per_s);
    }
    buffer_append_char(out, '\n');
}

static void put_text(const struct job_view *v, struct buffer *out)
{
    const struct job_facts *f = &v->facts;

    buffer_printf(out, "job      %s: %s", v->dir, v->state);
    if (v->pid)
        buffer_printf(out, " (process %ld)", (long)v->pid);
    buffer_printf(out, "\ndone     %llu of %llu lines read", (unsigned long long)f->lines_done,
                  (unsigned long long)f->input_lines);
    if (f->shard_count > 1)
        buffer_printf(out, ", %llu of them in shard %u/%u", (unsigned long long)f->records, f->shard_index,
                      f->shard_count);
    buffer_append_char(out, '\n');
    if (f->state != JOB_FINISHED)
        put_left(v, out);
    buffer_printf(out, "rate     %.1f records/s, %.1f on average over ", rate(v), per_second(f->records, f->active_us));
    put_duration(out, (double)f->active_us / 1e6);
    buffer_printf(out, " in %llu run%s\nfailed   %llu", (unsigned long long)f->runs, f->runs == 1 ? "" : "s",
                  (unsigned long long)f->failed);
    if (v->failed_text.len)
        buffer_printf(out, ": %.*s", (int)v->failed_text.len, v->failed_text.data);
    buffer_printf(out, "\noutput   %s, %llu bytes\n", *v->output ? v->output : "a stream",
                  (unsigned long long)f->output_bytes);
    uint64_t now = clock_wall_us();
    buffer_append_str(out, "commit   ");
    put_duration(out, now > f->committed_wall_us ? (double)(now - f->committed_wall_us) / 1e6 : 0);
    buffer_append_str(out, " ago\n");
}

static int status(struct job_view *v, bool json)
{
    struct buffer out = {0};
    int code = EXIT_USAGE;

    if (look(v)) {
        if (json)
            put_json(v, &out);
        else
            put_text(v, &out);
        code = fleets_print(out.data, out.len);
    }
    buffer_fini(&out);
    buffer_fini(&v->failed_text);
    buffer_fini(&v->outcomes_json);
    return code;
}

int job_main(int argc, char **argv)
{
    struct job_view view = {0};
    bool json = false;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return fleets_print(help, sizeof help - 1);
    if (argc < 2 || strcmp(argv[1], "status") != 0) {
        if (argc < 2)
            fputs(help, stderr);
        else
            fprintf(stderr, "hotfleet: job: there is no verb \"%s\"; see hotfleet job --help\n", argv[1]);
        return EXIT_USAGE;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (*argv[i] == '-' || view.dir) {
            fprintf(stderr, "hotfleet: job status: \"%s\" is not understood; see hotfleet job --help\n", argv[i]);
            return EXIT_USAGE;
        } else {
            view.dir = argv[i];
        }
    }
    if (!view.dir) {
        fprintf(stderr, "hotfleet: job status: which directory? see hotfleet job --help\n");
        return EXIT_USAGE;
    }
    return status(&view, json);
}
