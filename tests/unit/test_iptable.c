/* Leases against limits, address dealing, and what bad indices and deaths do. Races are the business of stress_cells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shm/iptable.h"

#define HOSTS   8u
#define IPS     16u
#define REFS    32u
#define WORKERS 4u

static int table_setup(void **state)
{
    struct iptable *t = test_malloc(sizeof *t);
    size_t bytes = iptable_bytes(HOSTS, IPS, REFS, WORKERS);
    void *memory = aligned_alloc(64, bytes);

    assert_non_null(memory);
    memset(memory, 0, bytes);
    iptable_attach(t, memory, HOSTS, IPS, REFS, WORKERS);
    for (uint32_t i = 0; i < IPS; i++)
        t->ips[i] = (struct address){.family = 4, .bytes = {192, 0, 2, (uint8_t)i}};
    *state = t;
    return 0;
}

static int table_teardown(void **state)
{
    struct iptable *t = *state;

    free((void *)t->fleet_cells);
    test_free(t);
    return 0;
}

static void publish_ips(struct iptable *t, uint32_t host, uint32_t first, const uint32_t *ips, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        t->ip_refs[first + i] = ips[i];
    iptable_host_publish(t, host, first, count);
}

/* Asserts the sums of fleet, host 1 and ip 2. */
static void expect_open(const struct iptable *t, uint32_t fleet, uint32_t host, uint32_t ip)
{
    assert_int_equal(iptable_fleet_open(t), fleet);
    assert_int_equal(iptable_host_open(t, 1), host);
    assert_int_equal(iptable_ip_open(t, 2), ip);
}

static void host_is_written_under_an_even_generation(void **state)
{
    struct iptable *t = *state;
    uint32_t first = iptable_host_set(t, 3, 1, "example.org", 11, 8443);
    const struct shm_host *h = &t->hosts[3];

    assert_true(first != 0 && first % 2 == 0);
    assert_int_equal(atomic_load(&h->generation), first);
    assert_string_equal(h->name, "example.org");
    assert_int_equal(h->name_len, 11);
    assert_int_equal(h->port, 8443);
    assert_int_equal(h->scheme, 1);
    uint32_t second = iptable_host_set(t, 3, 0, "b.example", 9, 80);
    assert_true(second != first && second % 2 == 0);
    assert_string_equal(h->name, "b.example");
    assert_int_equal(h->name[10], '\0');
}

static void longest_name_keeps_its_end(void **state)
{
    struct iptable *t = *state;
    char name[HOST_NAME_MAX_BYTES];

    memset(name, 'a', sizeof name);
    iptable_host_set(t, 0, 0, name, HOST_NAME_MAX_BYTES - 1, 80);
    assert_int_equal(strlen(t->hosts[0].name), HOST_NAME_MAX_BYTES - 1);
    assert_int_equal(t->hosts[0].name_len, HOST_NAME_MAX_BYTES - 1);
}

static void generation_zero_is_never_given(void **state)
{
    struct iptable *t = *state;

    atomic_store(&t->hosts[0].generation, UINT32_MAX - 1);
    assert_int_equal(iptable_host_set(t, 0, 0, "a", 1, 80), 2);
    /* Left odd by a coordinator that died in the middle. */
    atomic_store(&t->hosts[0].generation, 7);
    assert_int_equal(iptable_host_set(t, 0, 0, "a", 1, 80), 8);
}

static void rewritten_host_starts_blank(void **state)
{
    struct iptable *t = *state;
    uint32_t ip;
    struct address a;

    iptable_host_set(t, 1, 0, "a", 1, 80);
    publish_ips(t, 1, 0, (const uint32_t[]){4}, 1);
    atomic_store(&t->hosts[1].flags, HOST_HTTP2);
    atomic_store(&t->hosts[1].streams_max, 100);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_OK);
    iptable_host_set(t, 1, 0, "b", 1, 80);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_IP_EXHAUSTED);
    assert_int_equal(atomic_load(&t->hosts[1].flags), 0);
    assert_int_equal(atomic_load(&t->hosts[1].streams_max), 0);
}

