/* Prometheus text of a fleet's numbers. */
#include "shm/stats_metrics.h"

/* Bounds of histograms are octaves, where buckets end too: 128 µs, 256 µs … 67 s. Times are kept in whole microseconds,
 * rounded down, so that what counts as at most 127 took less than 128. */
#define BOUND_FIRST_BIT 7
#define BOUND_LAST_BIT  26

static void put_head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_printf(out, "# HELP hotfleet_%s %s\n# TYPE hotfleet_%s %s\n", name, help, name, type);
}

static void put_gauge(struct buffer *out, const char *name, const char *help, uint64_t value)
{
    put_head(out, name, "gauge", help);
    buffer_printf(out, "hotfleet_%s %llu\n", name, (unsigned long long)value);
}

static void put_seconds(struct buffer *out, const char *name, const char *type, const char *help, uint64_t us)
{
    put_head(out, name, type, help);
    buffer_printf(out, "hotfleet_%s %llu.%06u\n", name, (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
}

static void put_counter(struct buffer *out, const char *name, const char *help, uint64_t value)
{
    buffer_printf(out, "# HELP hotfleet_%s_total %s\n# TYPE hotfleet_%s_total counter\nhotfleet_%s_total %llu\n", name,
                  help, name, name, (unsigned long long)value);
}

static void put_counters(struct buffer *out, const struct stats_sum *sum)
{
    static const struct {
        const char *name, *help;
    } rows[] = {
#define ROW(name, text) {#name, text},
        STATS_COUNTERS(ROW)
#undef ROW
    };
    const uint64_t values[] = {
#define VALUE(name, text) sum->name,
        STATS_COUNTERS(VALUE)
#undef VALUE
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        /* In seconds it is the sum of a histogram. */
        if (strcmp(rows[i].name, "response_us") != 0)
            put_counter(out, rows[i].name, rows[i].help, values[i]);
    }
}

static void put_by_label(struct buffer *out, const struct stats_sum *sum)
{
    put_head(out, "outcomes_total", "counter", "records by outcome");
    for (unsigned o = 0; o <= OUTCOME_RECORD_LAST; o++)
        buffer_printf(out, "hotfleet_outcomes_total{outcome=\"%s\"} %llu\n", outcome_name((enum outcome)o),
                      (unsigned long long)sum->outcomes[o]);
    put_head(out, "status_total", "counter", "answers by class of status code");
    for (unsigned c = 1; c <= 5; c++)
        buffer_printf(out, "hotfleet_status_total{code=\"%uxx\"} %llu\n", c,
                      (unsigned long long)sum->status_classes[c]);
    buffer_printf(out, "hotfleet_status_total{code=\"other\"} %llu\n", (unsigned long long)sum->status_classes[0]);
}

static void put_histogram(struct buffer *out, const char *name, const char *help,
                          const uint64_t buckets[HISTOGRAM_BUCKETS], double sum_seconds)
{
    uint64_t count = 0;
    unsigned b = 0;

    put_head(out, name, "histogram", help);
    for (unsigned bit = BOUND_FIRST_BIT; bit <= BOUND_LAST_BIT; bit++) {
        for (; b < histogram_bucket(1ull << bit); b++)
            count = stats_plus(count, buckets[b]);
        buffer_printf(out, "hotfleet_%s_bucket{le=\"%.9g\"} %llu\n", name, (double)(1ull << bit) / 1e6,
                      (unsigned long long)count);
    }
    for (; b < HISTOGRAM_BUCKETS; b++)
        count = stats_plus(count, buckets[b]);
    buffer_printf(out, "hotfleet_%s_bucket{le=\"+Inf\"} %llu\nhotfleet_%s_sum %.6f\nhotfleet_%s_count %llu\n", name,
                  (unsigned long long)count, name, sum_seconds, name, (unsigned long long)count);
}

/* The sum of a histogram that keeps none: each value counts as the middle of its bucket. */
static double middle_sum_seconds(const uint64_t buckets[HISTOGRAM_BUCKETS])
{
    double us = 0;

    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
        us += (double)buckets[b] * (double)(histogram_lower(b) + histogram_lower(b + 1) - 1) / 2;
    return us / 1e6;
}

static void put_fleet(struct buffer *out, const struct stats_report *report)
{
    put_gauge(out, "healthy", "1 when the fleet is healthy", stats_report_health(report).healthy);
    put_gauge(out, "ready", "1 when the fleet takes work", stats_report_ready(report));
    put_gauge(out, "draining", "1 when the fleet finishes what is in flight and takes nothing new", report->draining);
    put_gauge(out, "workers", "worker processes wanted", report->workers);
    put_gauge(out, "workers_running", "worker processes that run", report->workers_running);
    put_gauge(out, "max_connections", "limit on open connections", report->limits.max_connections);
    put_gauge(out, "resident_memory_bytes", "resident memory of all processes; shared pages count in each",
              report->memory_bytes);
    put_seconds(out, "cpu_seconds_total", "counter", "processor time of all processes, dead ones included",
                report->cpu_us);
    put_seconds(out, "start_time_seconds", "gauge", "when the fleet was started, since 1970", report->started_us);
}

/* One series a worker of what tells how they share the load. */
static void put_workers(struct buffer *out, const struct region *r)
{
    put_head(out, "worker_up", "gauge", "1 when this worker runs");
    for (uint32_t w = 0; w < r->layout.workers; w++)
        buffer_printf(out, "hotfleet_worker_up{worker=\"%u\"} %d\n", w, atomic_load(&r->header->worker[w].pid) != 0);
    put_head(out, "worker_requests_total", "counter", "requests sent by this worker");
    for (uint32_t w = 0; w < r->layout.workers; w++)
        buffer_printf(out, "hotfleet_worker_requests_total{worker=\"%u\"} %llu\n", w,
                      (unsigned long long)STATS_GET(region_page(r, w), requests));
    put_head(out, "worker_connections", "gauge", "open connections of this worker");
    for (uint32_t w = 0; w < r->layout.workers; w++) {
        const struct stats_page *page = region_page(r, w);
        buffer_printf(out, "hotfleet_worker_connections{worker=\"%u\"} %llu\n", w,
                      (unsigned long long)(STATS_GET(page, conns_active) + STATS_GET(page, conns_idle)));
    }
}

void stats_metrics_put(struct buffer *out, const struct region *r, const struct stats_report *report)
{
    const struct stats_sum *sum = &report->sum;

    put_fleet(out, report);
    put_counters(out, sum);
#define GAUGE(name, text) put_gauge(out, #name, text, sum->name);
    STATS_GAUGES(GAUGE)
#undef GAUGE
    put_by_label(out, sum);
    put_histogram(out, "response_time_seconds", "request sent to answer complete", sum->response_time,
                  (double)sum->response_us / 1e6);
    put_histogram(out, "acquire_time_seconds", "wait for a connection; the sum is exact to 1/32", sum->acquire_time,
                  middle_sum_seconds(sum->acquire_time));
    put_workers(out, r);
}
