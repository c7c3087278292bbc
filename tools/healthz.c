/* The subcommand `healthz`. */
#include "tools/healthz.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "shm/stats_report.h"
#include "tools/fleets.h"

#define EXIT_UNHEALTHY 1

static const char help[] =
    "usage: hotfleet healthz [--json] [PID]\n\n"
    "Tells whether a running fleet is healthy: it has connections, established ones among them, and a success rate of\n"
    "min_success_percent at least. Exit code 0: healthy; 1: not; 2: there is no such fleet.\n";

static int tell(const struct region *region, bool json)
{
    struct buffer out = {0};
    struct stats_limits limits;
    struct stats_report report;

    stats_limits_read(region, &limits);
    stats_report_read(region, &limits, &report);
    struct stats_health health = stats_report_health(&report);
    if (json)
        stats_report_put_health(&out, &report);
    else
        buffer_printf(&out, "fleet %u: %s, %s%s%s\n", report.pid, health.healthy ? "healthy" : "not healthy",
                      health.state, *health.reason ? ": " : "", health.reason);
    int code = fleets_print(out.data, out.len);
    buffer_fini(&out);
    if (code == EXIT_OK && !health.healthy)
        code = EXIT_UNHEALTHY;
    return code;
}

int healthz_main(int argc, char **argv)
{
    struct region region;
    bool json = false;
    long pid = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return fleets_print(help, sizeof help - 1);
        else if (!fleets_parse_pid("healthz", argv[i], &pid))
            return EXIT_USAGE;
    }
    if (!fleets_open(pid, &region))
        return EXIT_USAGE;
    int code = tell(&region, json);
    region_close(&region);
    return code;
}
