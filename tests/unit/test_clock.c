/* Moments as text, and that time goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

static void assert_moment(uint64_t wall_us, const char *wanted)
{
    char text[CLOCK_RFC3339_LEN + 2];

    memset(text, '#', sizeof text);
    clock_rfc3339(wall_us, text);
    assert_int_equal(text[CLOCK_RFC3339_LEN], '#');
    text[CLOCK_RFC3339_LEN] = '\0';
    assert_string_equal(text, wanted);
}

static void known_moments_have_their_text(void **state)
{
    (void)state;
    assert_moment(0, "1970-01-01T00:00:00.000000Z");
    assert_moment(1, "1970-01-01T00:00:00.000001Z");
    assert_moment(999999, "1970-01-01T00:00:00.999999Z");
    assert_moment(1000000, "1970-01-01T00:00:01.000000Z");
    assert_moment(UINT64_C(951782400000000), "2000-02-29T00:00:00.000000Z");
    assert_moment(UINT64_C(1767322984678901), "2026-01-02T03:03:04.678901Z");
    assert_moment(UINT64_C(1735689599999999), "2024-12-31T23:59:59.999999Z");
    assert_moment(UINT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z");
}

static void the_kept_calendar_follows_the_second_in_both_directions(void **state)
{
    (void)state;
    assert_moment(5000000, "1970-01-01T00:00:05.000000Z");
    assert_moment(5000001, "1970-01-01T00:00:05.000001Z");
    assert_moment(86400000000, "1970-01-02T00:00:00.000000Z");
    assert_moment(4999999, "1970-01-01T00:00:04.999999Z");
}

/* A moment may come from shared memory: whatever it is, 27 printable characters come out. */
static void nonsense_gives_27_characters_too(void **state)
{
    static const uint64_t moments[] = {UINT64_MAX, UINT64_MAX / 2, UINT64_C(253402300800000000)};
    char text[CLOCK_RFC3339_LEN + 1];

    (void)state;
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        memset(text, '#', sizeof text);
        clock_rfc3339(moments[i], text);
        assert_int_equal(text[CLOCK_RFC3339_LEN], '#');
        assert_int_equal(strspn(text, "0123456789-:.TZ"), CLOCK_RFC3339_LEN);
    }
}

static void monotonic_time_never_goes_back_and_counts_microseconds(void **state)
{
    uint64_t before = clock_us();
    uint64_t last = before;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_us();
        assert_true(now >= last);
        last = now;
    }
    uint64_t start = clock_us();
    usleep(20000);
    assert_in_range(clock_us() - start, 20000, 5000000);
}

static void wall_time_is_that_of_the_system(void **state)
{
    uint64_t before = (uint64_t)time(NULL);
    uint64_t now = clock_wall_us() / 1000000;

    (void)state;
    assert_in_range(now, before ? before - 1 : 0, before + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_moments_have_their_text),
        cmocka_unit_test(the_kept_calendar_follows_the_second_in_both_directions),
        cmocka_unit_test(nonsense_gives_27_characters_too),
        cmocka_unit_test(monotonic_time_never_goes_back_and_counts_microseconds),
        cmocka_unit_test(wall_time_is_that_of_the_system),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
