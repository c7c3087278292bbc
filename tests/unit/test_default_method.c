/* The method of lines that name none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/default_method.h"

static struct options options;
static char path[64];

static int setup(void **state)
{
    (void)state;
    options_init(&options);
    snprintf(path, sizeof path, "/tmp/test-default-method-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    return close(fd);
}

static int teardown(void **state)
{
    (void)state;
    options_fini(&options);
    return unlink(path);
}

static void set(const char *name, const char *value)
{
    struct options_error error;

    if (!options_set(&options, name, value, "test", &error))
        fail_msg("%s", error.message);
}

static void write_raw(const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    set("raw_request", path);
}

static void assert_method(const char *wanted)
{
    struct default_method d;

    memset(&d, 0xff, sizeof d);
    assert_true(default_method_find(&d, &options));
    if (!wanted) {
        assert_null(d.method.data);
        return;
    }
    assert_int_equal(d.method.len, strlen(wanted));
    assert_memory_equal(d.method.data, wanted, d.method.len);
}

static void without_options_it_is_get(void **state)
{
    (void)state;
    assert_method("GET");
}

static void data_is_posted(void **state)
{
    (void)state;
    set("data", "x=1");
    assert_method("POST");
}

static void a_method_that_is_given_stands(void **state)
{
    (void)state;
    set("method", "PURGE");
    assert_method("PURGE");
    set("data", "x=1");
    assert_method("PURGE");
}

static void a_raw_request_has_its_own(void **state)
{
    (void)state;
    set("method", "PURGE");
    write_raw("REPORT / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_method("REPORT");
}

static void a_raw_request_that_begins_with_no_token_has_none(void **state)
{
    (void)state;
    write_raw("\r\n\r\n");
    assert_method(NULL);
}

/* Its bytes are the workers'; the leak checker sees to it that they are not kept. */
static void the_bytes_of_a_raw_request_are_not_kept(void **state)
{
    struct default_method d;

    (void)state;
    write_raw("HEAD / HTTP/1.1\r\n\r\n");
    assert_true(default_method_find(&d, &options));
    assert_null(d.raw.bytes.data);
    assert_true(d.method.data >= d.raw.method && d.method.data < d.raw.method + sizeof d.raw.method);
}

static void a_raw_request_that_cannot_be_read_is_told(void **state)
{
    struct default_method d;

    (void)state;
    set("raw_request", "/nowhere/at/all");
    assert_false(default_method_find(&d, &options));
    write_raw("");
    assert_false(default_method_find(&d, &options));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_options_it_is_get),
        CASE(data_is_posted),
        CASE(a_method_that_is_given_stands),
        CASE(a_raw_request_has_its_own),
        CASE(a_raw_request_that_begins_with_no_token_has_none),
        CASE(the_bytes_of_a_raw_request_are_not_kept),
        CASE(a_raw_request_that_cannot_be_read_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
