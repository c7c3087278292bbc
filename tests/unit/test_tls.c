/* TLS: who is trusted, what is resumed, which end of a connection is believed, and records that break. */
#include "tests/unit/worker_fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "worker/tls.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(const char *name, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, ORIGIN_TLS);
    o->on_bytes = script_answer;
    host = fixture_host_at(&x, name, o);
}

static void assert_first(const char *name, const char *const *options, enum outcome outcome)
{
    start(name, options);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, outcome);
    fixture_close(&x);
}

static void name_in_the_certificate_is_accepted(void **state)
{
    (void)state;
    assert_first("a.test", NULL, OUTCOME_OK);
    assert_first("b.test.", NULL, OUTCOME_OK);
    assert_first("x.wild.test", NULL, OUTCOME_OK);
    assert_first("127.0.0.1", NULL, OUTCOME_OK);
}

static void other_name_is_not(void **state)
{
    (void)state;
    assert_first("c.test", NULL, OUTCOME_CERT_INVALID);
    assert_first("wild.test", NULL, OUTCOME_CERT_INVALID);
    assert_first("x.y.wild.test", NULL, OUTCOME_CERT_INVALID);
    assert_first("127.0.0.2", NULL, OUTCOME_CERT_INVALID);
    assert_first("[::1]", NULL, OUTCOME_CERT_INVALID);
}

static void unknown_issuer_is_not(void **state)
{
    (void)state;
    assert_first("a.test", options("cacert="), OUTCOME_CERT_INVALID);
}

static void insecure_accepts_any_certificate(void **state)
{
    (void)state;
    assert_first("c.test", options("cacert=", "insecure=true"), OUTCOME_OK);
}

static void literal_address_has_no_sni(void **state)
{
    (void)state;
    start("127.0.0.1", NULL);
    fixture_get(&x, host, 1);
    fixture_get(&x, fixture_host_at(&x, "b.test.", o), 1);
    fixture_until_told(&x, 2, 0);
    assert_tells_not(&x, 0, "\"sni\"");
    assert_tells(&x, 1, "\"sni\":\"b.test\"");
    fixture_close(&x);
}

static void second_connection_resumes(void **state)
{
    (void)state;
    start("a.test", NULL);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        size_t told = x.told_count;
        origin_limit_tls(o, version);
        x.hosts[0].generation = iptable_host_set(&x.w->region.table, 0, URL_HTTPS, "a.test", 6, o->port);
        iptable_host_publish(&x.w->region.table, 0, 0, 1);
        for (uint64_t i = 0; i < 2; i++) {
            fixture_get(&x, host, 1);
            fixture_until_told(&x, told + i + 1, 0);
            assert_tells(&x, told + i, i ? "\"resumed\":true" : "\"resumed\":false");
            assert_tells(&x, told + i, version == TLS1_2_VERSION ? "\"version\":\"TLS1.2\"" : "\"version\":\"TLS1.3\"");
            fixture_turns(&x, 3);
            peer_close(origin_last(o));
            fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
            fixture_turns(&x, 2);
        }
    }
    assert_int_equal(STATS_GET(x.w->page, resumptions), 2);
    fixture_close(&x);
}

static void profile_is_shown_and_resumed(void **state)
{
    (void)state;
    start("a.test", options("profile=firefox-120-windows"));
    assert_true(x.w->hellos_open);
    for (size_t i = 0; i < 2; i++) {
        fixture_get(&x, host, 1);
        fixture_until_told(&x, i + 1, 0);
        assert_outcome(&x, i, RESULT_RECORD, OUTCOME_OK);
        assert_tells(&x, i, "\"profile\":\"firefox-120-windows\"");
        assert_tells(&x, i, i ? "\"resumed\":true" : "\"resumed\":false");
        fixture_turns(&x, 3);
        peer_close(origin_last(o));
        fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
        fixture_turns(&x, 2);
    }
    assert_int_equal(STATS_GET(x.w->page, hello_fallbacks), 0);
    fixture_close(&x);
}

static void one_browser_never_resumes_what_another_began(void **state)
{
    uint64_t members = 0;

    (void)state;
    start("a.test", options("profile=browser=firefox", "seed=3"));
    for (size_t i = 0; i < 12; i++) {
        fixture_get(&x, host, 1);
        fixture_until(&x, fixture_gauge(&x, conns_idle) == 1);
        const struct conn *conn = TAILQ_FIRST(&fixture_pool_host(&x, host)->ready);
        assert_int_equal(conn->tls_resumed, (members & conn->browser->member) != 0);
        members |= conn->browser->member;
        fixture_turns(&x, 3);
        peer_close(origin_last(o));
        fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
        fixture_turns(&x, 2);
    }
    assert_true((members & (members - 1)) != 0);
    assert_true(STATS_GET(x.w->page, resumptions) > 0);
    fixture_close(&x);
}

static void other_name_is_not_accepted_under_a_profile(void **state)
{
    (void)state;
    assert_first("c.test", options("profile=chrome-133-windows"), OUTCOME_CERT_INVALID);
    assert_first("127.0.0.2", options("profile=ios-12-iphone"), OUTCOME_CERT_INVALID);
    assert_first("a.test", options("profile=safari-17-macos", "cacert="), OUTCOME_CERT_INVALID);
    assert_first("a.test", options("profile=safari-17-macos"), OUTCOME_OK);
}

