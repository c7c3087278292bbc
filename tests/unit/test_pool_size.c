/* The automatic size of the pool: what binds it, and what is read of a machine made of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/pool_size.h"

#define GIB (UINT64_C(1) << 30)

static void assert_size(struct pool_facts facts, int64_t workers, int64_t hosts_max, int64_t wanted, const char *bound)
{
    struct pool_size size = pool_size_of(&facts, workers, hosts_max, 1000000);

    assert_int_equal(size.connections, wanted);
    assert_string_equal(size.bound, bound);
}

static void the_smallest_binds(void **state)
{
    (void)state;
    assert_size((struct pool_facts){1024, 64 * GIB, 64}, 4, 4000000, INT64_C(4) * (1024 - 32), "descriptors");
    assert_size((struct pool_facts){1048576, GIB, 64}, 4, 4000000, 8192, "memory");
    assert_size((struct pool_facts){1048576, 64 * GIB, 2}, 4, 4000000, 5000, "processors");
    assert_size((struct pool_facts){1048576, 64 * GIB, 64}, 4, 65536, 65535, "max_hosts");
    assert_size((struct pool_facts){1 << 30, UINT64_MAX, 4096}, 64, 4000000, 1000000, "its range");
}

static void there_is_always_one(void **state)
{
    (void)state;
    assert_size((struct pool_facts){32, 64 * GIB, 2}, 4, 65536, 1, "descriptors");
    assert_size((struct pool_facts){3, 64 * GIB, 2}, 4, 65536, 1, "descriptors");
    assert_size((struct pool_facts){1024, 0, 2}, 4, 65536, 1, "memory");
}

static void descriptors_are_for_connections_and_for_the_fleet_itself(void **state)
{
    (void)state;
    assert_int_equal(pool_descriptors_of(1024, 4).per_worker, 992);
    assert_int_equal(pool_descriptors_of(33, 4).per_worker, 1);
    assert_int_equal(pool_descriptors_of(32, 4).per_worker, 0);
    assert_int_equal(pool_descriptors_of(0, 4).per_worker, 0);
    assert_int_equal(pool_descriptors_of(1024, 1).needed, 33);
    assert_int_equal(pool_descriptors_of(1024, 64).needed, 96);
}

static char root[] = "/tmp/hotfleet-pool-size-XXXXXX";
static const char *const directories[] = {
    "proc", "proc/self", "sys", "sys/fs", "sys/fs/cgroup", "sys/fs/cgroup/a", "sys/fs/cgroup/a/b"};
static const char *const files[] = {"proc/meminfo",
                                    "proc/self/cgroup",
                                    "sys/fs/cgroup/a/memory.max",
                                    "sys/fs/cgroup/a/memory.high",
                                    "sys/fs/cgroup/a/b/memory.max",
                                    "sys/fs/cgroup/memory.max"};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int make_root(void **state)
{
    (void)state;
    if (!mkdtemp(root) || chdir(root))
        return -1;
    for (size_t i = 0; i < COUNT(directories); i++) {
        if (mkdir(directories[i], 0700))
            return -1;
    }
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++)
        unlink(files[i]);
    for (size_t i = COUNT(directories); i-- > 0;)
        rmdir(directories[i]);
    return chdir("/") || rmdir(root);
}

static uint64_t memory_read(void)
{
    struct pool_facts facts;

    pool_facts_read(root, &facts);
    assert_true(facts.descriptors > 0 && facts.processors > 0);
    return facts.memory_bytes;
}

static void memory_is_the_least_of_what_is_said(void **state)
{
    (void)state;
    assert_true(memory_read() == UINT64_MAX);
    write_file("proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    1024000 kB\n");
    assert_int_equal(memory_read(), 1024000 * 1024ull);
    write_file("proc/self/cgroup", "1:cpu:/x\n0::/a/b\n");
    write_file("sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_int_equal(memory_read(), 1024000 * 1024ull);
    write_file("sys/fs/cgroup/a/b/memory.max", "700000000\n");
    assert_int_equal(memory_read(), 700000000);
    write_file("sys/fs/cgroup/a/memory.max", "600000000\n");
    assert_int_equal(memory_read(), 600000000);
    write_file("sys/fs/cgroup/a/memory.high", "500000000\n");
    assert_int_equal(memory_read(), 500000000);
    write_file("sys/fs/cgroup/memory.max", "400000000\n");
    assert_int_equal(memory_read(), 400000000);
    /* Within a namespace of its own a group is the root. */
    write_file("proc/self/cgroup", "0::/\n");
    write_file("sys/fs/cgroup/memory.max", "900000000\n");
    assert_int_equal(memory_read(), 900000000);
    write_file("sys/fs/cgroup/memory.max", "nonsense\n");
    assert_int_equal(memory_read(), 1024000 * 1024ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_binds),
        cmocka_unit_test(there_is_always_one),
        cmocka_unit_test(descriptors_are_for_connections_and_for_the_fleet_itself),
        cmocka_unit_test_setup_teardown(memory_is_the_least_of_what_is_said, make_root, remove_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
