/* The parts of the resolver that need no name server: entries of `resolvers`, the hosts file, and answers byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/resolver_parts.h"
#include "shm/store.h"

static void on_socket(void *user, ares_socket_t fd, int readable, int writable)
{
    (void)user;
    (void)fd;
    (void)readable;
    (void)writable;
}

static enum outcome try_servers(const char *item, char *servers_out, size_t cap, const char **reason_out)
{
    char *items[] = {(char *)(uintptr_t)item};
    struct options o = {.dns_timeout = 10000, .resolvers = {.items = items, .count = item ? 1 : 0}};
    ares_channel channel;
    struct ares_addr_port_node *nodes = NULL;
    size_t len = 0;

    enum outcome outcome = resolver_channel_open(&channel, &o, false, on_socket, NULL, reason_out);
    if (outcome != OUTCOME_OK)
        return outcome;
    assert_int_equal(ares_get_servers_ports(channel, &nodes), ARES_SUCCESS);
    servers_out[0] = '\0';
    for (const struct ares_addr_port_node *n = nodes; n; n = n->next) {
        struct address a = {.family = n->family == AF_INET ? 4 : 6};
        char text[ADDRESS_TEXT_MAX];
        memcpy(a.bytes, &n->addr, a.family == 4 ? 4 : 16);
        address_format(&a, text);
        assert_int_equal(n->udp_port, n->tcp_port);
        len += (size_t)snprintf(servers_out + len, cap - len, "%s%s %d", len ? ", " : "", text, n->udp_port);
    }
    ares_free_data(nodes);
    resolver_channel_close(channel);
    return OUTCOME_OK;
}

static void every_form_of_a_server_is_read(void **state)
{
    static const struct {
        const char *item, *servers;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1 53"},
        {"192.0.2.1:5353", "192.0.2.1 5353"},
        {"2001:db8::1", "2001:db8::1 53"},
        {"2001:db8::1:5353", "2001:db8::1:5353 53"},
        {"[2001:db8::1]", "2001:db8::1 53"},
        {"[2001:db8::1]:65535", "2001:db8::1 65535"},
        {"192.0.2.2,192.0.2.1:54", "192.0.2.2 53, 192.0.2.1 54"},
    };
    char servers[256];
    const char *reason = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(try_servers(cases[i].item, servers, sizeof servers, &reason), OUTCOME_OK);
        assert_string_equal(servers, cases[i].servers);
    }
    assert_int_equal(try_servers(NULL, servers, sizeof servers, &reason), OUTCOME_OK);
    assert_int_not_equal(strlen(servers), 0); /* the system's */
}

static void bad_server_is_named(void **state)
{
    static const char *const bad[] = {"dns.example",  "192.0.2.1:",     "192.0.2.1:0",    "192.0.2.1:65536",
                                      "192.0.2.1:5x", "192.0.2.256",    "[2001:db8::1]5", "[192.0.2.1",
                                      "1.2.3.4 ",     "2001:db8::zz:53"};
    char servers[256];
    const char *reason = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(try_servers(bad[i], servers, sizeof servers, &reason), OUTCOME_INVALID_HOST);
        if (!strstr(reason, bad[i]))
            fail_msg("\"%s\" does not name \"%s\"", reason, bad[i]);
    }
    assert_int_equal(try_servers("", servers, sizeof servers, &reason), OUTCOME_INVALID_HOST);
    assert_int_equal(try_servers("192.0.2.1,", servers, sizeof servers, &reason), OUTCOME_INVALID_HOST);
}

