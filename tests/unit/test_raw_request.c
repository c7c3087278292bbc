/* Raw requests: which files are taken, the method that is found in them, and whether their end is beyond doubt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/raw_request.h"

static char path[] = "/tmp/hotfleet-raw-XXXXXX";
static struct raw_request raw;

static void write_bytes(const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static int group_setup(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 || close(fd);
}

static int group_teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void assert_refused(const char *file, const char *part)
{
    const char *reason = NULL;

    assert_false(raw_request_read(&raw, file, &reason));
    assert_null(raw.bytes.data);
    if (!strstr(reason, part))
        fail_msg("%s", reason);
}

static void bytes_are_kept_as_they_are(void **state)
{
    static const char bytes[] = "GET /\0\xff\r\n\n\r X";
    const char *reason;

    (void)state;
    write_bytes(bytes, sizeof bytes - 1);
    assert_true(raw_request_read(&raw, path, &reason));
    assert_int_equal(raw.bytes.len, sizeof bytes - 1);
    assert_memory_equal(raw.bytes.data, bytes, sizeof bytes - 1);
    raw_request_fini(&raw);
}

static void files_that_cannot_be_sent_are_refused(void **state)
{
    char fifo[64];
    const char *reason;

    (void)state;
    assert_refused("/nonexistent/file", "No such file");
    assert_refused("/tmp", "no regular file");
    assert_refused("/dev/null", "no regular file");
    snprintf(fifo, sizeof fifo, "%s.fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_refused(fifo, "no regular file");
    unlink(fifo);
    write_bytes("", 0);
    assert_refused(path, "empty");
    assert_int_equal(truncate(path, (off_t)RAW_REQUEST_BYTES_MAX + 1), 0);
    assert_refused(path, "larger than 64 MiB");
    assert_int_equal(truncate(path, RAW_REQUEST_BYTES_MAX), 0);
    assert_true(raw_request_read(&raw, path, &reason));
    assert_int_equal(raw.bytes.len, RAW_REQUEST_BYTES_MAX);
    raw_request_fini(&raw);
}

static void examine(const char *text)
{
    raw_request_fini(&raw);
    buffer_append_str(&raw.bytes, text);
    raw_request_examine(&raw);
}

static void assert_method(const char *text, const char *method)
{
    examine(text);
    if (raw.method_len != strlen(method) || memcmp(raw.method, method, raw.method_len) != 0)
        fail_msg("method \"%.*s\" of \"%s\"", (int)raw.method_len, raw.method, text);
}

static void method_is_the_first_token_or_absent(void **state)
{
    char longest[80];

    (void)state;
    assert_method("HEAD / HTTP/1.1\r\n\r\n", "HEAD");
    assert_method("\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", "HEAD");
    assert_method("get /\n", "get");
    assert_method("M-SEARCH * HTTP/1.1\r\n\r\n", "M-SEARCH");
    assert_method("GET", "GET");
    assert_method("GET\r\n", "GET");
    assert_method("GET\t/ HTTP/1.1\r\n\r\n", "");
    assert_method("G(T / HTTP/1.1\r\n\r\n", "");
    assert_method(" GET / HTTP/1.1\r\n\r\n", "");
    assert_method("\r\n", "");
    assert_method("\x16\x03\x01", "");
    snprintf(longest, sizeof longest, "%064d / HTTP/1.1\r\n", 0);
    examine(longest);
    assert_int_equal(raw.method_len, 64);
    snprintf(longest, sizeof longest, "%065d / HTTP/1.1\r\n", 0);
    examine(longest);
    assert_int_equal(raw.method_len, 0);
    raw_request_fini(&raw);
}

static void end_is_known_of_plain_requests_alone(void **state)
{
    static const char *const whole[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nX: \r\n\r\n",
        "\r\nPOST / HTTP/1.1\r\nHost: a\r\ncontent-length:  3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    };
    static const char *const doubtful[] = {
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 3 \r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-ENCODING: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nX: a\r\n Content-Length: 3\r\n\r\n",
        "( / HTTP/1.1\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        examine(whole[i]);
        if (!raw.is_whole)
            fail_msg("doubted: %s", whole[i]);
    }
    for (size_t i = 0; i < sizeof doubtful / sizeof doubtful[0]; i++) {
        examine(doubtful[i]);
        if (raw.is_whole)
            fail_msg("believed: %s", doubtful[i]);
    }
    raw_request_fini(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_kept_as_they_are),
        cmocka_unit_test(files_that_cannot_be_sent_are_refused),
        cmocka_unit_test(method_is_the_first_token_or_absent),
        cmocka_unit_test(end_is_known_of_plain_requests_alone),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
