/* Clocks, and the RFC 3339 form of a moment. */
#include "common/clock.h"

#include <string.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

static void put_digits(char *out, unsigned value, int width)
{
    while (width-- > 0) {
        out[width] = (char)('0' + value % 10);
        value /= 10;
    }
}

void clock_rfc3339(uint64_t wall_us, char out[CLOCK_RFC3339_LEN])
{
    /* One process stamps many records within one second: the calendar part is worked out once for each. */
    static uint64_t last_second = UINT64_MAX;
    static const char form[] = {'0', '0', '0', '0', '-', '0', '0', '-', '0', '0',
                                'T', '0', '0', ':', '0', '0', ':', '0', '0', '.'};
    static char calendar[sizeof form];
    uint64_t second = wall_us / 1000000u;

    if (second != last_second) {
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        memcpy(calendar, form, sizeof calendar);
        put_digits(calendar, (unsigned)tm.tm_year + 1900, 4);
        put_digits(calendar + 5, (unsigned)tm.tm_mon + 1, 2);
        put_digits(calendar + 8, (unsigned)tm.tm_mday, 2);
        put_digits(calendar + 11, (unsigned)tm.tm_hour, 2);
        put_digits(calendar + 14, (unsigned)tm.tm_min, 2);
        put_digits(calendar + 17, (unsigned)tm.tm_sec, 2);
        last_second = second;
    }
    memcpy(out, calendar, 20);
    put_digits(out + 20, (unsigned)(wall_us % 1000000u), 6);
    out[26] = 'Z';
}