static bool lists(const struct iptable *t, uint32_t index, uint32_t ip)
{
    uint32_t ref;

    return iptable_find(t, index, ip, &ref);
}

static void a_new_list_has_a_new_version_and_its_own_addresses(void **state)
{
    struct iptable *t = *state;

    publish_ips(t, 1, 7, (const uint32_t[]){5, 3}, 2);
    uint64_t version = iptable_list_version(t, 1);
    assert_true(lists(t, 1, 5) && lists(t, 1, 3));
    assert_false(lists(t, 1, 9));
    publish_ips(t, 1, 7, (const uint32_t[]){9, 3}, 2);
    assert_true(iptable_list_version(t, 1) != version);
    assert_false(lists(t, 1, 5));
    assert_true(lists(t, 1, 9));
    assert_false(lists(t, HOSTS, 5));
    /* A list that a broken process wrote points nowhere. */
    atomic_store(&t->hosts[1].addresses, UINT64_C(0xfffffff0) << 32 | UINT64_C(0xffff) << 16);
    assert_false(lists(t, 1, 5));
}

static void access_stands_beside_the_address_and_is_changed_from_what_is_named(void **state)
{
    struct iptable *t = *state;
    struct iptable_entry entry;
    uint32_t ref;

    publish_ips(t, 1, 3, (uint32_t[]){5, 3}, 2);
    assert_true(iptable_find(t, 1, 3, &ref));
    assert_int_equal(ref, 4);
    assert_int_equal(iptable_access_of(t, ref, 3), ACCESS_UNKNOWN);
    assert_true(iptable_set_access(t, 1, 3, ACCESS_WHITE, ACCESS_LEARNS_WHITE));
    assert_false(iptable_set_access(t, 1, 3, ACCESS_WHITE, ACCESS_ANY));
    assert_true(iptable_set_access(t, 1, 3, ACCESS_BLACK, ACCESS_LEARNS_BLACK));
    assert_false(iptable_set_access(t, 1, 3, ACCESS_BLACK, ACCESS_LEARNS_BLACK));
    assert_false(iptable_set_access(t, 1, 3, ACCESS_WHITE, ACCESS_LEARNS_WHITE));
    assert_int_equal(iptable_access_of(t, ref, 3), ACCESS_BLACK);
    assert_int_equal(iptable_access_of(t, ref, 5), ACCESS_UNKNOWN);
    assert_int_equal(iptable_access_of(t, IP_REF_NONE, 3), ACCESS_UNKNOWN);
    assert_true(iptable_set_access(t, 1, 5, ACCESS_FIXED, ACCESS_ANY));
    assert_false(iptable_set_access(t, 1, 5, ACCESS_BLACK, ACCESS_LEARNS_BLACK));
    assert_false(iptable_set_access(t, 1, 9, ACCESS_BLACK, ACCESS_ANY));
    assert_false(iptable_set_access(t, HOSTS, 5, ACCESS_BLACK, ACCESS_ANY));
    /* Whoever deals, finds or lists addresses sees them as before. */
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(iptable_next(t, 1, &entry), OUTCOME_OK);
        assert_int_equal(entry.ip, i % 2 ? 3 : 5);
        assert_int_equal(entry.ref, i % 2 ? 4 : 3);
        assert_int_equal(entry.access, i % 2 ? ACCESS_BLACK : ACCESS_FIXED);
    }
    assert_int_equal(iptable_at(t, 1, 7, &entry), OUTCOME_OK);
    assert_int_equal(entry.ip, 3);
    assert_int_equal(iptable_at(t, HOSTS, 0, &entry), OUTCOME_CORRUPT);
    assert_true(lists(t, 1, 3) && lists(t, 1, 5));
    publish_ips(t, 1, 7, (uint32_t[]){9}, 1);
    assert_int_equal(iptable_access_of(t, 4, 3), ACCESS_BLACK);
    assert_false(iptable_set_access(t, 1, 3, ACCESS_WHITE, ACCESS_ANY));
}

