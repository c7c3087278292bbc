#pragma once
/* Shards: which of several fleets, each given the same list, is to do a line. Decided by the host's name alone, so that
 * a host's politeness stays in one place; the rule is the same in all versions and on all machines. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard {
    uint32_t index; /* 1..count */
    uint32_t count; /* 1: everything */
};

#define SHARD_COUNT_MAX 65536

/* "I/N" with 1 <= I <= N <= SHARD_COUNT_MAX; empty text is 1/1. False: it is no such thing. */
bool shard_parse(const char *text, struct shard *shard_out);
/* `name` is this shard's: FNV-1a of 64 bits over its bytes, h; (h ^ h >> 32) times 0x9e3779b97f4a7c15; the upper half
 * of that multiplied into N (as Lemire's reduction). */
bool shard_has(const struct shard *shard, const char *name, size_t len);
