/* Stress of the live values: one thread writes sets whose values all say the same, others read as fast as they can; a
 * set that disagrees with itself is torn. Usage: stress_live [SECONDS] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "shm/live.h"

#define RUN_US   1000000
#define READERS  2
#define PAUSE    4000 /* looks between two sets: readers get a moment, else they would see nothing but writing */
#define MARK_MIN 1
#define MARK_MAX 20 /* within the range of every value that is marked */

static struct region_live area;
static _Atomic bool ended;
static _Atomic uint64_t sets_read, sets_torn;

/* Marks stand at the ends and in the middle of the table. */
static void mark(struct options *o, int64_t n)
{
    o->concurrency = o->max_connections = o->max_conns_per_host = o->max_retries = o->max_redirects = n;
    o->idle_timeout = o->dns_negative_ttl = (uint64_t)n;
    o->min_success_percent = n;
}

static bool is_whole(const struct options *o)
{
    int64_t n = o->concurrency;

    return o->max_connections == n && o->max_conns_per_host == n && o->max_retries == n && o->max_redirects == n &&
           o->idle_timeout == (uint64_t)n && o->dns_negative_ttl == (uint64_t)n && o->min_success_percent == n;
}

static void *read_all(void *arg)
{
    struct options o;
    uint64_t seen = 0;
    uint64_t read = 0;

    options_init(&o);
    while (!ended) {
        if (!live_has_moved(&area, seen) || !live_read(&area, &seen, &o))
            continue;
        read++;
        if (!is_whole(&o))
            sets_torn++;
    }
    sets_read += read;
    options_fini(&o);
    return arg;
}

int main(void)
{
    pthread_t readers[READERS];
    struct options o;
    uint64_t written = 0;
    uint64_t until_us = clock_us() + RUN_US;

    options_init(&o);
    for (unsigned i = 0; i < READERS; i++) {
        if (pthread_create(&readers[i], NULL, read_all, NULL) != 0)
            return 1;
    }
    while (clock_us() < until_us) {
        mark(&o, MARK_MIN + (int64_t)(written++ % MARK_MAX));
        live_write(&area, &o);
        /* Readers get a moment between two sets; else they would see nothing but writing. */
        for (unsigned pause = 0; pause < PAUSE; pause++)
            (void)live_has_moved(&area, 0);
    }
    ended = true;
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    options_fini(&o);
    printf("stress_live: %llu sets written, %llu read, %llu torn\n", (unsigned long long)written,
           (unsigned long long)sets_read, (unsigned long long)sets_torn);
    return sets_torn > 0 || sets_read == 0;
}
