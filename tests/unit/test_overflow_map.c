/* Blocks beyond the window: what comes back, and when; a map or a disk that is full; space and memory that are given
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/overflow_map.h"

#define KIB   ((size_t)1 << 10)
#define MIB   ((size_t)1 << 20)
#define BATCH (2 * MIB)       /* of blocks, before they are written */
#define BLOCK (32 * KIB - 16) /* as the overflow makes them */

static char dir[64];
static struct overflow_map *map;

static void open_map(uint64_t bytes_max)
{
    const char *reason = "";

    if (overflow_map_open(&map, dir, bytes_max, &reason) != OUTCOME_OK)
        fail_msg("%s", reason);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test-overflow-map-XXXXXX");
    assert_non_null(mkdtemp(dir));
    open_map(1024 * MIB);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    overflow_map_close(map);
    map = NULL;
    return rmdir(dir);
}

static void reopen(uint64_t bytes_max)
{
    overflow_map_close(map);
    open_map(bytes_max);
}

/* A block's bytes follow from its names. */
static void fill(struct buffer *b, uint32_t queue, uint64_t number, size_t len)
{
    uint64_t x = (queue + 1) * 0x9e3779b97f4a7c15u ^ (number + 1) * 0xbf58476d1ce4e5b9u;

    buffer_reserve(b, len);
    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        b->data[i] = (char)(x >> 56);
    }
    b->len = len;
}

static enum outcome put(uint32_t queue, uint64_t number, size_t len)
{
    struct buffer b = {0};

    fill(&b, queue, number, len);
    enum outcome outcome = overflow_map_put(map, queue, number, &b);
    assert_null(b.data);
    return outcome;
}

static bool take_is(uint32_t queue, uint64_t number, size_t len)
{
    struct buffer wanted = {0};
    struct buffer got = {0};

    fill(&wanted, queue, number, len);
    bool same = overflow_map_take(map, queue, number, &got) == OUTCOME_OK && got.len == len &&
                memcmp(got.data, wanted.data, len) == 0;
    buffer_fini(&wanted);
    buffer_fini(&got);
    return same;
}

static void assert_take(uint32_t queue, uint64_t number, size_t len)
{
    if (!take_is(queue, number, len))
        fail_msg("block %u/%llu is not what it was", queue, (unsigned long long)number);
}

/* Small blocks are gathered until there is a batch of them. */
static void write_what_waits(uint64_t number)
{
    assert_int_equal(put(UINT32_MAX, number, BATCH), OUTCOME_OK);
}

static void a_block_comes_back_as_it_was(void **state)
{
    static const size_t lens[] = {1,    2,    15,    100,   2000, 4079,      4080,  4081,       4096,
                                  4097, 8176, BLOCK, 65536, MIB,  BATCH - 1, BATCH, 5 * MIB + 3};
    const unsigned count = sizeof lens / sizeof lens[0];

    (void)state;
    for (int written = 0; written < 2; written++) {
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(put(7, i, lens[i]), OUTCOME_OK);
        if (written)
            write_what_waits(0);
        for (unsigned i = 0; i < count; i++)
            assert_take(7, i, lens[i]);
    }
    assert_take(UINT32_MAX, 0, BATCH);
}

static void a_block_that_waits_and_one_that_is_written_are_taken_alike(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 100), OUTCOME_OK);
    uint64_t before = overflow_map_bytes(map);
    assert_take(1, 0, 100);
    assert_int_equal(put(1, 1, 100), OUTCOME_OK);
    assert_int_equal(overflow_map_bytes(map), before);
    write_what_waits(0);
    assert_true(overflow_map_bytes(map) >= BATCH);
    assert_int_equal(put(1, 2, 100), OUTCOME_OK);
    assert_take(1, 1, 100);
    assert_take(1, 2, 100);
}

/* In any order of queues and numbers, beyond what one or four bytes hold. */
static void queues_do_not_know_of_each_other(void **state)
{
    static const uint32_t queues[] = {0, 1, 255, 256, 65535, 65536, 0x01000000, UINT32_MAX - 1};
    static const uint64_t numbers[] = {0, 1, 255, 256, 65536, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX};

    (void)state;
    for (size_t n = 0; n < 8; n++) {
        for (size_t q = 0; q < 8; q++)
            assert_int_equal(put(queues[q], numbers[n], BLOCK + q + n), OUTCOME_OK);
    }
    write_what_waits(0);
    for (size_t q = 8; q-- > 0;) {
        for (size_t n = 0; n < 8; n++)
            assert_take(queues[q], numbers[n], BLOCK + q + n);
    }
}

