#pragma once
/* A question to a running fleet, asked over its socket, with the answer printed: what the commands that steer share. */

#include <stdbool.h>
#include <stddef.h>

#define EXIT_NO             1   /* the answer is whole and says no */
#define ASK_PATIENCE_S      5   /* for an answer that comes at once */
#define ASK_LONG_PATIENCE_S 600 /* for work that is waited for; the fleet gives up by then too */

/* Takes a process number off the end of the arguments: *argc_io is lowered when the last is all digits. */
void ask_take_pid(int *argc_io, char **argv, long *pid_out);
/* Asks fleet `pid` (0: the only one that runs), prints the answer's body on stdout and returns the exit code: EXIT_OK;
 * EXIT_NO for status 503; EXIT_USAGE, with the answer on stderr behind "hotfleet: COMMAND: ", when it is refused or no
 * fleet answers. `body` may be NULL. */
int ask_fleet(const char *command, long pid, const char *method, const char *target, const char *body, size_t len);
/* The same, but waits for the answer up to `patience_s` seconds. */
int ask_fleet_patiently(const char *command, long pid, const char *method, const char *target, const char *body,
                        size_t len, unsigned patience_s);
/* Adds "key=value" to a target's query, encoded; a NULL value adds nothing. */
struct buffer;
void ask_put_query(struct buffer *target, const char *key, const char *value);