static void addresses_are_dealt_in_turn(void **state)
{
    struct iptable *t = *state;
    static const uint32_t list[] = {5, 3, 9};
    uint32_t ip;
    struct address a;

    publish_ips(t, 1, 7, list, 3);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_OK);
        assert_int_equal(ip, list[i % 3]);
        assert_true(address_equal(&a, &t->ips[ip]));
    }
}

static void new_list_replaces_the_old(void **state)
{
    struct iptable *t = *state;
    uint32_t ip;
    struct address a;

    publish_ips(t, 1, 0, (const uint32_t[]){1, 2}, 2);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_OK);
    uint64_t word = atomic_load(&t->hosts[1].addresses);
    publish_ips(t, 1, 0, (const uint32_t[]){6, 6}, 2);
    assert_true(atomic_load(&t->hosts[1].addresses) != word);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_OK);
    assert_int_equal(ip, 6);
    iptable_host_publish(t, 1, 0, 0);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_IP_EXHAUSTED);
}

static void bad_indices_of_a_list_are_corrupt(void **state)
{
    struct iptable *t = *state;
    uint32_t ip;
    struct address a;

    assert_int_equal(iptable_next_address(t, HOSTS, &ip, &a), OUTCOME_CORRUPT);
    assert_int_equal(iptable_next_address(t, UINT32_MAX, &ip, &a), OUTCOME_CORRUPT);
    publish_ips(t, 1, REFS - 1, (const uint32_t[]){IPS - 1}, 1);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_OK);
    t->ip_refs[REFS - 1] = IPS;
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_CORRUPT);
    t->ip_refs[REFS - 1] = UINT32_MAX;
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_CORRUPT);
    /* first beyond the end, and a count that runs over it */
    atomic_store(&t->hosts[1].addresses, (uint64_t)REFS << 32 | 1 << 16);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_CORRUPT);
    atomic_store(&t->hosts[1].addresses, (uint64_t)(REFS + 1) << 32 | 1 << 16);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_CORRUPT);
    atomic_store(&t->hosts[1].addresses, (uint64_t)UINT32_MAX << 32 | 0xffff0000u);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_CORRUPT);
    atomic_store(&t->hosts[1].addresses, (uint64_t)(REFS - 1) << 32 | 2 << 16);
    assert_int_equal(iptable_next_address(t, 1, &ip, &a), OUTCOME_CORRUPT);
}

static void lease_counts_in_all_three_sums(void **state)
{
    struct iptable *t = *state;

    assert_int_equal(iptable_lease(t, 0, 1, 2, 9, 9, 9), LEASE_GRANTED);
    assert_int_equal(iptable_lease(t, 3, 1, IP_NONE, 9, 9, 9), LEASE_GRANTED);
    expect_open(t, 2, 2, 1);
    assert_int_equal(iptable_host_cell(t, 1, 0), 1);
    assert_int_equal(iptable_host_cell(t, 1, 1), 0);
    assert_int_equal(iptable_host_cell(t, 1, 3), 1);
    iptable_return(t, 0, 1, 2);
    iptable_return(t, 3, 1, IP_NONE);
    expect_open(t, 0, 0, 0);
}

static void lease_at_each_limit_is_refused_and_leaves_nothing(void **state)
{
    struct iptable *t = *state;

    assert_int_equal(iptable_lease(t, 0, 1, 2, 9, 9, 9), LEASE_GRANTED);
    assert_int_equal(iptable_lease(t, 1, 1, 2, 9, 9, 9), LEASE_GRANTED);
    assert_int_equal(iptable_lease(t, 2, 1, 2, 2, 9, 9), LEASE_FLEET_FULL);
    expect_open(t, 2, 2, 2);
    assert_int_equal(iptable_lease(t, 2, 1, 2, 3, 2, 9), LEASE_HOST_FULL);
    expect_open(t, 2, 2, 2);
    assert_int_equal(iptable_lease(t, 2, 1, 2, 3, 3, 2), LEASE_IP_FULL);
    expect_open(t, 2, 2, 2);
    assert_int_equal(iptable_lease(t, 2, 1, 2, 3, 3, 3), LEASE_GRANTED);
    assert_int_equal(iptable_lease(t, 2, 1, IP_NONE, 4, 4, 1), LEASE_GRANTED);
    expect_open(t, 4, 4, 3);
}

