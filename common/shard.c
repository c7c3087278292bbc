/* Parsing of I/N, and the hash that spreads names evenly. */
#include "common/shard.h"

#include <string.h>

static bool number(const char **at, uint32_t *out)
{
    uint32_t value = 0;
    const char *from = *at;

    while (**at >= '0' && **at <= '9' && value <= SHARD_COUNT_MAX)
        value = value * 10 + (uint32_t)(*(*at)++ - '0');
    *out = value;
    return *at > from && value >= 1 && value <= SHARD_COUNT_MAX;
}

bool shard_parse(const char *text, struct shard *shard_out)
{
    *shard_out = (struct shard){1, 1};
    if (!*text)
        return true;
    return number(&text, &shard_out->index) && *text++ == '/' && number(&text, &shard_out->count) && !*text &&
           shard_out->index <= shard_out->count;
}

bool shard_has(const struct shard *shard, const char *name, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;

    if (shard->count == 1)
        return true;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    /* FNV's upper bits hardly know of the last bytes. */
    hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15u;
    return ((hash >> 32) * shard->count >> 32) + 1 == shard->index;
}
