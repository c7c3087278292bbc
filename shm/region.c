/* Making, mapping and checking of the shared region. The layout follows from the sizes alone, so an attached header is
 * checked by working the layout out anew and comparing. */
#include "shm/region.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"

#define RING_CAPACITY_MIN 4096u
#define RING_CAPACITY_MAX (1u << 30)
#define OPTIONS_BYTES_MAX (64u << 20)
#define PAGE_BYTES        4096u
#define LINE_BYTES        64u
#define ROUND_UP(n, to)   (((uint64_t)(n) + (to)-1) & ~(uint64_t)((to)-1))
#define STATS_STRIDE      ROUND_UP(sizeof(struct stats_page), LINE_BYTES)

_Static_assert(_Alignof(struct region_header) <= LINE_BYTES, "the region is laid out by cache lines");
_Static_assert(sizeof(struct region_worker) == 64, "struct region_worker is part of the shared layout");
_Static_assert(sizeof(struct region_header) ==
                   192 + 64 * REGION_WORKERS_MAX + 2 * REGION_PATH_MAX + sizeof(struct region_live),
               "struct region_header has grown a hole");

static bool capacity_is_valid(uint32_t capacity)
{
    return capacity >= RING_CAPACITY_MIN && capacity <= RING_CAPACITY_MAX && (capacity & (capacity - 1)) == 0;
}

/* Fills in the places from the sizes in `l`; false when those make no sense. Within the bounds checked here no sum or
 * product comes near 64 bits. */
static bool layout_complete(struct region_layout *l)
{
    if (l->workers < 1 || l->workers > REGION_WORKERS_MAX || l->options_bytes > OPTIONS_BYTES_MAX ||
        !capacity_is_valid(l->task_ring_capacity) || !capacity_is_valid(l->record_ring_capacity) ||
        l->ips_max >= IP_REF_MASK)
        return false;
    l->options_offset = ROUND_UP(sizeof(struct region_header), LINE_BYTES);
    l->pages_offset = ROUND_UP(l->options_offset + l->options_bytes, LINE_BYTES);
    l->rings_offset = ROUND_UP(l->pages_offset + (l->workers + 1) * STATS_STRIDE, PAGE_BYTES);
    l->ring_stride = ROUND_UP(ring_bytes(l->task_ring_capacity) + ring_bytes(l->record_ring_capacity), PAGE_BYTES);
    l->tables_offset = l->rings_offset + l->workers * l->ring_stride;
    uint64_t tables_bytes = iptable_bytes(l->hosts_max, l->ips_max, l->ip_refs_max, l->workers);
    l->bytes = ROUND_UP(l->tables_offset + tables_bytes, PAGE_BYTES);
    return true;
}

static struct region_layout layout_from_header(const struct region_header *h)
{
    return (struct region_layout){
        .bytes = h->bytes,
        .options_offset = h->options_offset,
        .options_bytes = h->options_bytes,
        .pages_offset = h->pages_offset,
        .rings_offset = h->rings_offset,
        .ring_stride = h->ring_stride,
        .tables_offset = h->tables_offset,
        .workers = h->workers,
        .task_ring_capacity = h->task_ring_capacity,
        .record_ring_capacity = h->record_ring_capacity,
        .hosts_max = h->hosts_max,
        .ips_max = h->ips_max,
        .ip_refs_max = h->ip_refs_max,
    };
}

static void layout_to_header(const struct region_layout *l, struct region_header *h)
{
    h->magic = REGION_MAGIC;
    h->version = REGION_VERSION;
    h->bytes = l->bytes;
    h->options_offset = l->options_offset;
    h->options_bytes = l->options_bytes;
    h->pages_offset = l->pages_offset;
    h->rings_offset = l->rings_offset;
    h->ring_stride = l->ring_stride;
    h->tables_offset = l->tables_offset;
    h->workers = l->workers;
    h->task_ring_capacity = l->task_ring_capacity;
    h->record_ring_capacity = l->record_ring_capacity;
    h->hosts_max = l->hosts_max;
    h->ips_max = l->ips_max;
    h->ip_refs_max = l->ip_refs_max;
}

static bool layout_equal(const struct region_layout *a, const struct region_layout *b)
{
    return a->bytes == b->bytes && a->options_offset == b->options_offset && a->options_bytes == b->options_bytes &&
           a->pages_offset == b->pages_offset && a->rings_offset == b->rings_offset &&
           a->ring_stride == b->ring_stride && a->tables_offset == b->tables_offset;
}

static uint8_t *place(const struct region *r, uint64_t offset)
{
    return (uint8_t *)r->base + offset;
}

/* Maps the whole of r->fd and lays the table's view over it. */
static enum outcome map_all(struct region *r, const struct region_layout *l, bool read_only)
{
    int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void *base = mmap(NULL, l->bytes, protection, MAP_SHARED | MAP_NORESERVE, r->fd, 0);

    if (base == MAP_FAILED)
        return OUTCOME_SYSTEM;
    r->base = base;
    r->header = base;
    r->layout = *l;
    iptable_attach(&r->table, place(r, l->tables_offset), l->hosts_max, l->ips_max, l->ip_refs_max, l->workers);
    return OUTCOME_OK;
}

/* Opens a memfd of the final size. The size is sealed, so that nobody's access can end in SIGBUS; and so are the seals,
 * lest somebody forbid writing to the workers that are still to come. */
