/* Reads /proc/PID/stat: one small file that has processor time, memory and the parent. */
#include "shm/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Places in the file as proc(5) counts them; what stands behind the name starts with the third. */
enum {
    FIELD_STATE = 3,
    FIELD_PARENT,
    FIELD_USER = 14,
    FIELD_SYSTEM,
    FIELD_DEAD_USER,
    FIELD_DEAD_SYSTEM,
    FIELD_RSS = 24
};

static uint64_t ticks_us(uint64_t ticks)
{
    long per_second = sysconf(_SC_CLK_TCK);

    return per_second > 0 ? ticks * 1000000 / (uint64_t)per_second : 0;
}

bool process_usage_parse(const char *text, uint32_t parent, struct process_usage *usage_out)
{
    uint64_t fields[FIELD_RSS + 1] = {0};
    /* The name may hold anything, parentheses and blanks too. */
    const char *at = strrchr(text, ')');
    unsigned n = FIELD_STATE;

    if (!at || at[1] != ' ' || !at[2])
        return false;
    at += 3;
    while (n < FIELD_RSS && *at == ' ') {
        char *end;
        fields[++n] = strtoull(at, &end, 10);
        at = end;
    }
    if (n < FIELD_RSS || (parent && fields[FIELD_PARENT] != parent))
        return false;
    *usage_out = (struct process_usage){
        .memory_bytes = fields[FIELD_RSS] * (uint64_t)sysconf(_SC_PAGESIZE),
        .cpu_us = ticks_us(fields[FIELD_USER] + fields[FIELD_SYSTEM]),
        .dead_children_cpu_us = ticks_us(fields[FIELD_DEAD_USER] + fields[FIELD_DEAD_SYSTEM]),
    };
    return true;
}

bool process_usage_read(uint32_t pid, uint32_t parent, struct process_usage *usage_out)
{
    char path[64];
    char text[1024];

    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return process_usage_parse(text, parent, usage_out);
}
