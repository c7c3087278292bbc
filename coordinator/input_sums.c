/* Summing up the input, and comparing. */
#include "coordinator/input_sums.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/log.h"

void input_sums_fini(struct input_sums *s)
{
    free(s->sums);
    *s = (struct input_sums){0};
}

static void keep(struct input_sums *s, uint32_t sum)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->sums = reallocarray(s->sums, s->room, sizeof *s->sums);
        if (!s->sums)
            die("out of memory: no room for the sums of the input");
    }
    s->sums[s->count++] = sum;
}

void input_sums_load(struct input_sums *s, uint64_t from, const uint32_t *sums, size_t count)
{
    for (size_t i = 0; from == s->count && i < count; i++, from++)
        keep(s, sums[i]);
}

bool input_sums_expect(struct input_sums *s, uint64_t bytes, uint32_t partial)
{
    if (bytes / INPUT_SUM_BYTES > s->count)
        return false;
    s->count = (size_t)(bytes / INPUT_SUM_BYTES);
    s->known_bytes = bytes;
    s->known_partial = partial;
    return true;
}

/* Where the block ends that the next byte is in: one that was known ends where it ended then. */
static uint64_t block_end(const struct input_sums *s)
{
    uint64_t end = (s->bytes / INPUT_SUM_BYTES + 1) * INPUT_SUM_BYTES;

    return s->bytes < s->known_bytes && end > s->known_bytes ? s->known_bytes : end;
}

/* A block, or what was known of one, is complete. */
static void close_block(struct input_sums *s)
{
    uint64_t index = (s->bytes - 1) / INPUT_SUM_BYTES;
    bool whole = s->bytes % INPUT_SUM_BYTES == 0;

    if (s->bytes <= s->known_bytes)
        s->differs |= s->partial != (whole ? s->sums[index] : s->known_partial);
    else if (whole)
        keep(s, s->partial);
    if (whole)
        s->partial = 0;
}

void input_sums_add(struct input_sums *s, const char *data, size_t len)
{
    while (len > 0) {
        uint64_t end = block_end(s);
        s->differs |= s->ends_in_line && s->bytes == s->known_bytes && *data != '\n' && *data != '\r';
        size_t part = len < end - s->bytes ? len : (size_t)(end - s->bytes);
        s->partial = (uint32_t)crc32(s->partial, (const Bytef *)data, (uInt)part);
        s->bytes += part;
        data += part;
        len -= part;
        if (s->bytes == end)
            close_block(s);
    }
}

size_t input_sums_missing(const struct input_sums *s)
{
    uint64_t in_block = s->bytes % INPUT_SUM_BYTES;

    /* At the beginning of a block nothing has come of it yet. */
    return s->bytes < s->known_bytes && in_block ? (size_t)(block_end(s) - s->bytes) : 0;
}

void input_sums_end(struct input_sums *s)
{
    s->differs |= s->bytes < s->known_bytes;
}
