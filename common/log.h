#pragma once
/* The log: one line an event on stderr, `level event key=value …`. Never on the hot success path. */

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Exit codes of RECORD.md that the whole house uses. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_INTERNAL = 1,
    EXIT_USAGE = 2,
    EXIT_OUTPUT = 3,
    EXIT_SOME_FAILED = 8,
    EXIT_STOPPED = 75
};

/* Sets what is shown (default LOG_WARN) and the process's name in front of each line ("hotfleet", "worker-3"). The name
 * is copied. */
void log_open(const char *name, enum log_level level);
bool log_shows(enum log_level level);

/* Writes one line: level, event (a word), then printf-formatted `key=value` text. Control characters come out as '?'.
 */
__attribute__((format(printf, 3, 4))) void log_event(enum log_level level, const char *event, const char *format, ...);

/* Start-up and usage errors: prints `hotfleet: <message>` and exits with EXIT_USAGE (usage) or EXIT_INTERNAL (die). The
 * message says what is wrong, where, and what to do about it. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void die_usage(const char *format, ...);