static void limit_of_zero_does_not_bind(void **state)
{
    struct iptable *t = *state;

    for (int i = 0; i < 1000; i++)
        assert_int_equal(iptable_lease(t, 0, 1, 2, 0, 0, 0), LEASE_GRANTED);
    expect_open(t, 1000, 1000, 1000);
}

static void returning_too_often_stops_at_zero(void **state)
{
    struct iptable *t = *state;

    assert_int_equal(iptable_lease(t, 0, 1, 2, 1, 1, 1), LEASE_GRANTED);
    for (int i = 0; i < 3; i++)
        iptable_return(t, 0, 1, 2);
    iptable_return(t, 1, 1, 2);
    expect_open(t, 0, 0, 0);
    assert_int_equal(iptable_lease(t, 0, 1, 2, 1, 1, 1), LEASE_GRANTED);
    assert_int_equal(iptable_lease(t, 0, 1, 2, 1, 1, 1), LEASE_FLEET_FULL);
}

static void bad_indices_of_a_lease_are_refused(void **state)
{
    struct iptable *t = *state;

    assert_int_equal(iptable_lease(t, WORKERS, 1, 2, 0, 0, 0), LEASE_FLEET_FULL);
    assert_int_equal(iptable_lease(t, 0, HOSTS, 2, 0, 0, 0), LEASE_HOST_FULL);
    assert_int_equal(iptable_lease(t, 0, 1, IPS, 0, 0, 0), LEASE_IP_FULL);
    assert_int_equal(iptable_lease(t, 0, 1, 2, 0, 0, 0), LEASE_GRANTED);
    iptable_return(t, WORKERS, 1, 2);
    iptable_return(t, 0, HOSTS, 2);
    iptable_return(t, 0, 1, IPS);
    expect_open(t, 1, 1, 1);
    assert_int_equal(iptable_host_open(t, HOSTS), 0);
    assert_int_equal(iptable_ip_open(t, IP_NONE), 0);
    assert_int_equal(iptable_host_cell(t, 1, WORKERS), 0);
    iptable_reclaim(t, WORKERS);
    expect_open(t, 1, 1, 1);
}

static void reclaim_zeroes_the_dead_workers_cells_alone(void **state)
{
    struct iptable *t = *state;

    for (uint32_t host = 0; host < HOSTS; host++) {
        for (uint32_t worker = 0; worker < WORKERS; worker++) {
            assert_int_equal(iptable_lease(t, worker, host, host * 2, 0, 0, 0), LEASE_GRANTED);
            assert_int_equal(iptable_lease(t, worker, host, host * 2 + 1, 0, 0, 0), LEASE_GRANTED);
        }
    }
    iptable_reclaim(t, 2);
    assert_int_equal(iptable_fleet_open(t), 2 * HOSTS * (WORKERS - 1));
    for (uint32_t host = 0; host < HOSTS; host++) {
        assert_int_equal(iptable_host_cell(t, host, 2), 0);
        assert_int_equal(iptable_host_open(t, host), 2 * (WORKERS - 1));
    }
    for (uint32_t ip = 0; ip < IPS; ip++)
        assert_int_equal(iptable_ip_open(t, ip), WORKERS - 1);
    /* The replacement starts anew, and is reclaimed as well. */
    assert_int_equal(iptable_lease(t, 2, HOSTS - 1, IPS - 1, 0, 0, 0), LEASE_GRANTED);
    iptable_reclaim(t, 2);
    assert_int_equal(iptable_fleet_open(t), 2 * HOSTS * (WORKERS - 1));
}

