/* --resolve: what is taken, what is found, and what is said about entries that are not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/resolve_list.h"

#define ITEMS(...)                                                                                  \
    &(const struct option_list)                                                                     \
    {                                                                                               \
        .items = (char *[]){__VA_ARGS__}, .count = sizeof((char *[]){__VA_ARGS__}) / sizeof(char *) \
    }

static struct resolve_list *open_list(const struct option_list *items)
{
    struct resolve_list *list = NULL;
    const char *reason = NULL;

    if (resolve_list_open(items, &list, &reason) != OUTCOME_OK)
        fail_msg("%s", reason);
    return list;
}

/* The addresses found, as text joined by spaces; "" when there are none. */
static const char *found(const struct resolve_list *list, const char *host, uint16_t port)
{
    static char text[512];
    char one[ADDRESS_TEXT_MAX];
    const struct address *addresses = NULL;
    uint32_t count = 0;
    size_t len = 0;

    text[0] = '\0';
    if (!resolve_list_find(list, host, strlen(host), port, &addresses, &count))
        return text;
    assert_int_not_equal(count, 0);
    for (uint32_t i = 0; i < count; i++) {
        address_format(&addresses[i], one);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i ? " " : "", one);
    }
    return text;
}

static void host_and_port_must_both_match(void **state)
{
    (void)state;
    struct resolve_list *list =
        open_list(ITEMS("example.com:443:192.0.2.1", "example.com:80:192.0.2.2", "b.example:443:192.0.2.3"));

    assert_string_equal(found(list, "example.com", 443), "192.0.2.1");
    assert_string_equal(found(list, "example.com", 80), "192.0.2.2");
    assert_string_equal(found(list, "b.example", 443), "192.0.2.3");
    assert_string_equal(found(list, "b.example", 80), "");
    assert_string_equal(found(list, "example.co", 443), "");
    assert_string_equal(found(list, "example.com.au", 443), "");
    assert_string_equal(found(list, "", 443), "");
    resolve_list_close(list);
}

static void case_and_trailing_dot_do_not_matter(void **state)
{
    (void)state;
    struct resolve_list *list = open_list(ITEMS("Example.COM.:443:192.0.2.1"));

    assert_string_equal(found(list, "example.com", 443), "192.0.2.1");
    assert_string_equal(found(list, "EXAMPLE.com.", 443), "192.0.2.1");
    resolve_list_close(list);
}

static void many_addresses_keep_their_order_without_duplicates(void **state)
{
    (void)state;
    struct resolve_list *list =
        open_list(ITEMS("a.example:443:192.0.2.9,2001:db8::1,[2001:db8::2],192.0.2.9,192.0.2.1"));

    assert_string_equal(found(list, "a.example", 443), "192.0.2.9 2001:db8::1 2001:db8::2 192.0.2.1");
    resolve_list_close(list);
}

static void later_item_replaces_an_earlier_one(void **state)
{
    (void)state;
    struct resolve_list *list = open_list(ITEMS("a.example:443:192.0.2.1,192.0.2.2", "A.example:443:192.0.2.3"));

    assert_string_equal(found(list, "a.example", 443), "192.0.2.3");
    resolve_list_close(list);
}

static void star_serves_every_other_host_at_its_port(void **state)
{
    (void)state;
    struct resolve_list *list = open_list(ITEMS("*:443:192.0.2.1", "a.example:443:192.0.2.2"));

    assert_string_equal(found(list, "any.example", 443), "192.0.2.1");
    assert_string_equal(found(list, "a.example", 443), "192.0.2.2");
    assert_string_equal(found(list, "any.example", 80), "");
    resolve_list_close(list);
}

static void addresses_may_stand_as_hosts(void **state)
{
    (void)state;
    struct resolve_list *list = open_list(ITEMS("[2001:DB8:0:0::1]:443:192.0.2.1", "198.51.100.7:80:192.0.2.2"));

    assert_string_equal(found(list, "[2001:db8::1]", 443), "192.0.2.1");
    assert_string_equal(found(list, "198.51.100.7", 80), "192.0.2.2");
    resolve_list_close(list);
}

static void empty_list_finds_nothing(void **state)
{
    (void)state;
    struct resolve_list *list = open_list(&(const struct option_list){0});

    assert_string_equal(found(list, "example.com", 443), "");
    resolve_list_close(list);
}

