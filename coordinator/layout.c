/* From options to sizes. */
#include "coordinator/layout.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"

static uint32_t ring_capacity(const struct options *o)
{
    /* A task holds a line, two URLs and what a JSON line asks for: eight times the longest line holds two of the
     * largest. */
    uint32_t capacity = 1u << 20;

    while (capacity < 16 * o->max_line)
        capacity *= 2;
    return capacity;
}

bool layout_open_region(struct region *region, const struct options *o)
{
    struct buffer text = {0};
    struct region_sizes sizes = {
        .workers = (uint32_t)o->workers,
        .task_ring_capacity = ring_capacity(o),
        .record_ring_capacity = ring_capacity(o),
        .hosts_max = (uint32_t)o->max_hosts,
        .ips_max = (uint32_t)o->max_hosts * 2 + 16384,
        .ip_refs_max = (uint32_t)o->max_hosts * 4 + 65536,
    };

    options_serialize(o, &text);
    enum outcome outcome = region_create(region, &sizes, &text);
    buffer_fini(&text);
    if (outcome == OUTCOME_OK)
        return true;
    log_event(LOG_ERROR, "no-shared-memory", "error=\"%s\" hint=\"lower --workers or --max-hosts\"", strerror(errno));
    return false;
}