/* A broken worker's numbers make limits bind, never wrap. */
static void wild_cell_counts_as_full(void **state)
{
    struct iptable *t = *state;

    atomic_store(&t->fleet_cells[0], UINT32_MAX);
    atomic_store(&t->fleet_cells[1], 2);
    assert_int_equal(iptable_fleet_open(t), UINT32_MAX);
    assert_int_equal(iptable_lease(t, 2, 1, 2, 100, 0, 0), LEASE_FLEET_FULL);
    atomic_store(&t->reach[0].hosts, UINT32_MAX);
    atomic_store(&t->reach[0].ips, UINT32_MAX);
    iptable_reclaim(t, 0);
    assert_int_equal(iptable_fleet_open(t), 2);
}

/* It scribbles on its cells and on how far they reach, and dies. */
static void reclaim_does_not_ask_the_dead_how_far_its_cells_go(void **state)
{
    static const uint32_t told[] = {0, 1, HOSTS, UINT32_MAX};
    struct iptable *t = *state;

    iptable_host_set(t, HOSTS - 1, 0, "a.test", 6, 80);
    iptable_ip_set(t, IPS - 1, &(struct address){.family = 4});
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        atomic_store(&t->host_cells[(HOSTS - 1) * WORKERS + 1], 7);
        atomic_store(&t->ip_cells[(IPS - 1) * WORKERS + 1], UINT32_MAX);
        atomic_store(&t->reach[1].hosts, told[i]);
        atomic_store(&t->reach[1].ips, told[i]);
        iptable_reclaim(t, 1);
        assert_int_equal(iptable_host_open(t, HOSTS - 1), 0);
        assert_int_equal(iptable_ip_open(t, IPS - 1), 0);
    }
}

static void what_stands_in_the_cells_of_a_new_index_does_not_count(void **state)
{
    struct iptable *t = *state;

    for (uint32_t i = 0; i < HOSTS * WORKERS; i++)
        atomic_store(&t->host_cells[i], i + 1);
    for (uint32_t i = 0; i < IPS * WORKERS; i++)
        atomic_store(&t->ip_cells[i], i + 1);
    iptable_host_set(t, 1, 0, "a.test", 6, 80);
    iptable_ip_set(t, 2, &(struct address){.family = 4});
    assert_int_equal(iptable_host_open(t, 1), 0);
    assert_int_equal(iptable_ip_open(t, 2), 0);
    /* Used again, it keeps what was leased since. */
    assert_int_equal(iptable_lease(t, 0, 1, 2, 0, 0, 0), LEASE_GRANTED);
    iptable_host_set(t, 1, 0, "b.test", 6, 80);
    iptable_ip_set(t, 2, &(struct address){.family = 4, .bytes = {1}});
    expect_open(t, 1, 1, 1);
    assert_int_equal(iptable_fleet_cell(t, 0), 1);
    assert_int_equal(iptable_fleet_cell(t, WORKERS), 0);
}

#define TABLE_TEST(f) cmocka_unit_test_setup_teardown(f, table_setup, table_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(access_stands_beside_the_address_and_is_changed_from_what_is_named),
        TABLE_TEST(host_is_written_under_an_even_generation),
        TABLE_TEST(longest_name_keeps_its_end),
        TABLE_TEST(generation_zero_is_never_given),
        TABLE_TEST(rewritten_host_starts_blank),
        TABLE_TEST(a_new_list_has_a_new_version_and_its_own_addresses),
        TABLE_TEST(addresses_are_dealt_in_turn),
        TABLE_TEST(new_list_replaces_the_old),
        TABLE_TEST(bad_indices_of_a_list_are_corrupt),
        TABLE_TEST(lease_counts_in_all_three_sums),
        TABLE_TEST(lease_at_each_limit_is_refused_and_leaves_nothing),
        TABLE_TEST(limit_of_zero_does_not_bind),
        TABLE_TEST(returning_too_often_stops_at_zero),
        TABLE_TEST(bad_indices_of_a_lease_are_refused),
        TABLE_TEST(reclaim_zeroes_the_dead_workers_cells_alone),
        TABLE_TEST(wild_cell_counts_as_full),
        TABLE_TEST(reclaim_does_not_ask_the_dead_how_far_its_cells_go),
        TABLE_TEST(what_stands_in_the_cells_of_a_new_index_does_not_count),
    };

    return cmocka_run_group_tests_name("iptable", tests, NULL, NULL);
}
