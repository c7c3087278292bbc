/* Addresses with ports: what is read, what is refused, and what counts as loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/endpoint.h"

static void addresses_with_ports_are_read(void **state)
{
    static const struct {
        const char *text, *address;
        uint16_t port;
        bool loopback;
    } rows[] = {
        {"127.0.0.1:8080", "127.0.0.1", 8080, true},    {"127.9.8.7:1", "127.9.8.7", 1, true},
        {"localhost:65535", "127.0.0.1", 65535, true},  {"[::1]:80", "::1", 80, true},
        {"0.0.0.0:80", "0.0.0.0", 80, false},           {"192.0.2.7:80", "192.0.2.7", 80, false},
        {"128.0.0.1:80", "128.0.0.1", 80, false},       {"[::]:80", "::", 80, false},
        {"[2001:db8::1]:80", "2001:db8::1", 80, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoint e;
        char text[ADDRESS_TEXT_MAX];
        assert_true(endpoint_parse(rows[i].text, &e));
        address_format(&e.address, text);
        assert_string_equal(text, rows[i].address);
        assert_int_equal(e.port, rows[i].port);
        assert_int_equal(endpoint_is_loopback(&e), rows[i].loopback);
    }
}

static void what_is_no_endpoint_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        "127.0.0.1",
        "127.0.0.1:",
        ":8080",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "::1:80",
        "[::1]",
        "127.0.0.1:80x",
        "127.0.0.1:-1",
        "127.0.0.1: 80",
        "localhost",
        "example.org:80",
        "[::1]80",
        "[::1:80",
        "[127.0.0.1]:80",
        " 127.0.0.1:80",
        "localhost.:80",
        "127.0.0.1:+80",
        "*:80",
        "1:2:3",
        "127.1:8080",
        "127.0.0.1:99999999999",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct endpoint e;
        if (endpoint_parse(texts[i], &e))
            fail_msg("\"%s\" was taken", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_with_ports_are_read),
        cmocka_unit_test(what_is_no_endpoint_is_refused),
    };

    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
