/* Room in the shared address tables: each IP once, runs given back and reused, and full tables left as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/addresses.h"

#define HOSTS   8u
#define IPS     8u
#define REFS    16u
#define WORKERS 2u

struct bench {
    struct iptable table;
    struct addresses *addresses;
    struct address_run runs[HOSTS];
    void *memory;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    size_t bytes = iptable_bytes(HOSTS, IPS, REFS, WORKERS);

    b->memory = aligned_alloc(64, bytes);
    memset(b->memory, 0, bytes);
    iptable_attach(&b->table, b->memory, HOSTS, IPS, REFS, WORKERS);
    for (uint32_t i = 0; i < HOSTS; i++)
        iptable_host_set(&b->table, i, 0, "a.example", 9, 80);
    b->addresses = addresses_new(&b->table);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    addresses_free(b->addresses);
    free(b->memory);
    free(b);
    return 0;
}

static struct address ip(unsigned last)
{
    return (struct address){.family = 4, .bytes = {192, 0, (uint8_t)(last >> 8), (uint8_t)last}};
}

/* Publishes 192.0.x.`first` and the `count` - 1 after it. */
static enum outcome publish(struct bench *b, uint32_t host, unsigned first, uint32_t count)
{
    struct address list[REFS + 1];

    for (uint32_t i = 0; i < count; i++)
        list[i] = ip(first + i);
    return addresses_publish(b->addresses, host, list, NULL, count, &b->runs[host]);
}

/* What a worker is dealt next: the place of the address, whose last byte must be `last`. */
static uint32_t dealt(struct bench *b, uint32_t host, unsigned last)
{
    struct address address;
    struct address wanted = ip(last);
    uint32_t at;

    assert_int_equal(iptable_next_address(&b->table, host, &at, &address), OUTCOME_OK);
    assert_true(address_equal(&address, &wanted));
    return at;
}

static void assert_no_address(struct bench *b, uint32_t host)
{
    struct address address;
    uint32_t at;

    assert_int_equal(iptable_next_address(&b->table, host, &at, &address), OUTCOME_IP_EXHAUSTED);
}

static void a_list_is_dealt_in_its_order(void **state)
{
    struct bench *b = *state;

    assert_no_address(b, 1);
    assert_int_equal(publish(b, 0, 1, 3), OUTCOME_OK);
    dealt(b, 0, 1);
    dealt(b, 0, 2);
    dealt(b, 0, 3);
    dealt(b, 0, 1);
}

static void hosts_that_share_an_address_share_its_place(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, 1), OUTCOME_OK);
    assert_int_equal(publish(b, 1, 1, 1), OUTCOME_OK);
    assert_int_equal(dealt(b, 0, 1), dealt(b, 1, 1));
    addresses_drop(b->addresses, 0, &b->runs[0]);
    assert_no_address(b, 0);
    dealt(b, 1, 1);
    /* Still the same one: host 1 lists it. */
    assert_int_equal(publish(b, 2, 1, 1), OUTCOME_OK);
    assert_int_equal(dealt(b, 2, 1), dealt(b, 1, 1));
}

static void an_address_of_the_other_family_is_another(void **state)
{
    struct bench *b = *state;
    struct address four = ip(1);
    struct address six = four;

    six.family = 6;
    struct address both[] = {four, six};
    assert_int_equal(addresses_publish(b->addresses, 0, both, NULL, 2, &b->runs[0]), OUTCOME_OK);
    assert_int_not_equal(b->table.ip_refs[b->runs[0].first], b->table.ip_refs[b->runs[0].first + 1]);
}

static void a_new_list_takes_the_place_of_the_old(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, 4), OUTCOME_OK);
    assert_int_equal(publish(b, 0, 3, 2), OUTCOME_OK);
    assert_int_equal(b->runs[0].count, 2);
    dealt(b, 0, 3);
    dealt(b, 0, 4);
    dealt(b, 0, 3);
}

static void room_that_was_given_back_is_used_again_and_again(void **state)
{
    struct bench *b = *state;

    for (unsigned round = 0; round < 1000; round++) {
        uint32_t count = 1 + round % 4;
        assert_int_equal(publish(b, round % HOSTS, round % 200, count), OUTCOME_OK);
        addresses_drop(b->addresses, round % HOSTS, &b->runs[round % HOSTS]);
        assert_int_equal(b->runs[round % HOSTS].count, 0);
    }
}

static void replacing_a_list_gives_the_old_ones_room_back(void **state)
{
    struct bench *b = *state;

    for (unsigned round = 0; round < 1000; round++) {
        assert_int_equal(publish(b, 0, round % 200, 1 + round % 4), OUTCOME_OK);
        assert_int_equal(b->runs[0].count, 1 + round % 4);
    }
}

static void dropping_what_was_never_published_does_nothing(void **state)
{
    struct bench *b = *state;

    addresses_drop(b->addresses, 0, &b->runs[0]);
    assert_int_equal(publish(b, 0, 1, 1), OUTCOME_OK);
    addresses_drop(b->addresses, 0, &b->runs[0]);
    addresses_drop(b->addresses, 0, &b->runs[0]);
    assert_no_address(b, 0);
}

static void full_of_addresses_it_refuses_and_changes_nothing(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, IPS - 2), OUTCOME_OK);
    struct address_run before = b->runs[1];
    for (int i = 0; i < 3; i++)
        assert_int_equal(publish(b, 1, 100, 4), OUTCOME_FULL);
    assert_memory_equal(&before, &b->runs[1], sizeof before);
    assert_no_address(b, 1);
    /* The two that were free are free still, and so is the run. */
    assert_int_equal(publish(b, 1, 100, 2), OUTCOME_OK);
    /* The look above took the first turn. */
    dealt(b, 1, 101);
    dealt(b, 1, 100);
    assert_int_equal(publish(b, 2, 200, 1), OUTCOME_FULL);
    /* Known addresses need no room of their own. */
    assert_int_equal(publish(b, 2, 1, 1), OUTCOME_OK);
}

