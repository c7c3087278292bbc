#pragma once
/* Time in microseconds. Monotonic time is for durations and deadlines and is the same in all processes of the machine;
 * wall time is for records. */

#include <stddef.h>
#include <stdint.h>

/* CLOCK_MONOTONIC, microseconds. */
uint64_t clock_us(void);
/* CLOCK_REALTIME, microseconds since 1970-01-01T00:00:00Z. */
uint64_t clock_wall_us(void);

#define CLOCK_RFC3339_LEN 27 /* "2026-01-02T03:04:05.678901Z" without the NUL */

/* Writes `wall_us` as RFC 3339 in UTC with microseconds, 27 characters and no NUL, into `out`. */
void clock_rfc3339(uint64_t wall_us, char out[CLOCK_RFC3339_LEN]);
