/* The record's lines: the keys in their order, which of them are left out when, and that each line is JSON whatever the
 * bytes are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "common/record.h"

#define SPAN(text) ((struct span){(text), sizeof(text) - 1})

static struct buffer out, members;
static const struct address server_ip = {.family = 4, .bytes = {192, 0, 2, 7}};
static const struct address own_ip = {.family = 6, .bytes = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};

static struct record_connection connection(void)
{
    return (struct record_connection){
        .host_ip = &server_ip,
        .local_ip = &own_ip,
        .http_version = "2",
        .tls_version = "TLSv1.3",
        .tls_cipher = "TLS_AES_128_GCM_SHA256",
        .tls_resumed = true,
        .sni = SPAN("a.example"),
    };
}

static void set_connection(struct record_connection c)
{
    buffer_clear(&members);
    record_format_connection(&members, &c);
}

static int setup(void **state)
{
    (void)state;
    out = members = (struct buffer){0};
    set_connection(connection());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buffer_fini(&out);
    buffer_fini(&members);
    return 0;
}

static struct record refused(void)
{
    return (struct record){
        .seq = 7,
        .input = SPAN("nonsense"),
        .timestamp_wall_us = UINT64_C(1767322984678901),
        .outcome = OUTCOME_INVALID_URL,
        .content_length = -1,
    };
}

static const uint16_t chain[] = {301, 302};
static const uint8_t digest[32] = {0x00, 0x01, 0xab, [31] = 0xff};

static struct record answered(void)
{
    return (struct record){
        .seq = 1,
        .input = SPAN("https://a.example/x?y"),
        .url = SPAN("https://a.example/x?y"),
        .host = SPAN("a.example"),
        .path = SPAN("/x"),
        .scheme = "https",
        .port = 443,
        .timestamp_wall_us = 1000000,
        .outcome = OUTCOME_OK,
        .method = SPAN("GET"),
        .status = 200,
        .content_type = SPAN("text/html"),
        .location = SPAN("/z"),
        .webserver = SPAN("nginx"),
        .content_length = 0,
        .final_url = SPAN("https://b.example/"),
        .chain = chain,
        .chain_count = 2,
        .connection = {members.data, members.len},
        .worker = 3,
        .conn_id = 12,
        .reused = true,
        .attempts = 2,
        .total_us = 12345,
        .with_timings = true,
        .dns_us = 1000,
        .connect_us = 2000,
        .tls_us = 3000,
        .ttfb_us = 4001,
        .bytes_wire = 10,
        .bytes_body = 20,
        .truncated = true,
        .sha256 = digest,
        .tag = SPAN("{\"k\":[1,null]}"),
    };
}

static void assert_line(const struct record *r, const char *wanted)
{
    buffer_clear(&out);
    record_format(&out, r);
    buffer_append_char(&out, '\0');
    assert_string_equal(out.data, wanted);
}

/* The line as a JSON object; the caller gives it back. */
static json_t *parsed(const struct record *r)
{
    json_error_t error;

    buffer_clear(&out);
    record_format(&out, r);
    assert_true(out.len > 2);
    assert_ptr_equal(memchr(out.data, '\n', out.len), out.data + out.len - 1);
    json_t *object = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!object)
        fail_msg("%s: %.*s", error.text, (int)out.len, out.data);
    return object;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (!text)
        fail_msg("no text at \"%s\"", key);
    return text;
}

static void a_refused_line_has_what_is_always_there(void **state)
{
    struct record r = refused();

    (void)state;
    assert_line(&r, "{\"seq\":7,\"input\":\"nonsense\",\"timestamp\":\"2026-01-02T03:03:04.678901Z\",\"failed\":true,"
                    "\"error_code\":\"invalid-url\",\"error\":\"the line is not a valid http or https URL\","
                    "\"time\":\"0.000ms\"}\n");
}

