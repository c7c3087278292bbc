/* ClientHellos cut into fields, and their hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/client_hello.h"

static void put16(struct buffer *b, unsigned n)
{
    buffer_append_char(b, (char)(n >> 8));
    buffer_append_char(b, (char)n);
}

static void put_extension(struct buffer *b, unsigned type, const char *body, size_t len)
{
    put16(b, type);
    put16(b, (unsigned)len);
    buffer_append(b, body, len);
}

/* The example of the JA4 specification, GREASE among its ciphers and extensions. */
static void make_example(struct buffer *out)
{
    static const uint16_t ciphers[] = {0x0a0a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                                       0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035};
    static const uint16_t empty[] = {0x1b, 0x33, 0x4469, 0x17, 0x2d, 0x05, 0x23, 0x12, 0xff01, 0x0a, 0x0b, 0x15};
    struct buffer all = {0};

    put_extension(&all, 0x5a5a, NULL, 0);
    put_extension(&all, 0, NULL, 0);
    put_extension(&all, 0x10, "\0\3\2h2", 5);
    put_extension(&all, 0x0d, "\0\x10\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01", 18);
    put_extension(&all, 0x2b, "\4\3\4\3\3", 5);
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        /* Empty lists, for the two that hold one. */
        bool list = empty[i] == 0x33 || empty[i] == 0x0a;
        put_extension(&all, empty[i], "\0\0", list ? 2 : 0);
    }
    struct buffer body = {0};
    put16(&body, 0x0303);
    buffer_append(&body, "0123456789abcdef0123456789abcdef", 32);
    buffer_append_char(&body, 0);
    put16(&body, sizeof ciphers);
    for (size_t i = 0; i < sizeof ciphers / sizeof ciphers[0]; i++)
        put16(&body, ciphers[i]);
    buffer_append(&body, "\1\0", 2);
    put16(&body, (unsigned)all.len);
    buffer_append(&body, all.data, all.len);
    buffer_append(out, "\1\0", 2);
    put16(out, (unsigned)body.len);
    buffer_append(out, body.data, body.len);
    buffer_fini(&body);
    buffer_fini(&all);
}

static void example_of_the_specification_gives_its_ja4(void **state)
{
    struct buffer message = {0};
    struct client_hello hello;
    char hash[JA4_SIZE];

    (void)state;
    make_example(&message);
    assert_true(client_hello_parse((const uint8_t *)message.data, message.len, &hello));
    ja4_hash(&hello, hash);
    assert_string_equal(hash, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    buffer_fini(&message);
}

static void fields_are_where_they_stand(void **state)
{
    struct buffer message = {0};
    struct client_hello hello;

    (void)state;
    make_example(&message);
    assert_true(client_hello_parse((const uint8_t *)message.data, message.len, &hello));
    assert_int_equal(hello.version, 0x0303);
    assert_memory_equal(hello.random, "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(hello.ciphers.count, 16);
    assert_int_equal(hello.versions.count, 2);
    assert_int_equal(hello.signatures.count, 8);
    assert_int_equal(client_hello_find(&hello, 16)->len, 5);
    assert_null(client_hello_find(&hello, 41));
    buffer_fini(&message);
}

static void every_cut_and_every_surplus_is_refused(void **state)
{
    struct buffer message = {0};
    struct client_hello hello;

    (void)state;
    make_example(&message);
    for (size_t len = 0; len < message.len; len++)
        assert_false(client_hello_parse((const uint8_t *)message.data, len, &hello));
    buffer_append_char(&message, 0);
    assert_false(client_hello_parse((const uint8_t *)message.data, message.len, &hello));
    buffer_fini(&message);
}

static void inner_lengths_that_lie_are_refused(void **state)
{
    struct buffer message = {0};
    struct client_hello hello;

    (void)state;
    make_example(&message);
    /* The cipher suites' length, odd and beyond the end. */
    message.data[40]++;
    assert_false(client_hello_parse((const uint8_t *)message.data, message.len, &hello));
    message.data[39] = 0x7f;
    assert_false(client_hello_parse((const uint8_t *)message.data, message.len, &hello));
    buffer_fini(&message);
}

static void grease_is_known_by_its_form(void **state)
{
    (void)state;
    assert_true(client_hello_is_grease(0x0a0a));
    assert_true(client_hello_is_grease(0xfafa));
    assert_false(client_hello_is_grease(0x0a1a));
    assert_false(client_hello_is_grease(0x1301));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_of_the_specification_gives_its_ja4),
        cmocka_unit_test(fields_are_where_they_stand),
        cmocka_unit_test(every_cut_and_every_surplus_is_refused),
        cmocka_unit_test(inner_lengths_that_lie_are_refused),
        cmocka_unit_test(grease_is_known_by_its_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
