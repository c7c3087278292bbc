#pragma once
/* A fleet's numbers as Prometheus reads them: text exposition format 0.0.4. Names begin with hotfleet_, units are base
 * units, counters end in _total; the labels are worker, outcome and code, each with few values. */

#include "shm/stats_report.h"

#define STATS_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void stats_metrics_put(struct buffer *out, const struct region *r, const struct stats_report *report);