static void an_answer_has_all_keys_in_their_order(void **state)
{
    struct record r = answered();

    (void)state;
    assert_line(
        &r,
        "{\"seq\":1,\"input\":\"https://a.example/x?y\",\"url\":\"https://a.example/x?y\",\"scheme\":\"https\","
        "\"host\":\"a.example\",\"port\":\"443\",\"path\":\"/x\",\"timestamp\":\"1970-01-01T00:00:01.000000Z\","
        "\"failed\":false,\"method\":\"GET\",\"status_code\":200,\"content_type\":\"text/html\",\"content_length\":0,"
        "\"location\":\"/z\",\"webserver\":\"nginx\",\"final_url\":\"https://b.example/\","
        "\"chain_status_codes\":[301,302,200],\"host_ip\":\"192.0.2.7\",\"local_ip\":\"2001:db8::1\","
        "\"http_version\":\"2\",\"tls\":{\"version\":\"TLSv1.3\",\"cipher\":\"TLS_AES_128_GCM_SHA256\","
        "\"resumed\":true},\"sni\":\"a.example\",\"time\":\"12.345ms\",\"timings\":{\"dns\":1.000,\"connect\":2.000,"
        "\"tls\":3.000,\"ttfb\":4.001,\"total\":12.345},\"attempts\":2,\"worker\":3,\"conn_id\":12,\"reused\":true,"
        "\"bytes_wire\":10,\"bytes_body\":20,\"truncated\":true,\"hash\":{\"body_sha256\":"
        "\"0001ab00000000000000000000000000000000000000000000000000000000ff\"},\"tag\":{\"k\":[1,null]}}\n");
}

static void absent_parts_have_no_key(void **state)
{
    static const char *const absent[] = {
        "content_type", "location", "webserver",  "content_length", "final_url", "chain_status_codes",
        "local_ip",     "tls",      "sni",        "timings",        "hash",      "truncated",
        "tag",          "error",    "error_code", "input_truncated"};
    struct record_connection c = connection();

    (void)state;
    c.local_ip = NULL;
    c.tls_version = NULL;
    c.sni = (struct span){0};
    set_connection(c);
    struct record r = answered();
    r.content_type = r.location = r.webserver = r.final_url = r.tag = (struct span){0};
    r.content_length = -1;
    r.chain_count = 0;
    r.with_timings = r.truncated = false;
    r.sha256 = NULL;
    json_t *object = parsed(&r);
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        if (json_object_get(object, absent[i]))
            fail_msg("\"%s\" is there", absent[i]);
    }
    assert_non_null(json_object_get(object, "status_code"));
    json_decref(object);
}

static void an_empty_text_is_not_an_absent_one(void **state)
{
    struct record r = answered();

    (void)state;
    r.content_type = (struct span){"", 0};
    json_t *object = parsed(&r);
    assert_string_equal(text_of(object, "content_type"), "");
    json_decref(object);
}

static void without_an_answer_there_is_nothing_of_one(void **state)
{
    static const char *const absent[] = {"status_code", "content_type", "location",      "webserver",
                                         "bytes_wire",  "bytes_body",   "content_length"};
    struct record r = answered();

    (void)state;
    r.status = 0;
    r.outcome = OUTCOME_CONNECTION_CLOSED;
    json_t *object = parsed(&r);
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        assert_null(json_object_get(object, absent[i]));
    /* The chain then ends with the last redirect. */
    assert_int_equal(json_array_size(json_object_get(object, "chain_status_codes")), 2);
    assert_string_equal(text_of(object, "error_code"), "connection-closed");
    json_decref(object);
}

static void an_address_that_did_not_answer_is_all_that_is_shown_of_a_connection(void **state)
{
    static const char *const absent[] = {"local_ip", "http_version", "tls", "sni", "worker", "conn_id", "reused"};
    struct record r = answered();

    (void)state;
    r.connection = (struct span){0};
    r.dialed = &server_ip;
    r.status = 0;
    r.outcome = OUTCOME_CONNECTION_TIMEOUT;
    json_t *object = parsed(&r);
    assert_string_equal(text_of(object, "host_ip"), "192.0.2.7");
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        assert_null(json_object_get(object, absent[i]));
    assert_int_equal(json_integer_value(json_object_get(object, "attempts")), 2);
    json_decref(object);
}

