/* The progress line and the closing summary. */
#include "coordinator/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define TERMINAL_INTERVAL_US 250000

struct progress {
    const struct options *options;
    const struct region *region;
    progress_look look;
    void *user;
    struct event *tick;
    bool silent, terminal, drawn;
    uint64_t started_us, last_us, last_done, interval_us;
    double rate; /* records a second, smoothed */
};

static void sum_pages(const struct progress *p, struct stats_sum *sum)
{
    memset(sum, 0, sizeof *sum);
    for (uint32_t w = 0; w < p->region->layout.workers; w++)
        stats_sum_add(sum, region_page(p->region, w));
}

static void format_line(struct progress *p, char *line, size_t size)
{
    struct progress_view view = {0};
    struct stats_sum sum;
    uint64_t now = clock_us();

    p->look(p->user, &view);
    sum_pages(p, &sum);
    double seconds = (double)(now - p->last_us) / 1e6;
    if (seconds > 0.05) {
        double rate = (double)(view.done - p->last_done) / seconds;
        p->rate = p->last_done ? 0.5 * p->rate + 0.5 * rate : rate;
        p->last_us = now;
        p->last_done = view.done;
    }
    char total[32] = "";
    if (view.input_ended)
        snprintf(total, sizeof total, "/%llu", (unsigned long long)view.read);
    double reuse = sum.requests ? 100.0 * (double)sum.reuses / (double)sum.requests : 0;
    snprintf(line, size,
             "%llu%s done, %.0f/s, %llu in flight, %llu queued, %llu failed, %llu connections, %.1f%% reused",
             (unsigned long long)view.done, total, p->rate, (unsigned long long)view.in_flight,
             (unsigned long long)view.queued, (unsigned long long)view.failed,
             (unsigned long long)sum.conns_active + (unsigned long long)sum.conns_idle, reuse);
}

static void put(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

void progress_print(struct progress *p)
{
    char line[256];
    char out[300];

    format_line(p, line, sizeof line);
    if (p->terminal)
        snprintf(out, sizeof out, "\r\033[K%s", line);
    else
        snprintf(out, sizeof out, "hotfleet: %s\n", line);
    p->drawn = p->terminal;
    put(out);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    progress_print(arg);
}

static uint64_t interval_wanted(const struct progress *p)
{
    return p->terminal ? TERMINAL_INTERVAL_US : p->options->stats_interval * 1000;
}

static void set_interval(struct progress *p)
{
    uint64_t us = p->interval_us = interval_wanted(p);
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};

    if (event_add(p->tick, &tv))
        die("out of memory: no room for the progress timer");
}

struct progress *progress_open(struct event_base *base, const struct region *region, const struct options *options,
                               progress_look look, void *user)
{
    struct progress *p = calloc(1, sizeof *p);
    const char *term = getenv("TERM");

    if (!p)
        die("out of memory: no room for the progress line");
    p->options = options;
    p->region = region;
    p->look = look;
    p->user = user;
    p->silent = options->silent;
    p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0 && !options->verbose;
    p->started_us = p->last_us = clock_us();
    if (p->silent)
        return p;
    p->tick = event_new(base, -1, EV_PERSIST, on_tick, p);
    if (!p->tick)
        die("out of memory: no room for the progress timer");
    set_interval(p);
    return p;
}

void progress_follow_options(struct progress *p)
{
    if (p->tick && p->interval_us != interval_wanted(p))
        set_interval(p);
}

static double cpu_seconds(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void put_failures(const struct stats_sum *sum)
{
    char line[OUTCOME_COUNT * 48];
    size_t len = 0;

    for (unsigned o = 1; o <= OUTCOME_RECORD_LAST; o++) {
        if (sum->outcomes[o] && len < sizeof line - 64)
            len += (size_t)snprintf(line + len, sizeof line - len, "%s%s %llu",
                                    len ? ", " : "hotfleet: failed: ", outcome_name((enum outcome)o),
                                    (unsigned long long)sum->outcomes[o]);
    }
    if (len) {
        snprintf(line + len, sizeof line - len, "\n");
        put(line);
    }
}

static void put_summary(struct progress *p, uint64_t left)
{
    struct progress_view view = {0};
    struct stats_sum sum;
    char text[768];
    double seconds = (double)(clock_us() - p->started_us) / 1e6;

    p->look(p->user, &view);
    sum_pages(p, &sum);
    stats_sum_add(&sum, region_page(p->region, p->region->layout.workers));
    double reuse = sum.requests ? 100.0 * (double)sum.reuses / (double)sum.requests : 0;
    snprintf(
        text, sizeof text,
        "%shotfleet: %llu records in %.2f s (%.0f/s), %llu failed, %llu requests, %llu connections, %.1f%% reused\n"
        "hotfleet: response time p50 %.1f ms, p95 %.1f ms, p99 %.1f ms\n"
        "hotfleet: cpu: coordinator %.3f s, workers %.3f s\n",
        p->drawn ? "\r\033[K" : "", (unsigned long long)view.done, seconds,
        seconds > 0 ? (double)view.done / seconds : 0, (unsigned long long)view.failed,
        (unsigned long long)sum.requests, (unsigned long long)sum.connects, reuse,
        (double)stats_quantile(sum.response_time, 0.5) / 1e3, (double)stats_quantile(sum.response_time, 0.95) / 1e3,
        (double)stats_quantile(sum.response_time, 0.99) / 1e3, cpu_seconds(RUSAGE_SELF), cpu_seconds(RUSAGE_CHILDREN));
    put(text);
    put_failures(&sum);
    if (left) {
        snprintf(text, sizeof text, "hotfleet: stopped early: %llu lines that were read have no record\n",
                 (unsigned long long)left);
        put(text);
    }
}

void progress_close(struct progress *p, uint64_t left)
{
    if (!p)
        return;
    if (p->tick)
        event_free(p->tick);
    if (!p->silent)
        put_summary(p, left);
    free(p);
}