static void hosts_file_is_read_as_ordinary_tools_do(void **state)
{
    static const char text[] = "# a comment\n"
                               "127.0.0.1\tLocalHost loopback # trailing\n"
                               "\n"
                               "   ::1 localhost\n"
                               "not-an-address oops\n"
                               "10.0.0.1\n"
                               "fe80::1%lo0 scoped\n"
                               "10.0.0.2 a.example a.example b.example\r\n"
                               "10.0.0.3 a.example#x\n"
                               "10.0.0.4 last.example";
    char path[] = "/tmp/test-hosts-XXXXXX";
    int fd = mkstemp(path);
    const struct address *found = NULL;
    uint32_t count = 0;

    (void)state;
    assert_int_equal(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    close(fd);
    struct address_table *hosts = resolver_hosts_open(path);
    unlink(path);
    assert_true(address_table_find(hosts, "localhost", 9, 0, &found, &count));
    assert_int_equal(count, 2);
    assert_int_equal(found[0].family, 4);
    assert_int_equal(found[1].family, 6);
    assert_true(address_table_find(hosts, "a.example", 9, 0, &found, &count));
    assert_int_equal(count, 2);
    assert_int_equal(found[1].bytes[3], 3);
    assert_true(address_table_find(hosts, "b.example", 9, 0, &found, &count));
    assert_true(address_table_find(hosts, "loopback", 8, 0, &found, &count));
    assert_true(address_table_find(hosts, "last.example", 12, 0, &found, &count));
    assert_false(address_table_find(hosts, "oops", 4, 0, &found, &count));
    assert_false(address_table_find(hosts, "scoped", 6, 0, &found, &count));
    assert_false(address_table_find(hosts, "trailing", 8, 0, &found, &count));
    address_table_free(hosts);
}

static void missing_hosts_file_is_empty(void **state)
{
    const struct address *found = NULL;
    uint32_t count = 0;

    (void)state;
    struct address_table *hosts = resolver_hosts_open("/nonexistent/hosts");
    assert_false(address_table_find(hosts, "localhost", 9, 0, &found, &count));
    address_table_free(hosts);
}

/* A question for a.b, of type A, and one answer to it with a pointer to the question's name. */
#define HEAD(answers) "\x12\x34\x81\x80\x00\x01" answers "\x00\x00\x00\x00"
#define QUESTION \
    "\x01"       \
    "a\x01"      \
    "b\x00\x00\x01\x00\x01"
#define RECORD_A(ttl, ip) "\xc0\x0c\x00\x01\x00\x01" ttl "\x00\x04" ip
#define TTL_60            "\x00\x00\x00\x3c"
#define IP_1              "\x0a\x00\x00\x01"

struct sample {
    const char *what, *bytes;
    size_t len;
    enum outcome outcome;
};
#define SAMPLE(what, bytes, outcome)            \
    {                                           \
        what, bytes, sizeof(bytes) - 1, outcome \
    }

static void answers_are_read_strictly(void **state)
{
    static const struct sample samples[] = {
        SAMPLE("one address", HEAD("\x00\x01") QUESTION RECORD_A(TTL_60, IP_1), OUTCOME_OK),
        SAMPLE("bytes behind the answers", HEAD("\x00\x01") QUESTION RECORD_A(TTL_60, IP_1) "xyz", OUTCOME_OK),
        SAMPLE("no answers", HEAD("\x00\x00") QUESTION, OUTCOME_DNS_NXDOMAIN),
        SAMPLE("nothing", "", OUTCOME_DNS_SERVFAIL),
        SAMPLE("half a header", "\x12\x34\x81\x80\x00\x01", OUTCOME_DNS_SERVFAIL),
        SAMPLE("no question", "\x12\x34\x81\x80\x00\x00\x00\x00\x00\x00\x00\x00", OUTCOME_DNS_SERVFAIL),
        SAMPLE("half a question",
               HEAD("\x00\x01") "\x01"
                                "a",
               OUTCOME_DNS_SERVFAIL),
        SAMPLE("fewer answers than told", HEAD("\x00\x02") QUESTION RECORD_A(TTL_60, IP_1), OUTCOME_DNS_SERVFAIL),
        SAMPLE("cut in the data", HEAD("\x00\x01") QUESTION RECORD_A(TTL_60, "\x0a"), OUTCOME_DNS_SERVFAIL),
        SAMPLE("name error", "\x12\x34\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00" QUESTION, OUTCOME_DNS_NXDOMAIN),
        SAMPLE("an unknown code", "\x12\x34\x81\x89\x00\x01\x00\x00\x00\x00\x00\x00" QUESTION, OUTCOME_DNS_SERVFAIL),
        SAMPLE("pointer to itself", HEAD("\x00\x01") QUESTION "\xc0\x15\x00\x01\x00\x01" TTL_60 "\x00\x04" IP_1,
               OUTCOME_DNS_SERVFAIL),
        SAMPLE("pointer ahead", HEAD("\x00\x01") QUESTION "\xc0\x20\x00\x01\x00\x01" TTL_60 "\x00\x04" IP_1,
               OUTCOME_DNS_SERVFAIL),
        SAMPLE("reserved label", HEAD("\x00\x01") QUESTION "\x80\x00\x01\x00\x01" TTL_60 "\x00\x04" IP_1,
               OUTCOME_DNS_SERVFAIL),
        SAMPLE("address of five bytes", HEAD("\x00\x01") QUESTION "\xc0\x0c\x00\x01\x00\x01" TTL_60 "\x00\x05" IP_1 "x",
               OUTCOME_DNS_NXDOMAIN),
        SAMPLE("another class", HEAD("\x00\x01") QUESTION "\xc0\x0c\x00\x01\x00\x03" TTL_60 "\x00\x04" IP_1,
               OUTCOME_DNS_NXDOMAIN),
        SAMPLE("another name",
               HEAD("\x00\x01") QUESTION "\x01"
                                         "c\x00\x00\x01\x00\x01" TTL_60 "\x00\x04" IP_1,
               OUTCOME_DNS_NXDOMAIN),
        SAMPLE("alias cut short", HEAD("\x00\x01") QUESTION "\xc0\x0c\x00\x05\x00\x01" TTL_60 "\x00\x02\x01z",
               OUTCOME_DNS_SERVFAIL),
    };

    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        struct resolver_found found;
        /* Exactly as long as the message, for the address sanitizer. */
        uint8_t *copy = malloc(samples[i].len ? samples[i].len : 1);
        memcpy(copy, samples[i].bytes, samples[i].len);
        enum outcome outcome = resolver_answer_parse(copy, samples[i].len, 4, &found);
        if (outcome != samples[i].outcome)
            fail_msg("%s: %s", samples[i].what, outcome_name(outcome));
        assert_int_equal(found.count, outcome == OUTCOME_OK ? 1 : 0);
        if (outcome == OUTCOME_OK)
            assert_int_equal(found.ttl_s, 60);
        free(found.addresses);
        free(copy);
    }
}

