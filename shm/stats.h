#pragma once
/* Statistics pages: one a worker and one for the coordinator, each written by its owner alone with relaxed stores and
 * read by anybody. Counters only grow over the run (a replaced worker goes on with its page); gauges are zeroed when
 * their worker dies. */

#include <stdatomic.h>
#include <stdint.h>

#include "common/outcome.h"

/* X(name, help) */
#define STATS_COUNTERS(X)                                                                  \
    X(requests, "requests sent, retries included")                                         \
    X(responses, "answers received whole")                                                 \
    X(records, "records made")                                                             \
    X(failed, "records with an error code")                                                \
    X(retries, "attempts after the first")                                                 \
    X(redirects, "redirects followed")                                                     \
    X(dials, "connections begun")                                                          \
    X(connects, "connections made, handshake included")                                    \
    X(dial_failures, "connections that could not be made")                                 \
    X(closes, "connections closed")                                                        \
    X(handshakes, "TLS handshakes done")                                                   \
    X(resumptions, "TLS handshakes that resumed a session")                                \
    X(hello_fallbacks, "handshakes that failed here with a browser's hello")               \
    X(sessions_shared, "TLS sessions of other workers or runs taken from the map")         \
    X(chains_remembered, "certificate chains taken as good because they were lately")      \
    X(reuses, "requests on a connection that had served one before")                       \
    X(conns_unlisted, "connections given up because the name no longer has their address") \
    X(validations, "tests of connections before a request")                                \
    X(validation_failures, "tests of connections that failed")                             \
    X(stray_closes, "connections closed because bytes came that belong to no request")     \
    X(conns_evicted, "connections closed after more than 10 errors on them")               \
    X(probes, "probes of idle connections begun")                                          \
    X(probe_failures, "probes that found an error, or no answer in time")                  \
    X(sweeps, "sweeps over idle connections; of the coordinator: over the map")            \
    X(swept, "idle connections that a sweep closed")                                       \
    X(bytes_in, "bytes read from sockets")                                                 \
    X(bytes_out, "bytes written to sockets")                                               \
    X(body_bytes, "body bytes received")                                                   \
    X(handed_back, "tasks given back to the coordinator for want of a slot")               \
    X(response_us, "time spent by answered requests, summed")                              \
    X(turns, "turns of the event loop")                                                    \
    X(lines, "input lines read (coordinator)")                                             \
    X(invalid_lines, "input lines that are no valid request (coordinator)")                \
    X(dns_queries, "names asked of the name servers (coordinator)")                        \
    X(dns_cached, "names answered from the map (coordinator)")                             \
    X(dns_second_looks, "names asked for anew because no address answered (coordinator)")  \
    X(circuit_opens, "circuits of hosts that opened, or opened again (coordinator)")       \
    X(circuit_closes, "circuits of hosts that closed again (coordinator)")                 \
    X(dns_failures, "names that could not be resolved (coordinator)")                      \
    X(dns_addresses_new, "addresses that names have gained (coordinator)")                 \
    X(dns_addresses_gone, "addresses that names have lost (coordinator)")                  \
    X(conns_from_dns, "connections made to addresses that names gained (coordinator)")     \
    X(prewarmed, "connections made ahead of need (coordinator)")                           \
    X(prewarm_failures, "connections asked for ahead of need and not made (coordinator)")  \
    X(worker_deaths, "workers that died (coordinator)")                                    \
    X(requeued, "tasks given to another worker after a death (coordinator)")               \
    X(stale_answers, "records of kept answers in place of failures (coordinator)")         \
    X(bytes_written, "bytes of records written (coordinator)")                             \
    X(overflowed, "input lines kept on disk for want of room in the window (coordinator)") \
    X(blackened, "addresses blocked for a host by an answer")                              \
    X(whitelist_moves, "blocked addresses that answer again (coordinator)")                \
    X(access_checks, "requests made to blocked addresses to see (coordinator)")

#define STATS_GAUGES(X)                                                          \
    X(conns_active, "connections with a request on them")                        \
    X(conns_idle, "open connections without a request")                          \
    X(conns_dialing, "connections being made")                                   \
    X(waiting, "requests that wait for a connection")                            \
    X(in_flight, "requests on connections; of the coordinator: tasks given out") \
    X(circuits_open, "hosts whose circuit is not closed (coordinator)")          \
    X(queued, "tasks waiting in host queues (coordinator)")                      \
    X(overflow_lines, "input lines kept on disk now (coordinator)")              \
    X(overflow_bytes, "bytes of the file that holds them (coordinator)")         \
    X(whitelist_size, "addresses known to be good (coordinator)")                \
    X(blacklist_size, "addresses blocked (coordinator)")

/* Log-linear histogram: 16 steps an octave from 1 µs to about 71 minutes (2^32 µs; more counts as that); a value's
 * error is under 1/16. Values under 16 have a bucket each, the 28 octaves above have 16 each. */
#define HISTOGRAM_BUCKETS 464

struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
};

#define STATS_FIELD(name, help) _Atomic uint64_t name;
struct stats_page {
    STATS_COUNTERS(STATS_FIELD)
    STATS_GAUGES(STATS_FIELD)
    _Atomic uint64_t outcomes[OUTCOME_COUNT]; /* records by outcome */
    _Atomic uint64_t status_classes[6];       /* answers by status / 100; [0] unused */
    struct histogram response_time;           /* request sent to answer complete, µs */
    struct histogram acquire_time;            /* wait for a connection, µs */
};
#undef STATS_FIELD

/* Adds to a counter or gauge of one's own page: no read-modify-write instruction is needed, there is one writer. */
#define STATS_ADD(page, name, n)                                                                                    \
    atomic_store_explicit(&(page)->name, atomic_load_explicit(&(page)->name, memory_order_relaxed) + (uint64_t)(n), \
                          memory_order_relaxed)
#define STATS_SET(page, name, n) atomic_store_explicit(&(page)->name, (uint64_t)(n), memory_order_relaxed)
#define STATS_GET(page, name)    atomic_load_explicit(&(page)->name, memory_order_relaxed)

void histogram_add(struct histogram *h, uint64_t us);
/* Bucket of a value and the smallest value of a bucket. */
unsigned histogram_bucket(uint64_t us);
uint64_t histogram_lower(unsigned bucket);

/* A plain sum of pages, for readers. */
struct stats_sum {
#define STATS_FIELD(name, help) uint64_t name;
    STATS_COUNTERS(STATS_FIELD)
    STATS_GAUGES(STATS_FIELD)
#undef STATS_FIELD
    uint64_t outcomes[OUTCOME_COUNT];
    uint64_t status_classes[6];
    uint64_t response_time[HISTOGRAM_BUCKETS];
    uint64_t acquire_time[HISTOGRAM_BUCKETS];
};

/* a + b, at most STATS_SUM_MAX: what a broken worker writes makes a sum large, never small again, and no number is more
 * than readers of JSON take. */
uint64_t stats_plus(uint64_t a, uint64_t b);
#define STATS_SUM_MAX ((uint64_t)INT64_MAX)
/* Adds `page` to `sum` (zeroed by the caller at first). */
void stats_sum_add(struct stats_sum *sum, const struct stats_page *page);
/* The value at or below which the share `q` (0..1) of the counted values lies, µs: the largest that falls into the
 * bucket of that rank. 0 when empty. */
uint64_t stats_quantile(const uint64_t buckets[HISTOGRAM_BUCKETS], double q);
/* Zeroes the gauges of a dead worker's page. */
void stats_page_reset_gauges(struct stats_page *page);
