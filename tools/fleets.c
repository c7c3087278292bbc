/* Looks through /proc for coordinators and maps what they share. */
#include "tools/fleets.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

bool fleets_parse_pid(const char *command, const char *text, long *pid_out)
{
    char *end = NULL;

    *pid_out = strtol(text, &end, 10);
    if (*pid_out > 0 && !*end)
        return true;
    fprintf(stderr, "hotfleet: %s: \"%s\" is neither a process number nor a flag; see hotfleet %s --help\n", command,
            text, command);
    return false;
}

static bool open_one(long pid, struct region *region)
{
    char path[PATH_MAX];
    char target[64];
    struct dirent *entry;
    bool found = false;

    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    DIR *dir = opendir(path);
    while (dir && !found && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/%ld/fd/%s", pid, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (strncmp(target, "/memfd:hotfleet", 15) != 0)
            continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || region_attach(region, fd, true) != OUTCOME_OK)
            continue;
        /* Workers hold the same descriptor: only the coordinator stands for its fleet. */
        found = region->header->coordinator_pid == (uint32_t)pid;
        if (!found)
            region_close(region);
    }
    if (dir)
        closedir(dir);
    return found;
}

unsigned fleets_each(fleets_on_fleet on_fleet, void *user)
{
    struct dirent *entry;
    unsigned found = 0;
    DIR *dir = opendir("/proc");

    while (dir && (entry = readdir(dir))) {
        struct region region;
        if (!isdigit((unsigned char)entry->d_name[0]) || !open_one(strtol(entry->d_name, NULL, 10), &region))
            continue;
        on_fleet(user, &region);
        region_close(&region);
        found++;
    }
    if (dir)
        closedir(dir);
    return found;
}

static void keep_pid(void *user, const struct region *region)
{
    *(long *)user = region->header->coordinator_pid;
}

bool fleets_open(long pid, struct region *region_out)
{
    bool named = pid > 0;

    if (!named) {
        unsigned found = fleets_each(keep_pid, &pid);
        if (found > 1) {
            fprintf(stderr, "hotfleet: %u fleets are running; name one by its PID\n", found);
            return false;
        }
    }
    if (pid > 0 && open_one(pid, region_out))
        return true;
    if (named)
        fprintf(stderr, "hotfleet: process %ld is no running fleet, or belongs to another user\n", pid);
    else
        fprintf(stderr, "hotfleet: no fleet of this user is running\n");
    return false;
}

int fleets_print(const char *text, size_t len)
{
    if (fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0)
        return EXIT_OK;
    fprintf(stderr, "hotfleet: standard output could not be written: %s\n", strerror(errno));
    return EXIT_OUTPUT;
}
