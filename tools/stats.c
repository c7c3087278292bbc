/* The subcommand `stats`: finds fleets by their memfd, sums their pages, prints them. */
#include "tools/stats.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "shm/region.h"

static const char help[] = "usage: hotfleet stats [--json] [PID | --all]\n\n"
                           "Shows the numbers of a running fleet. Without PID: of the only one that runs.\n";

/* The region of coordinator `pid`; false when it is none, or not ours to read. */
static bool open_fleet(long pid, struct region *region)
{
    char path[PATH_MAX];
    char target[64];
    struct dirent *entry;
    bool found = false;

    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    DIR *dir = opendir(path);
    while (dir && !found && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/%ld/fd/%s", pid, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (strncmp(target, "/memfd:hotfleet", 15) != 0)
            continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || region_attach(region, fd, true) != OUTCOME_OK)
            continue;
        /* Workers hold the same descriptor: only the coordinator stands for its fleet. */
        found = region->header->coordinator_pid == (uint32_t)pid;
        if (!found)
            region_close(region);
    }
    if (dir)
        closedir(dir);
    return found;
}

static void sum_fleet(const struct region *region, struct stats_sum *sum)
{
    memset(sum, 0, sizeof *sum);
    for (uint32_t w = 0; w <= region->header->workers; w++)
        stats_sum_add(sum, region_page(region, w));
    /* The coordinator counts what is given out, workers what is on connections: the latter is meant here. */
    sum->in_flight = sum->conns_active;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static void put_real(struct buffer *out, double value)
{
    buffer_printf(out, "%.6g", value);
}

static void put_outcomes(struct buffer *out, const struct stats_sum *sum)
{
    json_key(out, "outcomes");
    json_open(out);
    for (unsigned o = 0; o <= OUTCOME_RECORD_LAST; o++) {
        if (!sum->outcomes[o])
            continue;
        const char *name = outcome_name((enum outcome)o);
        json_put_key(out, name, strlen(name));
        json_put_uint(out, sum->outcomes[o]);
    }
    json_close(out);
}

static void put_json(struct buffer *out, const struct region *region)
{
    struct stats_sum sum;
    double seconds = (double)(clock_wall_us() - region->header->started_us) / 1e6;

    sum_fleet(region, &sum);
    json_open(out);
    json_member_uint(out, "pid", region->header->coordinator_pid);
    json_member_uint(out, "workers", region->header->workers);
    json_key(out, "uptime_seconds");
    put_real(out, seconds);
#define MEMBER(name, text) json_member_uint(out, #name, sum.name);
    STATS_COUNTERS(MEMBER)
    STATS_GAUGES(MEMBER)
#undef MEMBER
    json_key(out, "success_rate");
    put_real(out, ratio(sum.records - sum.failed, sum.records));
    json_key(out, "conn_reuse_rate");
    put_real(out, ratio(sum.reuses, sum.requests));
    json_key(out, "avg_response_time");
    put_real(out, ratio(sum.response_us, sum.responses) / 1e6);
    json_key(out, "response_time_p50");
    put_real(out, (double)stats_quantile(sum.response_time, 0.5) / 1e6);
    json_key(out, "response_time_p99");
    put_real(out, (double)stats_quantile(sum.response_time, 0.99) / 1e6);
    put_outcomes(out, &sum);
    json_close(out);
    buffer_append_char(out, '\n');
}

static void put_text(struct buffer *out, const struct region *region)
{
    struct stats_sum sum;
    double seconds = (double)(clock_wall_us() - region->header->started_us) / 1e6;

    sum_fleet(region, &sum);
    buffer_printf(out, "fleet %u: %u workers, up %.1f s\n", region->header->coordinator_pid, region->header->workers,
                  seconds);
    buffer_printf(out, "  success rate %.4f, reuse %.4f, response p50 %.1f ms, p99 %.1f ms\n",
                  ratio(sum.records - sum.failed, sum.records), ratio(sum.reuses, sum.requests),
                  (double)stats_quantile(sum.response_time, 0.5) / 1e3,
                  (double)stats_quantile(sum.response_time, 0.99) / 1e3);
#define ROW(name, text) buffer_printf(out, "  %-16s %14llu  %s\n", #name, (unsigned long long)sum.name, text);
    STATS_COUNTERS(ROW)
    STATS_GAUGES(ROW)
#undef ROW
    for (unsigned o = 1; o <= OUTCOME_RECORD_LAST; o++) {
        if (sum.outcomes[o])
            buffer_printf(out, "  failed %-20s %7llu\n", outcome_name((enum outcome)o),
                          (unsigned long long)sum.outcomes[o]);
    }
}

static void put_fleet(struct buffer *out, const struct region *region, bool json)
{
    if (json)
        put_json(out, region);
    else
        put_text(out, region);
}

/* Prints the fleets that can be read; returns their number. */
static unsigned put_all(struct buffer *out, bool json)
{
    struct dirent *entry;
    unsigned found = 0;
    DIR *dir = opendir("/proc");

    while (dir && (entry = readdir(dir))) {
        struct region region;
        if (!isdigit((unsigned char)entry->d_name[0]) || !open_fleet(strtol(entry->d_name, NULL, 10), &region))
            continue;
        put_fleet(out, &region, json);
        region_close(&region);
        found++;
    }
    if (dir)
        closedir(dir);
    return found;
}

static int print(const struct buffer *out)
{
    if (fwrite(out->data, 1, out->len, stdout) == out->len && fflush(stdout) == 0)
        return EXIT_OK;
    fprintf(stderr, "hotfleet: standard output could not be written: %s\n", strerror(errno));
    return EXIT_OUTPUT;
}

static int show(bool json, bool all, long pid)
{
    struct buffer out = {0};
    struct region region;
    int code = EXIT_USAGE;

    if (pid > 0) {
        if (open_fleet(pid, &region)) {
            put_fleet(&out, &region, json);
            region_close(&region);
            code = print(&out);
        } else {
            fprintf(stderr, "hotfleet: process %ld is no running fleet, or belongs to another user\n", pid);
        }
    } else {
        unsigned found = put_all(&out, json);
        if (found == 0)
            fprintf(stderr, "hotfleet: no fleet of this user is running\n");
        else if (found > 1 && !all)
            fprintf(stderr, "hotfleet: %u fleets are running; name one by its PID, or say --all\n", found);
        else
            code = print(&out);
    }
    buffer_fini(&out);
    return code;
}

int stats_main(int argc, char **argv)
{
    bool json = false;
    bool all = false;
    long pid = 0;

    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--all") == 0) {
            all = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return EXIT_OK;
        } else if ((pid = strtol(argv[i], &end, 10)) <= 0 || *end) {
            fprintf(stderr,
                    "hotfleet: stats: \"%s\" is neither a process number nor a flag; see hotfleet stats --help\n",
                    argv[i]);
            return EXIT_USAGE;
        }
    }
    return show(json, all, pid);
}