static enum outcome open_sealed(struct region *r, uint64_t bytes)
{
    r->fd = memfd_create("hotfleet", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (r->fd < 0)
        return OUTCOME_SYSTEM;
    if (ftruncate(r->fd, (off_t)bytes) != 0)
        return OUTCOME_SYSTEM;
    if (fcntl(r->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return OUTCOME_SYSTEM;
    return OUTCOME_OK;
}

static void fill_new(struct region *r, const struct buffer *options)
{
    layout_to_header(&r->layout, r->header);
    r->header->started_us = clock_wall_us();
    r->header->coordinator_pid = (uint32_t)getpid();
    /* Spreads addresses and keeps no secret: what comes too early in the life of a machine is good enough. */
    if (getrandom(r->header->source_key, sizeof r->header->source_key, GRND_NONBLOCK) < 0)
        r->header->source_key[0] = r->header->started_us ^ r->header->coordinator_pid;
    if (options && options->len > 0)
        memcpy(place(r, r->layout.options_offset), options->data, options->len);
    for (uint32_t i = 0; i < r->layout.workers; i++) {
        ring_init(region_task_ring(r, i), r->layout.task_ring_capacity);
        ring_init(region_record_ring(r, i), r->layout.record_ring_capacity);
    }
}

enum outcome region_create(struct region *r, const struct region_sizes *sizes, const struct buffer *options)
{
    struct region_layout l = {
        .options_bytes = options ? options->len : 0,
        .workers = sizes->workers,
        .task_ring_capacity = sizes->task_ring_capacity,
        .record_ring_capacity = sizes->record_ring_capacity,
        .hosts_max = sizes->hosts_max,
        .ips_max = sizes->ips_max,
        .ip_refs_max = sizes->ip_refs_max,
    };

    *r = (struct region){.fd = -1};
    if (!layout_complete(&l)) {
        errno = EINVAL;
        return OUTCOME_SYSTEM;
    }
    enum outcome outcome = open_sealed(r, l.bytes);
    if (outcome == OUTCOME_OK)
        outcome = map_all(r, &l, false);
    if (outcome != OUTCOME_OK) {
        int saved = errno;
        region_close(r);
        errno = saved;
        return outcome;
    }
    fill_new(r, options);
    return OUTCOME_OK;
}

/* Reads the header into private memory, so that what is checked is what is used. */
static enum outcome read_layout(int fd, struct region_layout *l_out)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return OUTCOME_CORRUPT;
    if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(struct region_header))
        return OUTCOME_CORRUPT;
    struct region_header *shared = mmap(NULL, sizeof *shared, PROT_READ, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        return OUTCOME_SYSTEM;
    uint64_t magic = shared->magic;
    uint32_t version = shared->version;
    struct region_layout told = layout_from_header(shared);
    bool paths_end = memchr(shared->admin_path, '\0', sizeof shared->admin_path) != NULL &&
                     memchr(shared->state_dir, '\0', sizeof shared->state_dir) != NULL;
    munmap(shared, sizeof *shared);
    if (magic != REGION_MAGIC || version != REGION_VERSION || !paths_end)
        return OUTCOME_CORRUPT;
    *l_out = told;
    if (!layout_complete(l_out) || !layout_equal(l_out, &told) || l_out->bytes != (uint64_t)st.st_size)
        return OUTCOME_CORRUPT;
    return OUTCOME_OK;
}

enum outcome region_attach(struct region *r, int fd, bool read_only)
{
    struct region_layout l;

    *r = (struct region){.fd = fd};
    enum outcome outcome = read_layout(fd, &l);
    if (outcome == OUTCOME_OK)
        outcome = map_all(r, &l, read_only);
    if (outcome != OUTCOME_OK) {
        int saved = errno;
        region_close(r);
        errno = saved;
        return outcome;
    }
    if (read_only) {
        close(r->fd);
        r->fd = -1;
    }
    return OUTCOME_OK;
}

void region_close(struct region *r)
{
    if (r->base)
        munmap(r->base, r->layout.bytes);
    if (r->fd >= 0)
        close(r->fd);
    *r = (struct region){.fd = -1};
}

struct stats_page *region_page(const struct region *r, uint32_t worker)
{
    assert(worker <= r->layout.workers);
    return (void *)place(r, r->layout.pages_offset + worker * STATS_STRIDE);
}

void *region_task_ring(const struct region *r, uint32_t worker)
{
    assert(worker < r->layout.workers);
    return place(r, r->layout.rings_offset + worker * r->layout.ring_stride);
}

void *region_record_ring(const struct region *r, uint32_t worker)
{
    return (uint8_t *)region_task_ring(r, worker) + ring_bytes(r->layout.task_ring_capacity);
}

static bool set_path(char to[REGION_PATH_MAX], const char *path)
{
    size_t bytes = strlen(path) + 1;

    if (*path != '/' || bytes > REGION_PATH_MAX)
        return false;
    memcpy(to, path, bytes);
    return true;
}

/* The copy is what is checked: a broken worker may write there at any time. */
static bool copy_path(const char from[REGION_PATH_MAX], char out[REGION_PATH_MAX])
{
    memcpy(out, from, REGION_PATH_MAX);
    return *out == '/' && memchr(out, '\0', REGION_PATH_MAX);
}

bool region_set_admin_path(struct region *r, const char *path)
{
    return set_path(r->header->admin_path, path);
}

bool region_admin_path(const struct region *r, char out[REGION_PATH_MAX])
{
    return copy_path(r->header->admin_path, out);
}

bool region_set_state_dir(struct region *r, const char *path)
{
    return set_path(r->header->state_dir, path);
}

bool region_state_dir(const struct region *r, char out[REGION_PATH_MAX])
{
    return copy_path(r->header->state_dir, out);
}

const char *region_options(const struct region *r, size_t *len_out)
{
    *len_out = r->layout.options_bytes;
    return (const char *)place(r, r->layout.options_offset);
}
