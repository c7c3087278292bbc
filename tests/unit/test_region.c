/* The region: that what is made is found again by another mapping, and that nothing else can be attached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/region.h"

static const struct region_sizes small_sizes = {
    .workers = 3,
    .task_ring_capacity = 8192,
    .record_ring_capacity = 4096,
    .hosts_max = 100,
    .ips_max = 50,
    .ip_refs_max = 200,
};
static const char options_text[] = "workers=3\nuser_agent=x\n";

static int region_setup(void **state)
{
    struct region *r = test_malloc(sizeof *r);
    struct buffer options = {0};

    buffer_append_str(&options, options_text);
    assert_int_equal(region_create(r, &small_sizes, &options), OUTCOME_OK);
    buffer_fini(&options);
    *state = r;
    return 0;
}

static int region_teardown(void **state)
{
    region_close(*state);
    test_free(*state);
    return 0;
}

static bool fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void attached_region_shows_what_was_made(void **state)
{
    struct region *r = *state;
    struct region other;
    size_t len;

    assert_int_equal(region_attach(&other, dup(r->fd), false), OUTCOME_OK);
    assert_true(other.base != r->base);
    const char *text = region_options(&other, &len);
    assert_int_equal(len, strlen(options_text));
    assert_memory_equal(text, options_text, strlen(options_text));
    assert_int_equal(other.header->workers, 3);
    assert_int_equal(other.header->coordinator_pid, getpid());
    assert_true(other.header->started_us > 0);
    for (uint32_t i = 0; i <= 3; i++)
        STATS_SET(region_page(r, i), requests, 100 + i);
    for (uint32_t i = 0; i <= 3; i++)
        assert_int_equal(STATS_GET(region_page(&other, i), requests), 100 + i);
    iptable_host_set(&r->table, 99, 1, "example.org", 11, 443);
    assert_string_equal(other.table.hosts[99].name, "example.org");
    region_close(&other);
}

static void rings_work_across_mappings(void **state)
{
    struct region *r = *state;
    struct region other;
    struct ring out, in;
    const void *message;
    uint32_t len;

    assert_int_equal(region_attach(&other, dup(r->fd), false), OUTCOME_OK);
    for (uint32_t i = 0; i < 3; i++) {
        ring_attach_producer(&out, region_task_ring(r, i), 8192);
        ring_attach_consumer(&in, region_task_ring(&other, i), 8192);
        void *room = ring_reserve(&out, RING_MESSAGE_MAX(8192));
        memset(room, (int)i, RING_MESSAGE_MAX(8192));
        ring_commit(&out, RING_MESSAGE_MAX(8192));
        ring_publish(&out);
        ring_attach_producer(&out, region_record_ring(&other, i), 4096);
        memset(ring_reserve(&out, RING_MESSAGE_MAX(4096)), 0xff, RING_MESSAGE_MAX(4096));
        ring_commit(&out, RING_MESSAGE_MAX(4096));
        ring_publish(&out);
        assert_int_equal(ring_peek(&in, &message, &len), OUTCOME_OK);
        assert_int_equal(len, RING_MESSAGE_MAX(8192));
        assert_memory_equal(message, room, RING_MESSAGE_MAX(8192));
    }
    region_close(&other);
}

/* Fills each part to its end with a byte of its own; an overlap would show. */
static void parts_do_not_overlap(void **state)
{
    struct region *r = *state;
    size_t len;

    for (uint32_t i = 0; i < 3; i++) {
        memset(region_task_ring(r, i), (int)(0x10 + i), ring_bytes(8192));
        memset(region_record_ring(r, i), (int)(0x20 + i), ring_bytes(4096));
    }
    for (uint32_t i = 0; i <= 3; i++)
        memset((void *)region_page(r, i), (int)(0x30 + i), sizeof(struct stats_page));
    memset(r->table.hosts, 0x40, 100 * sizeof(struct shm_host));
    memset(r->table.ips, 0x50, 50 * sizeof(struct address));
    memset(r->table.ip_refs, 0x60, 200 * sizeof(uint32_t));
    memset((void *)r->table.host_cells, 0x70, sizeof(uint32_t) * 100 * 3);
    memset((void *)r->table.ip_cells, 0x71, sizeof(uint32_t) * 50 * 3);
    memset((void *)r->table.fleet_cells, 0x72, sizeof(uint32_t) * 3);
    memset((void *)r->table.reach, 0x73, sizeof(struct iptable_reach) * 3);
    for (uint32_t i = 0; i < 3; i++) {
        const uint8_t *task = region_task_ring(r, i);
        const uint8_t *record = region_record_ring(r, i);
        assert_int_equal(task[0], 0x10 + i);
        assert_int_equal(task[ring_bytes(8192) - 1], 0x10 + i);
        assert_int_equal(record[0], 0x20 + i);
        assert_int_equal(record[ring_bytes(4096) - 1], 0x20 + i);
    }
    for (uint32_t i = 0; i <= 3; i++) {
        const uint8_t *page = (const void *)region_page(r, i);
        assert_int_equal((uintptr_t)page % 64, 0);
        assert_int_equal(page[0], 0x30 + i);
        assert_int_equal(page[sizeof(struct stats_page) - 1], 0x30 + i);
    }
    assert_int_equal(((uint8_t *)r->table.hosts)[100 * sizeof(struct shm_host) - 1], 0x40);
    assert_int_equal(((uint8_t *)r->table.ips)[50 * sizeof(struct address) - 1], 0x50);
    assert_int_equal(r->table.ip_refs[199], 0x60606060);
    assert_int_equal(atomic_load(&r->table.host_cells[299]), 0x70707070);
    assert_int_equal(atomic_load(&r->table.ip_cells[149]), 0x71717171);
    assert_int_equal(atomic_load(&r->table.fleet_cells[2]), 0x72727272);
    assert_memory_equal(region_options(r, &len), options_text, strlen(options_text));
    assert_int_equal(r->header->magic, REGION_MAGIC);
}