/* Every prefix of a good answer, and every byte of it changed, must be taken or refused without harm. */
static void damaged_answers_do_no_harm(void **state)
{
    static const uint8_t good[] =
        HEAD("\x00\x03") QUESTION "\xc0\x0c\x00\x05\x00\x01" TTL_60 "\x00\x03\x01"
                                  "c\x00" RECORD_A(TTL_60, IP_1) "\x01"
                                                                 "c\x00\x00\x01\x00\x01" TTL_60 "\x00\x04" IP_1;
    struct resolver_found found;

    (void)state;
    assert_int_equal(resolver_answer_parse(good, sizeof good - 1, 4, &found), OUTCOME_OK);
    free(found.addresses);
    for (size_t len = 0; len < sizeof good - 1; len++) {
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, good, len);
        assert_int_not_equal(resolver_answer_parse(copy, len, 4, &found), OUTCOME_OK);
        assert_null(found.addresses);
        free(copy);
    }
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t *copy = malloc(sizeof good - 1);
            memcpy(copy, good, sizeof good - 1);
            copy[at] = (uint8_t)value;
            if (resolver_answer_parse(copy, sizeof good - 1, at % 2 ? 4 : 6, &found) == OUTCOME_OK)
                assert_int_not_equal(found.count, 0);
            free(found.addresses);
            free(copy);
        }
    }
}

static void alias_in_excess_is_refused(void **state)
{
    uint8_t message[1024];
    struct resolver_found found;
    static const uint8_t alias[] = "\xc0\x0c\x00\x05\x00\x01" TTL_60 "\x00\x02\xc0\x0c";
    size_t len = sizeof(HEAD("\x00\x11") QUESTION) - 1;

    (void)state;
    memcpy(message, HEAD("\x00\x11") QUESTION, len);
    for (int i = 0; i < 17; i++, len += sizeof alias - 1)
        memcpy(message + len, alias, sizeof alias - 1);
    assert_int_equal(resolver_answer_parse(message, len, 4, &found), OUTCOME_DNS_SERVFAIL);
    message[7] = 16;
    assert_int_equal(resolver_answer_parse(message, len, 4, &found), OUTCOME_DNS_NXDOMAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_server_is_read),
        cmocka_unit_test(bad_server_is_named),
        cmocka_unit_test(hosts_file_is_read_as_ordinary_tools_do),
        cmocka_unit_test(missing_hosts_file_is_empty),
        cmocka_unit_test(answers_are_read_strictly),
        cmocka_unit_test(damaged_answers_do_no_harm),
        cmocka_unit_test(alias_in_excess_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
