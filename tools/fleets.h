#pragma once
/* Finding running fleets from outside: a coordinator holds its region as a descriptor named memfd:hotfleet. Regions are
 * mapped for reading alone; who gets one closes it with region_close(). */

#include <stdbool.h>

#include "shm/region.h"

/* Reads a process number; false (with a message on stderr in the name of `command`) when `text` is none. */
bool fleets_parse_pid(const char *command, const char *text, long *pid_out);
/* The region of coordinator `pid`; with 0 that of the only fleet that runs. False, with a message on stderr, when there
 * is none, several, or it is not ours to read. */
bool fleets_open(long pid, struct region *region_out);

typedef void (*fleets_on_fleet)(void *user, const struct region *region);

/* Calls for each fleet that can be read; returns their number. */
unsigned fleets_each(fleets_on_fleet on_fleet, void *user);
/* Writes `text` to stdout. Returns EXIT_OK, or EXIT_OUTPUT with a message. */
int fleets_print(const char *text, size_t len);
