/* Sizing of the pool by what the kernel says of limits, memory and processors. */
#include "common/pool_size.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORKER_DESCRIPTORS 32u /* of a worker's own: loop, region, map, files */
#define COORDINATOR_DESCRIPTORS \
    32u /* of its own beside one a worker: input, output, map, sockets for names and admin */
#define CONNECTION_BYTES        65536u /* of a connection in use: TLS, buffers, the kernel's queues */
#define CONNECTIONS_A_PROCESSOR 2500u
#define DESCRIPTORS_MAX         (1u << 30) /* "unlimited" */
#define CGROUP_DIRECTORY        "/sys/fs/cgroup"

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* MemAvailable of /proc/meminfo. */
static uint64_t memory_available(const char *root)
{
    char path[PATH_MAX];
    char line[256];
    unsigned long long kib;
    uint64_t bytes = UINT64_MAX;

    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1 && kib < UINT64_MAX / 1024)
            bytes = kib * 1024;
    }
    if (file)
        fclose(file);
    return bytes;
}

/* A limit file of a control group; UINT64_MAX: there is none, or it says "max". */
static uint64_t limit_read(const char *root, const char *group, const char *name)
{
    char path[PATH_MAX];
    unsigned long long bytes;
    uint64_t limit = UINT64_MAX;

    if ((size_t)snprintf(path, sizeof path, "%s" CGROUP_DIRECTORY "%s/%s", root, group, name) >= sizeof path)
        return limit;
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%llu", &bytes) == 1)
        limit = bytes;
    if (file)
        fclose(file);
    return limit;
}

/* The path of this process's control group (cgroup v2), "" for the root or when nobody knows. */
static void group_read(const char *root, char *group, size_t size)
{
    char path[PATH_MAX];
    char line[PATH_MAX];

    *group = '\0';
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) == 0 && line[4])
            snprintf(group, size, "%s", line + 3);
    }
    if (file)
        fclose(file);
}

/* The lowest limit of the group and of those that it is in. */
static uint64_t group_limit(const char *root)
{
    char group[PATH_MAX];
    uint64_t limit = UINT64_MAX;

    group_read(root, group, sizeof group);
    for (;;) {
        limit = smaller(limit, limit_read(root, group, "memory.max"));
        limit = smaller(limit, limit_read(root, group, "memory.high"));
        char *slash = strrchr(group, '/');
        if (!slash)
            return limit;
        *slash = '\0';
    }
}

void pool_facts_read(const char *root, struct pool_facts *facts_out)
{
    struct rlimit limit;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    *facts_out = (struct pool_facts){
        .descriptors = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? smaller(limit.rlim_max, DESCRIPTORS_MAX) : 1024,
        .memory_bytes = smaller(memory_available(root), group_limit(root)),
        .processors = processors > 0 ? (uint64_t)processors : 1,
    };
}

static void bound_by(struct pool_size *size, uint64_t connections, const char *bound)
{
    if (connections < (uint64_t)size->connections)
        *size = (struct pool_size){(int64_t)connections, bound};
}

struct pool_descriptors pool_descriptors_of(uint64_t descriptors, int64_t workers)
{
    uint64_t coordinator = COORDINATOR_DESCRIPTORS + (uint64_t)workers;

    return (struct pool_descriptors){
        .needed = coordinator > WORKER_DESCRIPTORS ? coordinator : WORKER_DESCRIPTORS + 1,
        .per_worker = descriptors > WORKER_DESCRIPTORS ? descriptors - WORKER_DESCRIPTORS : 0,
    };
}

struct pool_size pool_size_of(const struct pool_facts *facts, int64_t workers, int64_t hosts_max, int64_t max)
{
    struct pool_size size = {max, "its range"};

    bound_by(&size, pool_descriptors_of(facts->descriptors, workers).per_worker * (uint64_t)workers, "descriptors");
    bound_by(&size, facts->memory_bytes / 2 / CONNECTION_BYTES, "memory");
    bound_by(&size, facts->processors * CONNECTIONS_A_PROCESSOR, "processors");
    bound_by(&size, (uint64_t)hosts_max - 1, "max_hosts");
    if (size.connections < 1)
        size.connections = 1;
    return size;
}
