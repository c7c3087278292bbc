#pragma once
/* The shared memory region of one fleet: a sealed-size memfd "hotfleet" that the coordinator makes and workers and
 * readers from outside (/proc/PID/fd) attach. Layout: header | options text | pages | rings | tables. Everything is found by
 * offsets in the header, each checked on attach against the mapped size; there are no pointers in it. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"
#include "shm/iptable.h"
#include "shm/ring.h"
#include "shm/stats.h"

#define REGION_MAGIC   0x31746565666c7468ull
#define REGION_VERSION 1u
#define REGION_WORKERS_MAX 64u

/* One worker's switches. */
struct region_worker {
    _Alignas(64) _Atomic uint32_t asleep; /* worker: 1 while it waits in its loop; who sends a task and sees 1 wakes it */
    _Atomic uint32_t pid;                 /* coordinator */
    _Atomic uint64_t started_us;          /* coordinator; wall time */
    uint32_t reserved[12];
};

struct region_header {
    uint64_t magic;
    uint32_t version, workers;
    uint64_t bytes; /* of the whole region */
    uint64_t options_offset, options_bytes;
    uint64_t pages_offset; /* workers + 1 struct stats_page; the last is the coordinator's */
    uint64_t rings_offset, ring_stride; /* per worker: task ring, then record ring */
    uint32_t task_ring_capacity, record_ring_capacity;
    uint64_t tables_offset;
    uint32_t hosts_max, ips_max, ip_refs_max, reserved0;
    uint64_t started_us; /* wall time */
    uint32_t coordinator_pid, reserved1;
    _Alignas(64) _Atomic uint32_t coordinator_asleep; /* coordinator: 1 while it wants to be woken by the first record */
    _Atomic uint32_t slot_wanted; /* coordinator: 1 while a task waits for any connection to be closed */
    _Atomic uint32_t draining;    /* coordinator: 1 after TERM */
    _Atomic uint32_t input_ended; /* coordinator: 1 once all input lines are read */
    uint32_t reserved2[12];
    struct region_worker worker[REGION_WORKERS_MAX];
};

struct region {
    int fd; /* owned; -1 when mapped by a reader that closed it */
    void *base;
    struct region_header *header;
    struct iptable table;
};

struct region_sizes {
    uint32_t workers;
    uint32_t task_ring_capacity, record_ring_capacity; /* powers of two */
    uint32_t hosts_max, ips_max, ip_refs_max;
};

/* Makes the region. OUTCOME_SYSTEM with errno set when memory or descriptors are short. */
must_check enum outcome region_create(struct region *r, const struct region_sizes *sizes, const struct buffer *options);
/* Maps an existing one; checks magic, version, sizes and every offset. `fd` is taken over. OUTCOME_CORRUPT otherwise. */
must_check enum outcome region_attach(struct region *r, int fd, bool read_only);
void region_close(struct region *r);

struct stats_page *region_page(const struct region *r, uint32_t worker); /* worker == workers: the coordinator's */
void *region_task_ring(const struct region *r, uint32_t worker);
void *region_record_ring(const struct region *r, uint32_t worker);
/* The options text, not NUL-terminated. */
const char *region_options(const struct region *r, size_t *len_out);