static void attempts_are_told_only_when_there_were_some(void **state)
{
    struct record r = answered();

    (void)state;
    r.attempts = 0;
    json_t *object = parsed(&r);
    assert_null(json_object_get(object, "attempts"));
    json_decref(object);
}

static void a_detail_follows_the_outcomes_own_clause(void **state)
{
    struct record r = refused();

    (void)state;
    r.detail = "the port is above 65535 \"%s%n\"";
    json_t *object = parsed(&r);
    assert_string_equal(text_of(object, "error"),
                        "the line is not a valid http or https URL: the port is above 65535 \"%s%n\"");
    json_decref(object);
    r.detail = "";
    object = parsed(&r);
    assert_string_equal(text_of(object, "error"), "the line is not a valid http or https URL");
    json_decref(object);
}

/* The detail may come from a server: cut in the middle of a character, the line must be JSON still. */
static void a_long_detail_is_cut_wherever_and_stays_json(void **state)
{
    char detail[1200];

    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        struct record r = refused();
        memset(detail, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof detail; i += 3)
            memcpy(detail + i, "\xe2\x82\xac", 3);
        detail[sizeof detail - 5] = '\0';
        r.detail = detail;
        json_t *object = parsed(&r);
        assert_in_range(strlen(text_of(object, "error")), 400, 540);
        json_decref(object);
    }
}

static void every_byte_in_the_input_gives_valid_json(void **state)
{
    char bytes[256];

    (void)state;
    for (unsigned i = 0; i < 256; i++)
        bytes[i] = (char)i;
    struct record r = refused();
    r.input = (struct span){bytes, sizeof bytes};
    r.input_truncated = true;
    json_t *object = parsed(&r);
    assert_true(json_is_true(json_object_get(object, "input_truncated")));
    /* 128 of ASCII as they are, the others as the four characters \\xHH. */
    assert_int_equal(json_string_length(json_object_get(object, "input")), 128 + 128 * 4);
    json_decref(object);
}

static void an_empty_input_is_an_empty_text(void **state)
{
    struct record r = refused();

    (void)state;
    r.input = (struct span){"", 0};
    json_t *object = parsed(&r);
    assert_string_equal(text_of(object, "input"), "");
    json_decref(object);
}

/* They are put after others, and others after them. */
static void members_of_a_connection_are_well_formed_whichever_are_there(void **state)
{
    (void)state;
    for (unsigned mask = 0; mask < 16; mask++) {
        struct record_connection c = connection();
        c.host_ip = mask & 1 ? c.host_ip : NULL;
        c.local_ip = mask & 2 ? c.local_ip : NULL;
        c.tls_version = mask & 4 ? c.tls_version : NULL;
        c.sni.data = mask & 8 ? c.sni.data : NULL;
        set_connection(c);
        struct record r = answered();
        json_t *object = parsed(&r);
        assert_int_equal(json_object_get(object, "host_ip") != NULL, mask & 1);
        assert_int_equal(json_object_get(object, "local_ip") != NULL, (mask & 2) >> 1);
        assert_int_equal(json_object_get(object, "tls") != NULL, (mask & 4) >> 2);
        assert_int_equal(json_object_get(object, "sni") != NULL, (mask & 8) >> 3);
        assert_string_equal(text_of(object, "http_version"), "2");
        json_decref(object);
    }
}

static void members_of_a_connection_can_be_appended_to_others(void **state)
{
    struct record_connection c = connection();

    (void)state;
    buffer_append_str(&out, "abc");
    record_format_connection(&out, &c);
    assert_int_equal(out.len, 3 + members.len);
    assert_memory_equal(out.data, "abc\"host_ip\":", 13);
    assert_memory_equal(out.data + 3, members.data, members.len);
}

