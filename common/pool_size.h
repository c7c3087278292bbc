#pragma once
/* How many connections this machine is for: max_connections = "auto". Whoever loads the options asks once, before the
 * fleet is started. */

#include <stdint.h>

struct pool_facts {
    uint64_t descriptors;  /* that one process may have at most: the hard limit */
    uint64_t memory_bytes; /* that this process and its children could take; UINT64_MAX: nobody knows */
    uint64_t processors;   /* online */
};

/* Who needs how many descriptors. */
struct pool_descriptors {
    uint64_t needed; /* what one process must be allowed at least: the coordinator's, or a worker's with a connection */
    uint64_t per_worker; /* connections that one worker can hold; 0: not even one */
};

/* Of what one process may have, for a fleet of so many workers. */
struct pool_descriptors pool_descriptors_of(uint64_t descriptors, int64_t workers);

struct pool_size {
    int64_t connections;
    const char
        *bound; /* what it is bound by, a constant: "descriptors", "memory", "processors", "max_hosts", "its range" */
};

/* Looks at this process's limits, /proc and /sys/fs/cgroup, the latter two below `root` ("" but in tests). */
void pool_facts_read(const char *root, struct pool_facts *facts_out);
/* The smallest of what the workers' descriptors, half of the memory and the processors are for; below `hosts_max`,
 * since every connection has a host, and within 1..`max`. */
struct pool_size pool_size_of(const struct pool_facts *facts, int64_t workers, int64_t hosts_max, int64_t max);
