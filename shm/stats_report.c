/* Reading of a fleet's numbers, judging them, and showing them as JSON. */
#include "shm/stats_report.h"

#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/options.h"
#include "shm/process.h"

#define SUCCESS_RATE_FAIR 0.8 /* below: UNHEALTHY */

static void limits_of(const struct options *o, struct stats_limits *limits_out)
{
    limits_out->max_connections = (uint64_t)o->max_connections;
    limits_out->success_rate_min = (double)o->min_success_percent / 100;
}

void stats_limits_read(const struct region *r, struct stats_limits *limits_out)
{
    struct options options;
    struct options_error error;
    struct buffer copy = {0}; /* a broken worker could write on while it is read */
    size_t len;
    const char *text = region_options(r, &len);

    *limits_out = (struct stats_limits){0};
    buffer_append(&copy, text, len);
    options_init(&options);
    if (options_deserialize(&options, copy.data ? copy.data : "", len, &error))
        limits_of(&options, limits_out);
    options_fini(&options);
    buffer_fini(&copy);
}

/* Limits are LIVE: those that were read once may have changed since. */
static void limits_refresh(const struct region *r, struct stats_limits *limits_io)
{
    struct options options = {0}; /* numbers alone are put there */
    uint64_t seen = 0;

    if (live_read(&r->header->live, &seen, &options))
        limits_of(&options, limits_io);
}

static void add_process(struct stats_report *report, uint32_t pid, uint32_t parent, bool with_dead)
{
    struct process_usage usage;

    if (!process_usage_read(pid, parent, &usage))
        return;
    report->memory_bytes += usage.memory_bytes;
    report->cpu_us += usage.cpu_us + (with_dead ? usage.dead_children_cpu_us : 0);
}

void stats_report_read(const struct region *r, const struct stats_limits *limits, struct stats_report *report_out)
{
    const struct region_header *h = r->header;

    *report_out = (struct stats_report){
        .limits = *limits,
        .pid = h->coordinator_pid,
        .workers = r->layout.workers,
        .draining = atomic_load_explicit(&h->draining, memory_order_relaxed) != REGION_RUNS,
        .started_us = h->started_us,
        .read_us = clock_wall_us(),
    };
    limits_refresh(r, &report_out->limits);
    for (uint32_t w = 0; w <= r->layout.workers; w++)
        stats_sum_add(&report_out->sum, region_page(r, w));
    /* The coordinator counts what is given out, workers what is on connections: the latter is meant here. */
    report_out->sum.in_flight = report_out->sum.conns_active;
    add_process(report_out, report_out->pid, 0, true);
    for (uint32_t w = 0; w < r->layout.workers; w++) {
        uint32_t pid = atomic_load_explicit(&h->worker[w].pid, memory_order_relaxed);
        report_out->workers_running += pid != 0;
        if (pid)
            add_process(report_out, pid, report_out->pid, false);
    }
}

double stats_ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

uint64_t stats_report_established(const struct stats_report *report)
{
    return stats_plus(report->sum.conns_active, report->sum.conns_idle);
}

uint64_t stats_report_connections(const struct stats_report *report)
{
    return stats_plus(stats_report_established(report), report->sum.conns_dialing);
}

/* Pages are read while they change: the part may be newer than the whole. */
static uint64_t succeeded(const struct stats_sum *sum)
{
    return sum->records > sum->failed ? sum->records - sum->failed : 0;
}

double stats_report_success_rate(const struct stats_report *report)
{
    return stats_ratio(succeeded(&report->sum), report->sum.records);
}

double stats_report_uptime_seconds(const struct stats_report *report)
{
    return report->read_us > report->started_us ? (double)(report->read_us - report->started_us) / 1e6 : 0;
}

/* Why the fleet is not healthy, NULL if it is. */
static const char *illness(const struct stats_report *report)
{
    if (stats_report_connections(report) == 0)
        return report->sum.dials ? "no connection is open" : "no connection yet";
    if (stats_report_established(report) == 0)
        return "no connection is established";
    if (report->sum.records && stats_report_success_rate(report) < report->limits.success_rate_min)
        return "the success rate is below min_success_percent";
    return NULL;
}