static void size_is_sealed(void **state)
{
    struct region *r = *state;

    assert_int_not_equal(ftruncate(r->fd, 4096), 0);
    assert_int_not_equal(ftruncate(r->fd, (off_t)r->layout.bytes + 4096), 0);
    assert_int_not_equal(fcntl(r->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    assert_true(fcntl(r->fd, F_GETFD) & FD_CLOEXEC);
}

static void reader_attaches_without_write_access(void **state)
{
    struct region *r = *state;
    struct region reader;
    char path[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(region_attach(&reader, fd, true), OUTCOME_OK);
    assert_int_equal(reader.fd, -1);
    assert_false(fd_is_open(fd));
    assert_int_equal(iptable_fleet_open(&reader.table), 0);
    region_close(&reader);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(region_attach(&reader, fd, false), OUTCOME_SYSTEM);
    assert_int_equal(errno, EACCES);
    assert_false(fd_is_open(fd));
}

/* Tries to attach; the descriptor must be gone and the struct empty after a refusal. */
static void expect_corrupt(int fd)
{
    struct region r;

    assert_true(fd >= 0);
    assert_int_equal(region_attach(&r, fd, false), OUTCOME_CORRUPT);
    assert_null(r.base);
    assert_int_equal(r.fd, -1);
    assert_false(fd_is_open(fd));
}

#define EXPECT_CORRUPT_WITH(r, field, value)                      \
    do {                                                          \
        __typeof__((r)->header->field) kept = (r)->header->field; \
        (r)->header->field = (__typeof__(kept))(value);           \
        assert_true((r)->header->field != kept);                  \
        expect_corrupt(dup((r)->fd));                             \
        (r)->header->field = kept;                                \
    } while (0)

static void every_wrong_field_of_the_header_is_refused(void **state)
{
    struct region *r = *state;
    struct region other;

    EXPECT_CORRUPT_WITH(r, magic, 0);
    EXPECT_CORRUPT_WITH(r, version, REGION_VERSION + 1);
    EXPECT_CORRUPT_WITH(r, workers, 0);
    EXPECT_CORRUPT_WITH(r, workers, 4);
    EXPECT_CORRUPT_WITH(r, workers, UINT32_MAX);
    EXPECT_CORRUPT_WITH(r, bytes, r->layout.bytes - 4096);
    EXPECT_CORRUPT_WITH(r, bytes, UINT64_MAX);
    EXPECT_CORRUPT_WITH(r, options_offset, 0);
    EXPECT_CORRUPT_WITH(r, options_bytes, UINT64_MAX);
    EXPECT_CORRUPT_WITH(r, options_bytes, 100000);
    EXPECT_CORRUPT_WITH(r, pages_offset, UINT64_MAX - 63);
    EXPECT_CORRUPT_WITH(r, rings_offset, r->layout.rings_offset + 8);
    EXPECT_CORRUPT_WITH(r, ring_stride, 0);
    EXPECT_CORRUPT_WITH(r, ring_stride, UINT64_MAX);
    EXPECT_CORRUPT_WITH(r, task_ring_capacity, 4096);
    EXPECT_CORRUPT_WITH(r, task_ring_capacity, 0);
    EXPECT_CORRUPT_WITH(r, record_ring_capacity, 1u << 31);
    EXPECT_CORRUPT_WITH(r, record_ring_capacity, 4097);
    EXPECT_CORRUPT_WITH(r, tables_offset, r->layout.bytes);
    EXPECT_CORRUPT_WITH(r, hosts_max, UINT32_MAX);
    EXPECT_CORRUPT_WITH(r, ips_max, UINT32_MAX);
    EXPECT_CORRUPT_WITH(r, ip_refs_max, UINT32_MAX);
    assert_int_equal(region_attach(&other, dup(r->fd), false), OUTCOME_OK);
    region_close(&other);
}

/* An options text so long that the sums wrap round and agree with each other again. */
static void sizes_that_wrap_round_are_refused(void **state)
{
    struct region *r = *state;

    r->header->options_bytes = (uint64_t)0 - 64;
    r->header->pages_offset = r->header->options_offset - 64;
    expect_corrupt(dup(r->fd));
}

/* A header that agrees with itself over a file of another size. */
static void file_of_another_size_is_refused(void **state)
{
    struct region *r = *state;
    int fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_int_equal(pwrite(fd, r->header, 4096, 0), 4096);
    assert_int_equal(ftruncate(fd, (off_t)r->layout.bytes - 4096), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    expect_corrupt(fd);
}

static void file_that_could_shrink_is_refused(void **state)
{
    struct region *r = *state;
    int fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_int_equal(ftruncate(fd, (off_t)r->layout.bytes), 0);
    assert_int_equal(pwrite(fd, r->header, 4096, 0), 4096);
    expect_corrupt(fd);
}

static void foreign_descriptors_are_refused(void **state)
{
    int pipes[2];
    int empty = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_int_equal(fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    expect_corrupt(empty);
    expect_corrupt(open("/dev/null", O_RDWR | O_CLOEXEC));
    expect_corrupt(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    expect_corrupt(pipes[0]);
    close(pipes[1]);
}

static void paths_of_socket_and_map_are_found_by_readers(void **state)
{
    struct region *r = *state;
    struct region reader;
    char path[REGION_PATH_MAX];
    char longest[REGION_PATH_MAX + 1];

    assert_false(region_admin_path(r, path));
    assert_false(region_set_admin_path(r, ""));
    assert_false(region_set_admin_path(r, "relative/admin.sock"));
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[REGION_PATH_MAX] = '\0';
    assert_false(region_set_admin_path(r, longest));
    longest[REGION_PATH_MAX - 1] = '\0';
    assert_true(region_set_admin_path(r, longest));
    assert_true(region_set_admin_path(r, "/tmp/x/admin.sock"));
    assert_int_equal(region_attach(&reader, dup(r->fd), true), OUTCOME_OK);
    assert_true(region_admin_path(&reader, path));
    assert_string_equal(path, "/tmp/x/admin.sock");
    assert_false(region_state_dir(&reader, path));
    assert_false(region_set_state_dir(r, "relative"));
    assert_true(region_set_state_dir(r, "/tmp/x"));
    assert_true(region_state_dir(&reader, path));
    assert_string_equal(path, "/tmp/x");
    /* A worker gone wild scribbles later. */
    memset(r->header->state_dir, '/', REGION_PATH_MAX);
    assert_false(region_state_dir(&reader, path));
    expect_corrupt(dup(r->fd));
    assert_true(region_set_state_dir(r, "/tmp/x"));
    memset(r->header->admin_path, '/', REGION_PATH_MAX);
    assert_false(region_admin_path(&reader, path));
    region_close(&reader);
    expect_corrupt(dup(r->fd));
}

/* The checked copy counts, not what a broken worker makes of the header later. */
static void scribbled_header_moves_nothing(void **state)
{
    struct region *r = *state;
    struct stats_page *page = region_page(r, 2);
    void *ring = region_record_ring(r, 1);
    size_t len;

    memset((void *)r->header, 0xff, sizeof *r->header);
    assert_ptr_equal(region_page(r, 2), page);
    assert_ptr_equal(region_record_ring(r, 1), ring);
    region_options(r, &len);
    assert_int_equal(len, strlen(options_text));
}

static void largest_region_costs_nothing_until_touched(void **state)
{
    struct region r;
    struct stat st;
    const struct region_sizes sizes = {
        .workers = REGION_WORKERS_MAX,
        .task_ring_capacity = 1u << 20,
        .record_ring_capacity = 1u << 22,
        .hosts_max = 4194304,
        .ips_max = 4194304,
        .ip_refs_max = 4194304,
    };

    (void)state;
    assert_int_equal(region_create(&r, &sizes, NULL), OUTCOME_OK);
    assert_int_equal(fstat(r.fd, &st), 0);
    assert_true(st.st_size > (off_t)3 << 30);
    assert_true(iptable_lease(&r.table, 63, 10, 10, 5, 5, 5) == LEASE_GRANTED);
    iptable_reclaim(&r.table, 63);
    assert_int_equal(iptable_fleet_open(&r.table), 0);
    assert_int_equal(fstat(r.fd, &st), 0);
    assert_true(st.st_blocks * 512 < 2 << 20);
    region_close(&r);
}

static void senseless_sizes_are_refused(void **state)
{
    struct region r;
    struct region_sizes sizes = small_sizes;

    (void)state;
    sizes.workers = 0;
    assert_int_equal(region_create(&r, &sizes, NULL), OUTCOME_SYSTEM);
    assert_int_equal(errno, EINVAL);
    sizes.workers = REGION_WORKERS_MAX + 1;
    assert_int_equal(region_create(&r, &sizes, NULL), OUTCOME_SYSTEM);
    sizes = small_sizes;
    sizes.task_ring_capacity = 5000;
    assert_int_equal(region_create(&r, &sizes, NULL), OUTCOME_SYSTEM);
    sizes.task_ring_capacity = 2048;
    assert_int_equal(region_create(&r, &sizes, NULL), OUTCOME_SYSTEM);
    assert_int_equal(r.fd, -1);
}

#define REGION_TEST(f) cmocka_unit_test_setup_teardown(f, region_setup, region_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REGION_TEST(attached_region_shows_what_was_made),
        REGION_TEST(rings_work_across_mappings),
        REGION_TEST(parts_do_not_overlap),
        REGION_TEST(size_is_sealed),
        REGION_TEST(reader_attaches_without_write_access),
        REGION_TEST(every_wrong_field_of_the_header_is_refused),
        REGION_TEST(sizes_that_wrap_round_are_refused),
        REGION_TEST(file_of_another_size_is_refused),
        REGION_TEST(file_that_could_shrink_is_refused),
        REGION_TEST(foreign_descriptors_are_refused),
        REGION_TEST(paths_of_socket_and_map_are_found_by_readers),
        REGION_TEST(scribbled_header_moves_nothing),
        cmocka_unit_test(largest_region_costs_nothing_until_touched),
        cmocka_unit_test(senseless_sizes_are_refused),
    };

    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
