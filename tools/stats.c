/* The subcommand `stats`: the numbers of one fleet or of all. */
#include "tools/stats.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "shm/stats_report.h"
#include "tools/fleets.h"

static const char help[] = "usage: hotfleet stats [--json] [PID | --all]\n\n"
                           "Shows the numbers of a running fleet. Without PID: of the only one that runs.\n";

struct shower {
    struct buffer out;
    bool json;
};

static void put_text(struct buffer *out, const struct stats_report *report)
{
    const struct stats_sum *sum = &report->sum;
    struct stats_health health = stats_report_health(report);

    buffer_printf(out, "fleet %u: %s, %u workers, up %.1f s\n", report->pid, health.state, report->workers,
                  stats_report_uptime_seconds(report));
    buffer_printf(out, "  success rate %.4f, reuse %.4f, response p50 %.1f ms, p99 %.1f ms, memory %.1f MiB\n",
                  stats_report_success_rate(report), stats_ratio(sum->reuses, sum->requests),
                  (double)stats_quantile(sum->response_time, 0.5) / 1e3,
                  (double)stats_quantile(sum->response_time, 0.99) / 1e3, (double)report->memory_bytes / 1048576);
#define ROW(name, text) buffer_printf(out, "  %-16s %14llu  %s\n", #name, (unsigned long long)sum->name, text);
    STATS_COUNTERS(ROW)
    STATS_GAUGES(ROW)
#undef ROW
    for (unsigned o = 1; o <= OUTCOME_RECORD_LAST; o++) {
        if (sum->outcomes[o])
            buffer_printf(out, "  failed %-20s %7llu\n", outcome_name((enum outcome)o),
                          (unsigned long long)sum->outcomes[o]);
    }
}

static void put_fleet(void *user, const struct region *region)
{
    struct shower *s = user;
    struct stats_limits limits;
    struct stats_report report;

    stats_limits_read(region, &limits);
    stats_report_read(region, &limits, &report);
    if (s->json)
        stats_report_put_json(&s->out, &report);
    else
        put_text(&s->out, &report);
}

static int show(bool json, bool all, long pid)
{
    struct shower s = {.json = json};
    struct region region;
    int code = EXIT_USAGE;

    if (all && pid == 0) {
        if (fleets_each(put_fleet, &s) > 0)
            code = fleets_print(s.out.data, s.out.len);
        else
            fprintf(stderr, "hotfleet: no fleet of this user is running\n");
    } else if (fleets_open(pid, &region)) {
        put_fleet(&s, &region);
        region_close(&region);
        code = fleets_print(s.out.data, s.out.len);
    }
    buffer_fini(&s.out);
    return code;
}

int stats_main(int argc, char **argv)
{
    bool json = false;
    bool all = false;
    long pid = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--all") == 0) {
            all = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return fleets_print(help, sizeof help - 1);
        } else if (!fleets_parse_pid("stats", argv[i], &pid)) {
            return EXIT_USAGE;
        }
    }
    return show(json, all, pid);
}