struct stats_health stats_report_health(const struct stats_report *report)
{
    const char *reason = illness(report);
    uint64_t max = report->limits.max_connections;

    if (reason)
        return (struct stats_health){false, "UNHEALTHY", reason};
    if (report->sum.records && stats_report_success_rate(report) < SUCCESS_RATE_FAIR)
        return (struct stats_health){true, "UNHEALTHY", "the success rate is below 0.8"};
    if (max && report->sum.conns_active > max * 9 / 10)
        return (struct stats_health){true, "OVERLOAD", "more than 0.9 of max_connections are active"};
    return (struct stats_health){true, "HEALTHY", ""};
}

bool stats_report_ready(const struct stats_report *report)
{
    return report->workers_running > 0 && !report->draining;
}

#define put_real(out, literal, value)          \
    do {                                       \
        json_key(out, literal);                \
        buffer_printf((out), "%.6g", (value)); \
    } while (0)

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

static void put_connections(struct buffer *out, const struct stats_report *report)
{
    json_member_uint(out, "total_connections", stats_report_connections(report));
    json_member_uint(out, "healthy_connections", stats_report_established(report));
    json_member_uint(out, "active_connections", report->sum.conns_active);
    json_member_uint(out, "idle_connections", report->sum.conns_idle);
}

static void put_rates(struct buffer *out, const struct stats_sum *sum)
{
    json_member_uint(out, "successful_requests", succeeded(sum));
    json_member_uint(out, "failed_requests", sum->failed);
    put_real(out, "success_rate", stats_ratio(succeeded(sum), sum->records));
    put_real(out, "error_rate", stats_ratio(sum->records - succeeded(sum), sum->records));
    put_real(out, "conn_reuse_rate", stats_ratio(sum->reuses, sum->requests));
    put_real(out, "avg_response_time", stats_ratio(sum->response_us, sum->responses) / 1e6);
    put_real(out, "response_time_p50", (double)stats_quantile(sum->response_time, 0.5) / 1e6);
    put_real(out, "response_time_p99", (double)stats_quantile(sum->response_time, 0.99) / 1e6);
}

static void put_time(struct buffer *out, const struct stats_report *report)
{
    char text[CLOCK_RFC3339_LEN];

    clock_rfc3339(report->read_us, text);
    json_member_string(out, "last_update", text, sizeof text);
}

void stats_report_put_json(struct buffer *out, const struct stats_report *report)
{
    const struct stats_sum *sum = &report->sum;
    double seconds = stats_report_uptime_seconds(report);

    json_open(out);
    json_member_uint(out, "pid", report->pid);
    json_member_uint(out, "workers", report->workers);
    put_real(out, "uptime_seconds", seconds);
#define MEMBER(name, text) json_member_uint(out, #name, sum->name);
    STATS_COUNTERS(MEMBER)
    STATS_GAUGES(MEMBER)
#undef MEMBER
    put_connections(out, report);
    put_rates(out, sum);
    json_member_uint(out, "memory_usage", report->memory_bytes);
    put_real(out, "cpu_usage", seconds > 0 ? (double)report->cpu_us / 1e6 / seconds : 0);
    put_time(out, report);
    put_outcomes(out, sum);
    json_close(out);
    buffer_append_char(out, '\n');
}

void stats_report_put_health(struct buffer *out, const struct stats_report *report)
{
    struct stats_health health = stats_report_health(report);

    json_open(out);
    json_member_bool(out, "healthy", health.healthy);
    json_member_string(out, "state", health.state, strlen(health.state));
    json_member_string(out, "reason", health.reason, strlen(health.reason));
    put_connections(out, report);
    json_member_uint(out, "max_connections", report->limits.max_connections);
    put_real(out, "success_rate", stats_report_success_rate(report));
    put_real(out, "min_success_rate", report->limits.success_rate_min);
    put_time(out, report);
    json_close(out);
    buffer_append_char(out, '\n');
}

void stats_report_put_ready(struct buffer *out, const struct stats_report *report)
{
    json_open(out);
    json_member_bool(out, "ready", stats_report_ready(report));
    json_member_bool(out, "draining", report->draining);
    json_member_uint(out, "workers", report->workers);
    json_member_uint(out, "workers_running", report->workers_running);
    json_close(out);
    buffer_append_char(out, '\n');
}