static void host_whose_exact_handshake_fails_here_gets_a_plain_one(void **state)
{
    (void)state;
    start("a.test", options("profile=firefox-120-windows"));
    origin_spoil_extensions(o);
    for (size_t i = 0; i < 2; i++) {
        fixture_get(&x, host, 1);
        fixture_until_told(&x, i + 1, 0);
    }
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_CLOSED);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_int_equal(STATS_GET(x.w->page, hello_fallbacks), 1);
    fixture_close(&x);
}

static void plain_hello_is_had_by_option(void **state)
{
    (void)state;
    start("a.test", options("profile=firefox-120-windows", "hello=plain"));
    assert_false(x.w->hellos_open);
    origin_spoil_extensions(o);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static const char *what_to_say;
static void (*how_to_end)(struct peer *p);

static void say_and_end(struct peer *p)
{
    if (!peer_heard(p, "\r\n\r\n"))
        return;
    buffer_clear(&p->in);
    peer_say(p, what_to_say);
    if (how_to_end)
        how_to_end(p);
}

static void assert_answer(const char *answer, void (*end)(struct peer *p), enum outcome outcome)
{
    start("a.test", options("max_retries=0"));
    what_to_say = answer;
    how_to_end = end;
    o->on_bytes = say_and_end;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, outcome);
    fixture_close(&x);
}

static void body_up_to_the_close_needs_close_notify(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 200 OK\r\n\r\nbody", peer_close, OUTCOME_OK);
    assert_answer("HTTP/1.1 200 OK\r\n\r\nbody", peer_cut, OUTCOME_CONNECTION_CLOSED);
}

static void answer_with_a_length_needs_none(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", peer_cut, OUTCOME_OK);
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody", peer_close, OUTCOME_CONNECTION_CLOSED);
    assert_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", peer_cut, OUTCOME_OK);
    assert_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", peer_close,
                  OUTCOME_CONNECTION_CLOSED);
}

/* Bytes on the wire that are no TLS record. */
static void break_records(struct peer *p)
{
    static const char garbage[64] = "this is no TLS record";

    (void)!send(p->fd, garbage, sizeof garbage, 0);
}

static void broken_record_within_an_answer_is_a_tls_error(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nbody", break_records, OUTCOME_TLS_ERROR);
}

/* Expected: the answer was whole before the connection broke. Read apart it is OUTCOME_OK; today it is a failure when
 * both happen to come in one read (conn.c, take_records: a failure comes before input_done). */
static void broken_record_after_a_whole_answer_does_not_spoil_it(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", break_records, OUTCOME_OK);
}

/* Expected: a connection whose close_notify has been read is not used again. Today the answer's end serves the line
 * first, and the next request is put on the connection that is known to be closed: an idempotent one comes again, a
 * POST is lost (conn.c, take_records: input_done before take_end). */
static void connection_that_said_goodbye_gets_no_further_request(void **state)
{
    (void)state;
    start("a.test", options("max_conns_per_host=1"));
    what_to_say = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    how_to_end = peer_close;
    o->on_bytes = say_and_end;
    fixture_get(&x, host, 1);
    for (int i = 0; i < 5; i++)
        fixture_ask(&x, host, &(struct ask){.url = "https://a.test/", .method = "POST", .body = ""});
    fixture_until_told(&x, 6, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 6);
    fixture_close(&x);
}

static void ca_file_that_is_not_there_is_refused(void **state)
{
    struct options o2;
    struct options_error error;
    const char *reason = NULL;

    (void)state;
    options_init(&o2);
    assert_true(options_set(&o2, "cacert", "/nonexistent.pem", "test", &error));
    assert_null(tls_context_new(&o2, &reason));
    assert_non_null(reason);
    options_fini(&o2);
}

static void buffers_of_idle_connections_are_given_back_and_made_again(void **state)
{
    (void)state;
    start("a.test", NULL);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_turns(&x, 3);
    x.w->now_us += 2000000;
    pool_trim_idle(x.w->pool);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
    assert_tells(&x, 1, "\"reused\":true");
    fixture_close(&x);
}

static void keys_are_logged_where_asked(void **state)
{
    char path[] = "/tmp/hotfleet-keys-XXXXXX";
    struct stat st;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    setenv("SSLKEYLOGFILE", path, 1);
    start("a.test", NULL);
    unsetenv("SSLKEYLOGFILE");
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size > 0);
    close(fd);
    unlink(path);
    fixture_close(&x);
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(name_in_the_certificate_is_accepted),
        test(other_name_is_not),
        test(unknown_issuer_is_not),
        test(insecure_accepts_any_certificate),
        test(literal_address_has_no_sni),
        test(second_connection_resumes),
        test(profile_is_shown_and_resumed),
        test(one_browser_never_resumes_what_another_began),
        test(other_name_is_not_accepted_under_a_profile),
        test(host_whose_exact_handshake_fails_here_gets_a_plain_one),
        test(plain_hello_is_had_by_option),
        test(body_up_to_the_close_needs_close_notify),
        test(answer_with_a_length_needs_none),
        test(broken_record_within_an_answer_is_a_tls_error),
        test(broken_record_after_a_whole_answer_does_not_spoil_it),
        test(connection_that_said_goodbye_gets_no_further_request),
        test(ca_file_that_is_not_there_is_refused),
        test(buffers_of_idle_connections_are_given_back_and_made_again),
        test(keys_are_logged_where_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
