/* What /proc/PID/stat says, names with brackets included, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "shm/process.h"

static void fields_are_found_behind_any_name(void **state)
{
    struct process_usage usage;
    uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);

    (void)state;
    assert_true(
        process_usage_parse("7 (a) (b) S 3 5 6 7 8 9 10 11 12 13 140 15 16 17 18 19 20 21 22 23 24 25\n", 3, &usage));
    assert_int_equal(usage.cpu_us, 155 * tick_us);
    assert_int_equal(usage.dead_children_cpu_us, 33 * tick_us);
    assert_int_equal(usage.memory_bytes, 24 * sysconf(_SC_PAGESIZE));
}

static void torn_texts_and_strangers_are_refused(void **state)
{
    static const char *const texts[] = {"",
                                        ")",
                                        ") ",
                                        "7 (a",
                                        "7 (a) S",
                                        "7 (a) S 3 5 6 7",
                                        "7 (a) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25"};
    struct process_usage usage;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(process_usage_parse(texts[i], 3, &usage));
    assert_false(process_usage_read(UINT32_MAX, 0, &usage));
    assert_false(process_usage_read(0, 0, &usage));
}

static void own_process_has_memory_and_uses_time(void **state)
{
    struct process_usage before, after;
    volatile uint64_t work = 0;

    (void)state;
    assert_true(process_usage_read((uint32_t)getpid(), 0, &before));
    assert_true(before.memory_bytes > 100000);
    for (uint64_t until = clock_us() + 100000; clock_us() < until;)
        work = work + 1;
    assert_true(process_usage_read((uint32_t)getpid(), (uint32_t)getppid(), &after));
    assert_true(after.cpu_us > before.cpu_us);
    assert_false(process_usage_read((uint32_t)getpid(), (uint32_t)getpid(), &after));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_behind_any_name),
        cmocka_unit_test(torn_texts_and_strangers_are_refused),
        cmocka_unit_test(own_process_has_memory_and_uses_time),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
