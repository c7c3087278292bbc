#pragma once
/* The shared memory region of one fleet: a sealed-size memfd "hotfleet" that the coordinator makes and workers and
 * readers from outside (/proc/PID/fd) attach. Layout: header | options text | pages | rings | tables. Everything is
 * found by offsets in the header, each checked on attach against the mapped size; there are no pointers in it. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"
#include "shm/iptable.h"
#include "shm/live.h"
#include "shm/ring.h"
#include "shm/stats.h"

#define REGION_MAGIC 0x31746565666c7468ull
/* The low part follows from what is in the pages: who was built with other counters is refused, and misreads nothing.
 */
#define REGION_VERSION     (5u << 20 | (uint32_t)(sizeof(struct stats_page) + sizeof(struct shm_host)))
#define REGION_WORKERS_MAX 64u
#define REGION_PATH_MAX    4096u /* bytes of a path, with its NUL */

/* How the coordinator waits. Dozing: it looks into the rings by itself within milliseconds, and is to be woken only by
 * a worker that has run out of tasks. Asleep: the first message wakes it. Whoever wakes it sets REGION_AWAKE first. */
enum region_sleep { REGION_AWAKE, REGION_DOZING, REGION_ASLEEP };

/* The run's end: drain finishes what is in flight; close means that workers shut their connections and exit. */
enum region_drain { REGION_RUNS, REGION_DRAINS, REGION_CLOSES };

/* Whether a task waits for any connection to be closed. The coordinator says that one does, or takes the answer; the
 * worker that gives a slot back while it is wanted answers, and wakes the coordinator. */
enum region_slot { REGION_SLOT_UNWANTED, REGION_SLOT_WANTED, REGION_SLOT_FREED };

/* One worker's switches. */
struct region_worker {
    _Alignas(
        64) _Atomic uint32_t asleep; /* worker: 1 while it waits in its loop; who sends a task and sees 1 wakes it */
    _Atomic uint32_t pid;            /* coordinator */
    _Atomic uint64_t started_us;     /* coordinator; wall time */
    _Atomic uint32_t wants_room;     /* worker: 1 while a record waits for room in its record ring */
    uint32_t reserved[11];
};

struct region_header {
    uint64_t magic;
    uint32_t version, workers;
    uint64_t bytes; /* of the whole region */
    uint64_t options_offset, options_bytes;
    uint64_t pages_offset; /* workers + 1 struct stats_page, each padded to 64 bytes; the last is the coordinator's */
    uint64_t rings_offset, ring_stride; /* per worker: task ring, then record ring */
    uint32_t task_ring_capacity, record_ring_capacity;
    uint64_t tables_offset;
    uint32_t hosts_max, ips_max, ip_refs_max, reserved0;
    uint64_t started_us; /* wall time */
    uint32_t coordinator_pid, reserved1;
    _Alignas(64) _Atomic uint32_t coordinator_asleep; /* coordinator: enum region_sleep */
    _Atomic uint32_t slot_wanted;                     /* enum region_slot */
    _Atomic uint32_t draining;                        /* coordinator: enum region_drain */
    _Atomic uint32_t input_ended;                     /* coordinator: 1 once all input lines are read */
    /* any worker: fetch-add deals the source addresses of --bind-ip out; IPv4's, IPv6's */
    _Atomic uint64_t source_turns[2];
    uint64_t source_key[2]; /* coordinator, before any worker: random, for source_list_draw() */
    uint32_t reserved2[4];
    struct region_worker worker[REGION_WORKERS_MAX];
    char admin_path[REGION_PATH_MAX]; /* coordinator, before workers run: its socket, absolute; empty: none. Use
                                         region_admin_path() */
    char state_dir[REGION_PATH_MAX];  /* coordinator, before workers run: the map's directory, absolute; empty: none is
                                         to be read. Use region_state_dir() */
    struct region_live live;          /* what may change of the options text, as it is now */
};

/* Where things are: what the header says, as it was checked. Processes go by this copy, which no broken worker can
 * scribble on. */
struct region_layout {
    uint64_t bytes, options_offset, options_bytes, pages_offset, rings_offset, ring_stride, tables_offset;
    uint32_t workers, task_ring_capacity, record_ring_capacity, hosts_max, ips_max, ip_refs_max;
};

struct region {
    int fd; /* owned; -1 when mapped by a reader that closed it */
    void *base;
    struct region_header *header;
    struct iptable table;
    struct region_layout layout;
};

struct region_sizes {
    uint32_t workers;
    uint32_t task_ring_capacity, record_ring_capacity; /* powers of two */
    uint32_t hosts_max, ips_max, ip_refs_max;
};

/* Makes the region, with empty rings. OUTCOME_SYSTEM with errno set when memory or descriptors are short (EINVAL: sizes
 * that make no sense). */
must_check enum outcome region_create(struct region *r, const struct region_sizes *sizes, const struct buffer *options);
/* Maps an existing one; checks magic, version, sizes, every offset, the path, and that nobody can shrink it. `fd` is
 * taken over: kept, or closed when read_only or on failure. OUTCOME_CORRUPT when a check fails, OUTCOME_SYSTEM with
 * errno when mapping does. */
must_check enum outcome region_attach(struct region *r, int fd, bool read_only);
void region_close(struct region *r);

struct stats_page *region_page(const struct region *r, uint32_t worker); /* worker == workers: the coordinator's */
void *region_task_ring(const struct region *r, uint32_t worker);
void *region_record_ring(const struct region *r, uint32_t worker);
/* Says where the fleet's socket is; false when `path` has no room or is not absolute. */
must_check bool region_set_admin_path(struct region *r, const char *path);
/* Copies that path; false when there is none, or none that makes sense. */
must_check bool region_admin_path(const struct region *r, char out[REGION_PATH_MAX]);
/* The same for the directory of the map. */
must_check bool region_set_state_dir(struct region *r, const char *path);
must_check bool region_state_dir(const struct region *r, char out[REGION_PATH_MAX]);
/* The options text, not NUL-terminated. */
const char *region_options(const struct region *r, size_t *len_out);
