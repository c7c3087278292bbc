#pragma once
/* How many connections this machine is for: max_connections = "auto". Whoever loads the options asks once, before the
 * fleet is started. */

#include <stdint.h>

struct pool_facts {
    uint64_t descriptors;  /* that one process may have at most: the hard limit */
    uint64_t memory_bytes; /* that this process and its children could take; UINT64_MAX: nobody knows */
    uint64_t processors;   /* online */
};

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