static void a_refused_list_leaves_the_old_one(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, 2), OUTCOME_OK);
    assert_int_equal(publish(b, 0, 50, IPS), OUTCOME_FULL);
    dealt(b, 0, 1);
    dealt(b, 0, 2);
    assert_int_equal(publish(b, 0, 7, 1), OUTCOME_OK);
    dealt(b, 0, 7);
}

static void full_of_references_it_refuses(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, 8), OUTCOME_OK);
    assert_int_equal(publish(b, 1, 1, 8), OUTCOME_OK);
    assert_int_equal(publish(b, 2, 1, 1), OUTCOME_FULL);
    addresses_drop(b->addresses, 0, &b->runs[0]);
    assert_int_equal(publish(b, 2, 1, 8), OUTCOME_OK);
}

static void the_longest_list_fills_the_table_to_the_last_reference(void **state)
{
    struct bench *b = *state;
    struct address list[REFS];

    for (uint32_t i = 0; i < REFS; i++)
        list[i] = ip(i % IPS);
    assert_int_equal(addresses_publish(b->addresses, 0, list, NULL, REFS, &b->runs[0]), OUTCOME_OK);
    assert_int_equal(b->runs[0].first, 0);
    assert_int_equal(addresses_publish(b->addresses, 1, list, NULL, REFS - 1, &b->runs[1]), OUTCOME_FULL);
}

static void an_address_listed_twice_is_counted_twice(void **state)
{
    struct bench *b = *state;
    struct address twice[] = {ip(1), ip(1)};

    assert_int_equal(addresses_publish(b->addresses, 0, twice, NULL, 2, &b->runs[0]), OUTCOME_OK);
    assert_int_equal(publish(b, 1, 1, 1), OUTCOME_OK);
    uint32_t at = dealt(b, 1, 1);
    addresses_drop(b->addresses, 0, &b->runs[0]);
    assert_int_equal(publish(b, 2, 2, 1), OUTCOME_OK);
    assert_int_not_equal(dealt(b, 2, 2), at);
    assert_int_equal(dealt(b, 1, 1), at);
}

/* Its cells still count the open ones. */
static void the_place_of_an_address_with_open_connections_is_not_reused(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, 1), OUTCOME_OK);
    uint32_t at = dealt(b, 0, 1);
    assert_int_equal(iptable_lease(&b->table, 0, 0, at, 0, 0, 0), LEASE_GRANTED);
    addresses_drop(b->addresses, 0, &b->runs[0]);
    for (uint32_t i = 1; i < IPS; i++) {
        assert_int_equal(publish(b, i, 10 + i, 1), OUTCOME_OK);
        assert_int_not_equal(dealt(b, i, 10 + i), at);
    }
    assert_int_equal(publish(b, 0, 30, 1), OUTCOME_FULL);
    iptable_return(&b->table, 0, 0, at);
    assert_int_equal(publish(b, 0, 30, 1), OUTCOME_OK);
    assert_int_equal(dealt(b, 0, 30), at);
}

/* Once failed: an address that comes back finds its old place: name servers that take turns (A, then B, then
 * A again) give one address several places, each with its own count, and max_conns_per_ip is exceeded. */
static void an_address_that_comes_back_has_its_place_and_its_count_again(void **state)
{
    struct bench *b = *state;

    assert_int_equal(publish(b, 0, 1, 1), OUTCOME_OK);
    uint32_t at = dealt(b, 0, 1);
    assert_int_equal(iptable_lease(&b->table, 0, 0, at, 0, 0, 1), LEASE_GRANTED);
    assert_int_equal(publish(b, 0, 2, 1), OUTCOME_OK);
    assert_int_equal(publish(b, 0, 1, 1), OUTCOME_OK);
    assert_int_equal(iptable_lease(&b->table, 1, 0, dealt(b, 0, 1), 0, 0, 1), LEASE_IP_FULL);
}

/* A broken worker writes over the addresses: places are found again all the same, and given back. */
static void addresses_that_were_scribbled_on_leave_the_table_whole(void **state)
{
    struct bench *b = *state;

    for (unsigned round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < IPS; i++)
            assert_int_equal(publish(b, i, 1 + i + 50 * round, 1), OUTCOME_OK);
        memset(b->table.ips, (int)(0x5a + round), IPS * sizeof b->table.ips[0]);
        for (uint32_t i = 0; i < IPS; i++)
            addresses_drop(b->addresses, i, &b->runs[i]);
    }
    assert_int_equal(publish(b, 0, 250, 1), OUTCOME_OK);
    dealt(b, 0, 250);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_list_is_dealt_in_its_order),
        CASE(hosts_that_share_an_address_share_its_place),
        CASE(an_address_of_the_other_family_is_another),
        CASE(a_new_list_takes_the_place_of_the_old),
        CASE(room_that_was_given_back_is_used_again_and_again),
        CASE(replacing_a_list_gives_the_old_ones_room_back),
        CASE(dropping_what_was_never_published_does_nothing),
        CASE(full_of_addresses_it_refuses_and_changes_nothing),
        CASE(a_refused_list_leaves_the_old_one),
        CASE(full_of_references_it_refuses),
        CASE(the_longest_list_fills_the_table_to_the_last_reference),
        CASE(an_address_listed_twice_is_counted_twice),
        CASE(the_place_of_an_address_with_open_connections_is_not_reused),
        CASE(an_address_that_comes_back_has_its_place_and_its_count_again),
        CASE(addresses_that_were_scribbled_on_leave_the_table_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