static void random_puts_and_takes_of_many_queues(void **state)
{
    static uint64_t first[500], next[500];
    uint64_t left = 0;

    (void)state;
    srandom(4);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t queue = (uint32_t)random() % 500;
        if (left > 300 || (first[queue] < next[queue] && random() % 2)) {
            while (first[queue] == next[queue])
                queue = (queue + 1) % 500;
            uint64_t number = first[queue]++;
            assert_take(queue, number, 1 + ((uint64_t)queue * 31 + number * 977) % BLOCK);
            left--;
        } else {
            uint64_t number = next[queue]++;
            assert_int_equal(put(queue, number, 1 + ((uint64_t)queue * 31 + number * 977) % BLOCK), OUTCOME_OK);
            left++;
        }
    }
    for (uint32_t queue = 0; queue < 500; queue++) {
        for (; first[queue] < next[queue]; first[queue]++)
            assert_take(queue, first[queue], 1 + ((uint64_t)queue * 31 + first[queue] * 977) % BLOCK);
    }
}

static void what_was_never_put_is_not_found(void **state)
{
    struct buffer b = {0};

    (void)state;
    assert_int_equal(overflow_map_take(map, 1, 1, &b), OUTCOME_NOT_FOUND);
    assert_int_equal(put(1, 1, 100), OUTCOME_OK);
    write_what_waits(0);
    assert_int_equal(overflow_map_take(map, 1, 0, &b), OUTCOME_NOT_FOUND);
    assert_int_equal(overflow_map_take(map, 2, 1, &b), OUTCOME_NOT_FOUND);
    assert_int_equal(b.len, 0);
    assert_take(1, 1, 100);
}

static void a_map_that_is_full_keeps_what_it_is_given_in_memory(void **state)
{
    uint64_t number = 0;

    (void)state;
    reopen(5 * MIB);
    while (put(1, number, BLOCK) == OUTCOME_OK)
        number++;
    number++;
    /* Two batches are written, and the third is not. */
    assert_in_range(number, 6 * MIB / BLOCK, 6 * MIB / BLOCK + 4);
    assert_int_equal(overflow_map_retry(map), OUTCOME_FULL);
    assert_int_equal(put(1, number, BLOCK), OUTCOME_FULL);
    number++;
    for (uint64_t i = 0; i < number; i++)
        assert_take(1, i, BLOCK);
    assert_int_equal(overflow_map_retry(map), OUTCOME_OK);
}

static void room_is_found_again_when_blocks_were_taken(void **state)
{
    uint64_t first = 0;
    uint64_t next = 0;

    (void)state;
    reopen(4 * MIB);
    for (unsigned round = 0; round < 20; round++) {
        while (put(1, next++, BLOCK) == OUTCOME_OK)
            ;
        uint64_t taken = 0;
        do {
            assert_take(1, first++, BLOCK);
            taken++;
        } while (overflow_map_retry(map) == OUTCOME_FULL && first < next);
        /* A batch is written as soon as there is room for it. */
        assert_in_range(taken, 1, BATCH / BLOCK + 3);
    }
    while (first < next)
        assert_take(1, first++, BLOCK);
}

static void retry_is_nothing_while_the_map_is_not_full(void **state)
{
    (void)state;
    assert_int_equal(overflow_map_retry(map), OUTCOME_OK);
    assert_int_equal(put(1, 0, 100), OUTCOME_OK);
    uint64_t before = overflow_map_bytes(map);
    assert_int_equal(overflow_map_retry(map), OUTCOME_OK);
    assert_int_equal(overflow_map_bytes(map), before);
    assert_take(1, 0, 100);
}

