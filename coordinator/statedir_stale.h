#pragma once
/* Temporary state directories that nobody is left to remove: a coordinator that was killed leaves its own behind. The
 * lock in it (shm/store.h) tells: the kernel gives it back with its holder. */

#include <stdbool.h>

#define STATEDIR_FORM "hotfleet-XXXXXX"

/* Marks the directory `path`, just made, as a temporary one. False with errno. */
bool statedir_mark(const char *path);
/* Removes those in `tmp` that are this user's, marked, made by a run that is dead, and hold nothing but what runs make;
 * any other stays as it is. */
void statedir_remove_stale(const char *tmp);
