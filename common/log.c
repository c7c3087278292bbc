/* Lines on stderr: each is put together first and written with one call, so that processes never interleave within one.
 */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static char process_name[32] = "hotfleet";
static enum log_level shown = LOG_WARN;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_open(const char *name, enum log_level level)
{
    snprintf(process_name, sizeof process_name, "%s", name);
    shown = level;
}

bool log_shows(enum log_level level)
{
    return level <= shown;
}

static void put_line(char *line, size_t len)
{
    if (len > LINE_MAX_BYTES - 2)
        len = LINE_MAX_BYTES - 2;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[len++] = '\n';
    /* Nothing can be done about a stderr that is gone. */
    ssize_t ignored = write(STDERR_FILENO, line, len);
    (void)ignored;
}

__attribute__((format(printf, 2, 0))) static void put_formatted(const char *head, const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    int n = snprintf(line, sizeof line - 1, "%s", head);
    int m = vsnprintf(line + n, sizeof line - 1 - (size_t)n, format, args);

    put_line(line, (size_t)n + (m > 0 ? (size_t)m : 0));
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    char head[128];
    va_list args;

    if (!log_shows(level))
        return;
    snprintf(head, sizeof head, "%s: %s %s ", process_name, level_names[level], event);
    va_start(args, format);
    put_formatted(head, format, args);
    va_end(args);
}

void die(const char *format, ...)
{
    char head[64];
    va_list args;

    snprintf(head, sizeof head, "%s: ", process_name);
    va_start(args, format);
    put_formatted(head, format, args);
    va_end(args);
    exit(EXIT_INTERNAL);
}

void die_usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_formatted("hotfleet: ", format, args);
    va_end(args);
    exit(EXIT_USAGE);
}