/* A limit on file sizes stands for a full disk. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

#define CHECK(what)          \
    do {                     \
        if (!(what))         \
            return __LINE__; \
    } while (0)

/* Returns the line of what went wrong. */
static int live_with_a_full_disk(void)
{
    uint64_t number = 0;

    signal(SIGXFSZ, SIG_IGN);
    reopen(1024 * MIB);
    while (number < 2 * BATCH / BLOCK + 2)
        CHECK(put(1, number++, BLOCK) == OUTCOME_OK);
    limit_files(overflow_map_bytes(map) + 3 * BLOCK);
    while (number < 1000 && put(1, number++, BLOCK) == OUTCOME_OK)
        ;
    CHECK(number < 1000);
    for (unsigned i = 0; i < 5; i++)
        CHECK(overflow_map_retry(map) == OUTCOME_FULL);
    CHECK(put(1, number++, BLOCK) == OUTCOME_FULL);
    /* From the file, and from memory. */
    CHECK(take_is(1, 0, BLOCK));
    CHECK(take_is(1, number - 1, BLOCK));
    CHECK(take_is(1, number - 2, BLOCK));
    CHECK(overflow_map_retry(map) == OUTCOME_FULL);
    limit_files(RLIM_INFINITY);
    CHECK(overflow_map_retry(map) == OUTCOME_OK);
    for (uint64_t i = 1; i < number - 2; i++)
        CHECK(take_is(1, i, BLOCK));
    CHECK(put(2, 0, BATCH) == OUTCOME_OK);
    CHECK(take_is(2, 0, BATCH));
    return 0;
}

/* Space that taken blocks leave in the file is all that there is. */
static int recover_without_more_disk(void)
{
    uint64_t first = 0;
    uint64_t next = 0;

    signal(SIGXFSZ, SIG_IGN);
    reopen(1024 * MIB);
    while (next < 4 * BATCH / BLOCK)
        CHECK(put(1, next++, BLOCK) == OUTCOME_OK);
    limit_files(overflow_map_bytes(map) + 64 * KIB);
    while (next < 2000 && put(1, next++, BLOCK) == OUTCOME_OK)
        ;
    CHECK(next < 2000);
    /* LMDB uses the pages of one transaction in the next but one. */
    for (unsigned part = 1; part <= 2; part++) {
        CHECK(overflow_map_retry(map) == OUTCOME_FULL);
        while (first < part * BATCH / BLOCK + part)
            CHECK(take_is(1, first++, BLOCK));
    }
    CHECK(overflow_map_retry(map) == OUTCOME_OK);
    while (first < next)
        CHECK(take_is(1, first++, BLOCK));
    return 0;
}

static void assert_child(int (*call)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(call() % 256);
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0)
        fail_msg("failed at line %d (mod 256)", WEXITSTATUS(status));
}

static void a_full_disk_loses_nothing_and_is_written_to_again(void **state)
{
    (void)state;
    assert_child(live_with_a_full_disk);
}

static void taken_blocks_make_room_on_a_full_disk(void **state)
{
    (void)state;
    assert_child(recover_without_more_disk);
}

static void the_file_does_not_grow_while_puts_and_takes_alternate(void **state)
{
    uint64_t first = 0;
    uint64_t next = 0;

    (void)state;
    while (next < 8 * MIB / BLOCK)
        assert_int_equal(put(1, next++, BLOCK), OUTCOME_OK);
    for (unsigned mib = 0; mib < 100; mib++) {
        for (unsigned i = 0; i < MIB / BLOCK; i++) {
            assert_int_equal(put((uint32_t)(next % 3 + 1), next, BLOCK), OUTCOME_OK);
            next++;
            /* The first ones are queue 1's. */
            assert_take(first < 8 * MIB / BLOCK ? 1 : (uint32_t)(first % 3 + 1), first, BLOCK);
            first++;
        }
    }
    /* 8 MiB that are there, and two batches on the way in and out. */
    assert_in_range(overflow_map_bytes(map), 4 * MIB, 24 * MIB);
}

static void space_of_many_taken_blocks_is_used_again(void **state)
{
    uint64_t first = 0;
    uint64_t next = 0;

    (void)state;
    while (next < 40 * MIB / BLOCK)
        assert_int_equal(put(1, next++, BLOCK), OUTCOME_OK);
    uint64_t before = overflow_map_bytes(map);
    while (first < next)
        assert_take(1, first++, BLOCK);
    while (next < 80 * MIB / BLOCK)
        assert_int_equal(put(1, next++, BLOCK), OUTCOME_OK);
    assert_in_range(overflow_map_bytes(map), before, before + 8 * MIB);
}

