#pragma once
/* `hotfleet profiles check`: what a run under a profile really sends, beside what the browser does. */

#include <stdbool.h>
#include <stddef.h>

/* `dir` is where the user's own are, "" for none. Checks the profiles named; none: all whose hello is not drawn anew
 * each time. A line for each field, or one JSON object a profile. Returns EXIT_OK; 1 when a profile that this TLS
 * library can do exactly is not exact; EXIT_USAGE, EXIT_OUTPUT.
 */
int profiles_check(const char *dir, char **names, size_t count, bool json);