static void thousands_of_entries_are_found(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    char **items = calloc(COUNT, sizeof *items);
    char text[64];

    for (unsigned i = 0; i < COUNT; i++) {
        items[i] = malloc(64);
        snprintf(items[i], 64, "h%u.example:%u:10.0.%u.%u", i * 7919 % COUNT, 1 + i % 3, i / 256, i % 256);
    }
    struct resolve_list *list = open_list(&(const struct option_list){.items = items, .count = COUNT});
    for (unsigned i = 0; i < COUNT; i++) {
        char host[32];
        snprintf(host, sizeof host, "h%u.example", i * 7919 % COUNT);
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        assert_string_equal(found(list, host, (uint16_t)(1 + i % 3)), text);
        assert_string_equal(found(list, host, (uint16_t)(1 + (i + 1) % 3)), "");
    }
    resolve_list_close(list);
    for (unsigned i = 0; i < COUNT; i++)
        free(items[i]);
    free(items);
}

static void name_with_a_nul_is_not_found(void **state)
{
    (void)state;
    struct resolve_list *list = open_list(ITEMS("a.example:443:192.0.2.1"));
    const struct address *addresses = NULL;
    uint32_t count = 0;

    assert_false(resolve_list_find(list, "a.example\0b", 11, 443, &addresses, &count));
    assert_null(addresses);
    resolve_list_close(list);
}

static void bad_items_are_refused_by_name_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *item, *reason;
    } bad[] = {
        {"", "HOST:PORT:ADDR"},
        {"example.com", "HOST:PORT:ADDR"},
        {"example.com:443", "HOST:PORT:ADDR"},
        {"example.com:443:", "an address is missing"},
        {"example.com:443:192.0.2.1,", "an address is missing"},
        {"example.com:443:,192.0.2.1", "an address is missing"},
        {"example.com:443:192.0.2.256", "\"192.0.2.256\" is not an IP address"},
        {"example.com:443:192.0.2.1,other.example", "\"other.example\" is not an IP address"},
        {"example.com:443:192.0.2.1 ", "is not an IP address"},
        {"example.com:443:[192.0.2.1", "is not an IP address"},
        {":443:192.0.2.1", "the host is missing"},
        {"exam ple.com:443:192.0.2.1", "no host name has"},
        {"*.example.com:443:192.0.2.1", "no host name has"},
        {"b\xc3\xbc"
         "cher.example:443:192.0.2.1",
         "xn--"},
        {"[2001:db8::1:443:192.0.2.1", "in brackets"},
        {"[2001:db8::zz]:443:192.0.2.1", "in brackets"},
        {"2001:db8::1:443:192.0.2.1", "port"},
        {"example.com::192.0.2.1", "the port"},
        {"example.com:0:192.0.2.1", "the port"},
        {"example.com:65536:192.0.2.1", "the port"},
        {"example.com:443x:192.0.2.1", "the port"},
        {"example.com:+443:192.0.2.1", "the port"},
        {"example.com:99999999999999999999:192.0.2.1", "the port"},
        {"+example.com:443:192.0.2.1", "expire"},
        {"-example.com:443", "removed"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct resolve_list *list = NULL;
        const char *reason = NULL;
        char *items[] = {"good.example:443:192.0.2.1", (char *)(uintptr_t)bad[i].item};
        struct option_list two = {.items = items, .count = 2};
        assert_int_equal(resolve_list_open(&two, &list, &reason), OUTCOME_INVALID_HOST);
        assert_null(list);
        if (!strstr(reason, bad[i].item) || !strstr(reason, bad[i].reason))
            fail_msg("\"%s\" does not name \"%s\" or say \"%s\"", reason, bad[i].item, bad[i].reason);
    }
}

static void host_of_any_length_is_refused_when_too_long(void **state)
{
    (void)state;
    struct resolve_list *list = NULL;
    const char *reason = NULL;
    char item[5000];

    memset(item, 'a', sizeof item);
    memcpy(item + sizeof item - 15, ":443:192.0.2.1", 15);
    char *items[] = {item};
    assert_int_equal(resolve_list_open(&(const struct option_list){.items = items, .count = 1}, &list, &reason),
                     OUTCOME_INVALID_HOST);
    assert_non_null(strstr(reason, "too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_port_must_both_match),
        cmocka_unit_test(case_and_trailing_dot_do_not_matter),
        cmocka_unit_test(many_addresses_keep_their_order_without_duplicates),
        cmocka_unit_test(later_item_replaces_an_earlier_one),
        cmocka_unit_test(star_serves_every_other_host_at_its_port),
        cmocka_unit_test(addresses_may_stand_as_hosts),
        cmocka_unit_test(empty_list_finds_nothing),
        cmocka_unit_test(thousands_of_entries_are_found),
        cmocka_unit_test(name_with_a_nul_is_not_found),
        cmocka_unit_test(bad_items_are_refused_by_name_and_reason),
        cmocka_unit_test(host_of_any_length_is_refused_when_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