static void the_file_has_no_name(void **state)
{
    char link[64];
    char target[256] = "";
    struct dirent *entry;
    unsigned open_files = 0;
    DIR *d = opendir(dir);

    (void)state;
    while ((entry = readdir(d)) != NULL)
        assert_int_equal(entry->d_name[0], '.');
    closedir(d);
    write_what_waits(0);
    d = opendir("/proc/self/fd");
    while ((entry = readdir(d)) != NULL) {
        snprintf(link, sizeof link, "/proc/self/fd/%.20s", entry->d_name);
        ssize_t n = readlink(link, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        open_files += strstr(target, "overflow.mdb (deleted)") != NULL;
    }
    closedir(d);
    /* LMDB has another descriptor for its meta pages. */
    assert_in_range(open_files, 1, 2);
}

static void a_file_that_a_killed_one_left_is_no_obstacle(void **state)
{
    char path[96];

    (void)state;
    overflow_map_close(map);
    snprintf(path, sizeof path, "%s/overflow.mdb", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0400);
    assert_int_equal(write(fd, "nonsense", 8), 8);
    close(fd);
    open_map(16 * MIB);
    write_what_waits(0);
    assert_take(UINT32_MAX, 0, BATCH);
}

static void two_maps_in_one_directory_are_apart(void **state)
{
    struct overflow_map *one = map;

    (void)state;
    write_what_waits(5);
    open_map(16 * MIB);
    struct buffer b = {0};
    assert_int_equal(overflow_map_take(map, UINT32_MAX, 5, &b), OUTCOME_NOT_FOUND);
    overflow_map_close(map);
    map = one;
    assert_take(UINT32_MAX, 5, BATCH);
}

static uint64_t resident_file_bytes(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "RssFile: %llu", &kib) == 1)
            break;
    }
    if (file)
        fclose(file);
    return kib * KIB;
}

/* A window's worth of memory is what was promised, not what went through the file. */
static void pages_of_the_file_are_given_back(void **state)
{
    uint64_t number = 0;

    (void)state;
    uint64_t before = resident_file_bytes();
    while (number < 96 * MIB / BLOCK)
        assert_int_equal(put(1, number++, BLOCK), OUTCOME_OK);
    assert_in_range(resident_file_bytes(), 0, before + 16 * MIB);
    uint64_t most = 0;
    for (uint64_t i = 0; i < number; i++) {
        assert_take(1, i, BLOCK);
        uint64_t now = i % 16 ? 0 : resident_file_bytes();
        most = now > most ? now : most;
    }
    /* 256 blocks are looked at before pages are given back; the kernel maps some around each. */
    assert_in_range(most, 0, before + 24 * MIB);
    assert_in_range(resident_file_bytes(), 0, before + 16 * MIB);
}

static void a_directory_that_cannot_be_written_in_is_told(void **state)
{
    const char *reason = NULL;
    struct overflow_map *other = NULL;
    char name[5000];

    (void)state;
    assert_int_equal(overflow_map_open(&other, "/nowhere/at/all", MIB, &reason), OUTCOME_SYSTEM);
    assert_non_null(strstr(reason, "\"/nowhere/at/all\" beside the window: No such file"));
    assert_non_null(strstr(reason, "--state or TMPDIR"));
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(overflow_map_open(&other, name, MIB, &reason), OUTCOME_SYSTEM);
    assert_null(other);
}

static void blocks_of_all_kinds_may_be_left_when_it_is_closed(void **state)
{
    (void)state;
    write_what_waits(0);
    assert_int_equal(put(1, 0, 100), OUTCOME_OK);
    assert_int_equal(put(1, 1, BLOCK), OUTCOME_OK);
    reopen(MIB);
    assert_int_equal(put(1, 1, 3 * MIB), OUTCOME_FULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_block_comes_back_as_it_was),
        CASE(a_block_that_waits_and_one_that_is_written_are_taken_alike),
        CASE(queues_do_not_know_of_each_other),
        CASE(random_puts_and_takes_of_many_queues),
        CASE(what_was_never_put_is_not_found),
        CASE(a_map_that_is_full_keeps_what_it_is_given_in_memory),
        CASE(room_is_found_again_when_blocks_were_taken),
        CASE(retry_is_nothing_while_the_map_is_not_full),
        CASE(a_full_disk_loses_nothing_and_is_written_to_again),
        CASE(taken_blocks_make_room_on_a_full_disk),
        CASE(the_file_does_not_grow_while_puts_and_takes_alternate),
        CASE(space_of_many_taken_blocks_is_used_again),
        CASE(the_file_has_no_name),
        CASE(a_file_that_a_killed_one_left_is_no_obstacle),
        CASE(two_maps_in_one_directory_are_apart),
        CASE(pages_of_the_file_are_given_back),
        CASE(a_directory_that_cannot_be_written_in_is_told),
        CASE(blocks_of_all_kinds_may_be_left_when_it_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
