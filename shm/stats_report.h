#pragma once
/* What a fleet's shared memory says about it, read at one moment: sums over the pages of all processes, what these take
 * of memory and processor, and how well the fleet is. The coordinator and the tools, which look from outside, show the
 * same numbers by these functions. Nothing here writes to the region. */

#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"
#include "shm/region.h"

/* What the options of the run say about health. */
struct stats_limits {
    uint64_t max_connections; /* 0: not known */
    double success_rate_min;
};

struct stats_report {
    struct stats_sum sum;
    struct stats_limits limits;
    uint32_t pid, workers, workers_running;
    bool draining;
    uint64_t started_us, read_us; /* wall time */
    uint64_t memory_bytes;        /* resident, of all processes; pages that they share count in each */
    uint64_t cpu_us;              /* used by all processes, those that have died included */
};

/* B7. `healthy` is the answer of yes or no; `state` is HEALTHY, UNHEALTHY or OVERLOAD; `reason` is a clause on why the
 * state is not HEALTHY, else empty. A fleet without a connection is not healthy; one that has connections and no record
 * yet is, since nothing has failed. */
struct stats_health {
    bool healthy;
    const char *state, *reason;
};

/* Reads the limits from the region's options. */
void stats_limits_read(const struct region *r, struct stats_limits *limits_out);
/* Reads all numbers; a few system calls a process. */
void stats_report_read(const struct region *r, const struct stats_limits *limits, struct stats_report *report_out);

/* Connections that are being made, active or idle; and those of them that are made. */
uint64_t stats_report_connections(const struct stats_report *report);
uint64_t stats_report_established(const struct stats_report *report);
/* Share of records without an error code; 0 when there is none. */
double stats_report_success_rate(const struct stats_report *report);
double stats_report_uptime_seconds(const struct stats_report *report);
/* `part` of `whole`; 0 when `whole` is. */
double stats_ratio(uint64_t part, uint64_t whole);

struct stats_health stats_report_health(const struct stats_report *report);
/* Whether the fleet takes work: a worker runs, and no drain has begun. */
bool stats_report_ready(const struct stats_report *report);

/* Each puts one JSON object and a newline. */
void stats_report_put_json(struct buffer *out, const struct stats_report *report);
void stats_report_put_health(struct buffer *out, const struct stats_report *report);
void stats_report_put_ready(struct buffer *out, const struct stats_report *report);
