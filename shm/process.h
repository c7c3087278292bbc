#pragma once
/* What a process takes of the machine, from /proc. */

#include <stdbool.h>
#include <stdint.h>

struct process_usage {
    uint64_t memory_bytes; /* resident */
    uint64_t cpu_us;       /* used by itself */
    uint64_t dead_children_cpu_us;
};

/* False when `pid` does not run, or is no child of `parent` (0: any): a number from shared memory may be stale. */
bool process_usage_read(uint32_t pid, uint32_t parent, struct process_usage *usage_out);
/* The same of the text of /proc/PID/stat, NUL-terminated. */
bool process_usage_parse(const char *text, uint32_t parent, struct process_usage *usage_out);
