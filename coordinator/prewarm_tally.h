#pragma once
/* What became of one pre-warm, by address. The tally owns its memory; for prewarm.c alone. */

#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buffer.h"
#include "shm/iptable.h"

struct prewarm_count {
    uint32_t ip; /* index into the shared addresses */
    struct address address;
    uint32_t warmed, failed; /* connections made; tries that failed */
};

struct prewarm_tally {
    struct prewarm_count *counts;
    size_t count, max;
    size_t last; /* that was found last: addresses come in turn, so the next is most often the one behind it */
};

/* Counts one try at `ip`; an index out of range (a broken worker's) or IP_NONE is not counted. */
void prewarm_tally_add(struct prewarm_tally *t, const struct iptable *table, uint32_t ip, bool warmed);
/* Puts a JSON array of {"address","warmed","failed"}. */
void prewarm_tally_put_json(const struct prewarm_tally *t, struct buffer *out);
/* Puts "ADDRESS warmed/failed, …" of the first addresses, for the log. */
void prewarm_tally_put_text(const struct prewarm_tally *t, struct buffer *out);
void prewarm_tally_fini(struct prewarm_tally *t);