static void ports_and_numbers_are_right_at_their_ends(void **state)
{
    static const struct {
        uint16_t port;
        const char *text;
    } ports[] = {{0, "0"}, {1, "1"}, {80, "80"}, {65535, "65535"}};
    struct record r = answered();

    (void)state;
    r.content_length = INT64_MAX;
    r.bytes_wire = (uint64_t)INT64_MAX;
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        r.port = ports[i].port;
        json_t *object = parsed(&r);
        assert_string_equal(text_of(object, "port"), ports[i].text);
        assert_true(json_integer_value(json_object_get(object, "content_length")) == INT64_MAX);
        assert_true(json_integer_value(json_object_get(object, "bytes_wire")) == INT64_MAX);
        json_decref(object);
    }
}

static void lines_stand_one_after_the_other(void **state)
{
    struct record first = answered();
    struct record second = refused();

    (void)state;
    record_format(&out, &first);
    size_t len = out.len;
    record_format(&out, &second);
    assert_memory_equal(out.data + len, "{\"seq\":7,", 9);
    assert_int_equal(out.data[len - 1], '\n');
    assert_int_equal(out.data[out.len - 1], '\n');
}

static void a_log_of_attempts_tells_each_of_them(void **state)
{
    struct record r = answered();
    struct record_attempt attempts[] = {
        {.layer = "connection", .outcome = OUTCOME_RESOURCE_EXHAUSTED},
        {.layer = "address",
         .host_ip = &server_ip,
         .conn_id = 7,
         .outcome = OUTCOME_CONNECTION_REFUSED,
         .took_us = 12345},
        {.layer = "pool",
         .host_ip = &own_ip,
         .conn_id = 8,
         .reused = true,
         .validation = true,
         .status = 204,
         .waited_us = 1000},
    };
    static const char text[] =
        "\"attempt_log\":[{\"layer\":\"connection\",\"error_code\":\"resource-exhausted\",\"ms\":0.000,"
        "\"wait_ms\":0.000},{\"layer\":\"address\",\"host_ip\":\"192.0.2.7\",\"conn_id\":7,"
        "\"reused\":false,\"error_code\":\"connection-refused\",\"ms\":12.345,\"wait_ms\":0.000},"
        "{\"layer\":\"pool\",\"host_ip\":\"2001:db8::1\",\"conn_id\":8,\"reused\":true,"
        "\"validation\":true,\"status_code\":204,\"ms\":0.000,\"wait_ms\":1.000}]";
    struct buffer log = {0};

    (void)state;
    buffer_append(&log, "head", 4);
    for (size_t i = 0; i < 3; i++)
        record_format_attempt(&log, 4, &attempts[i]);
    r.attempt_log = (struct span){log.data + 4, log.len - 4};
    json_t *object = parsed(&r);
    assert_non_null(memmem(out.data, out.len, text, sizeof text - 1));
    assert_int_equal(json_array_size(json_object_get(object, "attempt_log")), 3);
    json_decref(object);
    r.attempt_log = SPAN("");
    object = parsed(&r);
    assert_int_equal(json_array_size(json_object_get(object, "attempt_log")), 0);
    assert_true(json_is_array(json_object_get(object, "attempt_log")));
    json_decref(object);
    r.attempt_log = (struct span){0};
    object = parsed(&r);
    assert_null(json_object_get(object, "attempt_log"));
    json_decref(object);
    buffer_fini(&log);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_refused_line_has_what_is_always_there),
        CASE(an_answer_has_all_keys_in_their_order),
        CASE(absent_parts_have_no_key),
        CASE(an_empty_text_is_not_an_absent_one),
        CASE(without_an_answer_there_is_nothing_of_one),
        CASE(an_address_that_did_not_answer_is_all_that_is_shown_of_a_connection),
        CASE(attempts_are_told_only_when_there_were_some),
        CASE(a_detail_follows_the_outcomes_own_clause),
        CASE(a_long_detail_is_cut_wherever_and_stays_json),
        CASE(every_byte_in_the_input_gives_valid_json),
        CASE(an_empty_input_is_an_empty_text),
        CASE(members_of_a_connection_are_well_formed_whichever_are_there),
        CASE(members_of_a_connection_can_be_appended_to_others),
        CASE(ports_and_numbers_are_right_at_their_ends),
        CASE(lines_stand_one_after_the_other),
        CASE(a_log_of_attempts_tells_each_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
