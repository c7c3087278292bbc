/* The life of connections: dialing, handshakes that fail in every way, what comes before the first request, idle time,
 * and the end; gauges and leases are checked by the fixture after each turn. */
#include "tests/unit/worker_fixture.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start(enum origin_kind kind, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    o = fixture_origin(&x, kind);
    o->on_bytes = script_answer;
    o->on_request = script_answer_h2;
    host = fixture_host_at(&x, "a.test", o);
}

/* A turn of the origins alone: what they say is there before the worker looks. */
static void origin_speaks(void)
{
    for (int i = 0; i < 5; i++)
        origin_turn(o);
}

static void answer_comes_back_over_every_protocol(void **state)
{
    static const char *const names[] = {"plain.test", "a.test", "b.test"};
    static const char *const versions[] = {"\"http_version\":\"1.1\"", "\"http_version\":\"1.1\"",
                                           "\"http_version\":\"2\""};

    (void)state;
    fixture_open(&x, NULL);
    for (int kind = ORIGIN_PLAIN; kind <= ORIGIN_H2; kind++) {
        o = fixture_origin(&x, (enum origin_kind)kind);
        o->on_bytes = script_answer;
        o->on_request = script_answer_h2;
        fixture_get(&x, fixture_host_at(&x, names[kind], o), 3);
        fixture_until_told(&x, 3 * (size_t)(kind + 1), 0);
        for (int i = 0; i < 3; i++)
            assert_outcome(&x, (uint64_t)3 * (uint64_t)kind + (uint64_t)i, RESULT_RECORD, OUTCOME_OK);
        assert_tells(&x, (uint64_t)3 * (uint64_t)kind, versions[kind]);
        assert_tells(&x, (uint64_t)3 * (uint64_t)kind, "\"host_ip\":\"127.0.0.1\",\"local_ip\":\"127.0.0.1\"");
    }
    fixture_close(&x);
}

static void refused_dial_is_retried_and_names_the_address(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    close(o->fd);
    o->fd = -1;
    fixture_get(&x, host, 1);
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .attempts = 3});
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    assert_int_equal(fixture_told(&x, 0)->m.attempts, 1);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CONNECTION_REFUSED);
    assert_tells(&x, 1, "\"host_ip\":\"127.0.0.1\"");
    assert_tells(&x, 1, "\"attempts\":4");
    assert_int_equal(STATS_GET(x.w->page, dial_failures), 2);
    fixture_close(&x);
}

static void connections_are_made_from_the_sources_in_turn(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("bind_ip=127.0.2.0/30\n127.0.3.1", "max_lifetime=1ms"));
    for (unsigned n = 0; n < 6; n++) {
        fixture_get(&x, host, 1);
        fixture_until_told(&x, n + 1, 0);
        assert_outcome(&x, n, RESULT_RECORD, OUTCOME_OK);
        assert_tells(&x, n,
                     n % 3 == 0   ? "\"local_ip\":\"127.0.2.1\""
                     : n % 3 == 1 ? "\"local_ip\":\"127.0.2.2\""
                                  : "\"local_ip\":\"127.0.3.1\"");
        fixture_pass_ms(&x, 3);
    }
    /* Another worker's connection had the turn in between. */
    atomic_fetch_add(&x.w->region.header->source_turns[0], 1);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 7, 0);
    assert_tells(&x, 6, "\"local_ip\":\"127.0.2.2\"");
    assert_int_equal(atomic_load(&x.w->region.header->source_turns[0]), 8);
    assert_int_equal(atomic_load(&x.w->region.header->source_turns[1]), 0);
    fixture_close(&x);
}

static void source_that_this_machine_lacks_is_named(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("bind_ip=192.0.2.1"));
    fixture_get(&x, host, 1);
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .method = "POST", .attempts = 4});
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_RESOURCE_EXHAUSTED);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_RESOURCE_EXHAUSTED);
    assert_tells(&x, 1, "from 192.0.2.1: ");
    fixture_close(&x);
}

static void target_without_a_source_is_not_dialed(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("bind_ip=2001:db8::/64"));
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_IP_EXHAUSTED);
    assert_tells(&x, 0, "bind_ip has no address of its family");
    assert_int_equal(STATS_GET(x.w->page, dials), 0);
    fixture_close(&x);
}

static void post_that_was_never_sent_is_retried(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    close(o->fd);
    o->fd = -1;
    fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .method = "POST", .body = "x"});
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_REFUSED);
    fixture_close(&x);
}

/* A socket that listens and whose queue is full: further SYNs are dropped. */
static void connection_that_is_not_made_in_time_fails(void **state)
{
    int fillers[4];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    (void)state;
    start(ORIGIN_PLAIN, options("conn_timeout=60ms", "max_retries=0"));
    o->deaf = true;
    assert_int_equal(listen(o->fd, 0), 0);
    to.sin_port = htons(o->port);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&to, sizeof to);
    }
    usleep(20000);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_CONNECTION_TIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    fixture_close(&x);
}

static void handshake_that_is_not_done_in_time_fails(void **state)
{
    (void)state;
    start(ORIGIN_TLS, options("tls_timeout=60ms", "max_retries=0"));
    o->deaf = true;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_TLS_TIMEOUT);
    fixture_close(&x);
}

static void close_in_the_handshake_is_a_closed_connection(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_retries=0"));
    host->scheme = URL_HTTPS;
    host->generation = iptable_host_set(&x.w->region.table, host->index, URL_HTTPS, "a.test", 6, o->port);
    iptable_host_publish(&x.w->region.table, host->index, 0, 1);
    o->on_bytes = peer_cut;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_CONNECTION_CLOSED);
    o->on_bytes = peer_reset;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN);
    fixture_close(&x);
}

static void say_nonsense(struct peer *p)
{
    peer_say(p, "SSH-2.0-OpenSSH_9.2\r\n");
}

static void other_protocol_on_the_tls_port_is_a_tls_error(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, NULL);
    host->scheme = URL_HTTPS;
    host->generation = iptable_host_set(&x.w->region.table, host->index, URL_HTTPS, "a.test", 6, o->port);
    iptable_host_publish(&x.w->region.table, host->index, 0, 1);
    o->on_bytes = say_nonsense;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_TLS_ERROR);
    fixture_close(&x);
}

/* The exchange must not be closed that was never opened. */
static void server_without_http2_is_refused_when_it_is_asked_for(void **state)
{
    (void)state;
    start(ORIGIN_TLS, options("http_version=2"));
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_PROTOCOL_ERROR);
    fixture_close(&x);
}

static void say_early(struct peer *p)
{
    peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
}

static void bytes_that_come_with_the_handshake_are_no_answer(void **state)
{
    (void)state;
    start(ORIGIN_TLS, options("max_retries=0"));
    origin_limit_tls(o, TLS1_2_VERSION);
    o->on_open = say_early;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_int_not_equal(fixture_told(&x, 0)->m.outcome, OUTCOME_OK);
    assert_int_equal(STATS_GET(x.w->page, stray_closes), 1);
    fixture_close(&x);
}

static void settings_that_come_with_the_handshake_are_taken(void **state)
{
    (void)state;
    start(ORIGIN_H2, NULL);
    origin_limit_tls(o, TLS1_2_VERSION);
    o->streams_max = 2;
    fixture_get(&x, host, 20);
    fixture_until_told(&x, 20, 0);
    assert_int_equal(fixture_count(&x, RESULT_RECORD, OUTCOME_OK), 20);
    fixture_close(&x);
}

static void say_goodbye_h2(struct peer *p)
{
    peer_flush(p);
    peer_notify(p);
}

/* SETTINGS and close_notify in the handshake's last flight: no request may be put on a connection that is not yet the
 * pool's, for nobody would end it. */
static void close_that_comes_with_the_handshake_loses_no_request(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("request_timeout=60ms"));
    origin_limit_tls(o, TLS1_2_VERSION);
    o->on_open = say_goodbye_h2;
    fixture_get(&x, host, 2);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(fixture_count(&x, RESULT_RETRY, OUTCOME_CONNECTION_CLOSED), 2);
    fixture_close(&x);
}

static void say_goaway(struct peer *p)
{
    nghttp2_submit_goaway(p->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
    peer_flush(p);
}

static void goaway_that_comes_with_the_handshake_loses_no_request(void **state)
{
    (void)state;
    start(ORIGIN_H2, NULL);
    origin_limit_tls(o, TLS1_2_VERSION);
    o->on_open = say_goaway;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RETRY, OUTCOME_CONNECTION_CLOSED);
    fixture_close(&x);
}

/* Another host starves for the one slot: the new connection is closed for it at once. */
static void connection_given_up_while_it_opens_is_counted_right(void **state)
{
    (void)state;
    start(ORIGIN_H2, options("max_connections=1", "acquire_timeout=100ms"));
    struct origin *other = fixture_origin(&x, ORIGIN_PLAIN);
    other->on_bytes = script_answer;
    struct fixture_host *second = fixture_host_at(&x, "c.test", other);
    origin_limit_tls(o, TLS1_2_VERSION);
    o->deaf = true;
    fixture_get(&x, host, 1);
    fixture_turns(&x, 3);
    fixture_get(&x, second, 1);
    fixture_turns(&x, 3);
    /* The first host's request is over before its connection is there. */
    fixture_pass_ms(&x, 60);
    fixture_get(&x, second, 1);
    fixture_until_told(&x, 1, 0);
    o->deaf = false;
    fixture_until_told(&x, 3, 0);
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_OK);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 4, 0);
    assert_outcome(&x, 3, RESULT_RECORD, OUTCOME_OK);
    fixture_close(&x);
}

static void idle_connection_is_closed_in_time(void **state)
{
    (void)state;
    for (int kind = ORIGIN_PLAIN; kind <= ORIGIN_H2; kind++) {
        start((enum origin_kind)kind, options("idle_timeout=50ms"));
        fixture_get(&x, host, 1);
        fixture_until_told(&x, 1, 0);
        fixture_turns(&x, 2);
        assert_int_equal(fixture_gauge(&x, conns_idle), 1);
        fixture_pass_ms(&x, 80);
        assert_int_equal(fixture_gauge(&x, conns_idle), 0);
        /* In order: with close_notify where there is TLS. */
        assert_true(origin_last(o)->ended);
        fixture_close(&x);
    }
}

static void use_puts_the_idle_time_off(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("idle_timeout=100ms"));
    for (size_t i = 1; i <= 4; i++) {
        fixture_get(&x, host, 1);
        fixture_until_told(&x, i, 0);
        fixture_pass_ms(&x, 60);
    }
    assert_int_equal(o->peer_count, 1);
    fixture_close(&x);
}

static void connection_above_its_lifetime_gets_no_request(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_lifetime=50ms"));
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    fixture_pass_ms(&x, 70);
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_int_equal(o->peer_count, 2);
    assert_tells(&x, 1, "\"reused\":false");
    fixture_close(&x);
}

static void connection_closed_while_idle_is_not_used(void **state)
{
    (void)state;
    for (int kind = ORIGIN_PLAIN; kind <= ORIGIN_TLS; kind++) {
        start((enum origin_kind)kind, NULL);
        fixture_get(&x, host, 1);
        fixture_until_told(&x, 1, 0);
        fixture_turns(&x, 3);
        /* The close is on its way when the task comes: both are there before the worker's next turn. */
        peer_close(origin_last(o));
        fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .method = "POST", .body = ""});
        fixture_until_told(&x, 2, 0);
        assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_OK);
        assert_int_equal(o->peer_count, 2);
        fixture_close(&x);
    }
}

static void big_request_to_a_slow_server_is_sent_whole(void **state)
{
    static char body[4000001];

    (void)state;
    memset(body, 'b', sizeof body - 1);
    for (int kind = ORIGIN_PLAIN; kind <= ORIGIN_TLS; kind++) {
        start((enum origin_kind)kind, NULL);
        o->on_bytes = NULL;
        fixture_ask(&x, host, &(struct ask){.url = "http://a.test/", .method = "PUT", .body = body});
        fixture_until(&x, o->peer_count && o->peers[0]->in.len > sizeof body);
        assert_int_equal(peer_heard(o->peers[0], "Content-Length: 4000000\r\n"), 1);
        assert_memory_equal(o->peers[0]->in.data + o->peers[0]->in.len - 1000, body, 1000);
        peer_say(o->peers[0], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        fixture_until_told(&x, 1, 0);
        assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_OK);
        fixture_close(&x);
    }
}

static void reset_is_told_apart_from_a_close(void **state)
{
    (void)state;
    start(ORIGIN_PLAIN, options("max_retries=0"));
    o->on_bytes = peer_reset;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 1, 0);
    assert_outcome(&x, 0, RESULT_RECORD, OUTCOME_CONNECTION_BROKEN);
    o->on_bytes = peer_close;
    fixture_get(&x, host, 1);
    fixture_until_told(&x, 2, 0);
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CONNECTION_CLOSED);
    fixture_close(&x);
}

static void everything_is_given_back_when_the_worker_closes_amid_work(void **state)
{
    (void)state;
    for (int kind = ORIGIN_PLAIN; kind <= ORIGIN_H2; kind++) {
        start((enum origin_kind)kind, options("max_conns_per_host=3"));
        o->on_bytes = NULL;
        o->on_request = NULL;
        fixture_get(&x, host, 10);
        fixture_until(&x, fixture_gauge(&x, conns_active) > 0);
        origin_speaks();
        fixture_close(&x);
    }
}

#define test(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(answer_comes_back_over_every_protocol),
        test(refused_dial_is_retried_and_names_the_address),
        test(connections_are_made_from_the_sources_in_turn),
        test(source_that_this_machine_lacks_is_named),
        test(target_without_a_source_is_not_dialed),
        test(post_that_was_never_sent_is_retried),
        test(connection_that_is_not_made_in_time_fails),
        test(handshake_that_is_not_done_in_time_fails),
        test(close_in_the_handshake_is_a_closed_connection),
        test(other_protocol_on_the_tls_port_is_a_tls_error),
        test(server_without_http2_is_refused_when_it_is_asked_for),
        test(bytes_that_come_with_the_handshake_are_no_answer),
        test(settings_that_come_with_the_handshake_are_taken),
        test(close_that_comes_with_the_handshake_loses_no_request),
        test(goaway_that_comes_with_the_handshake_loses_no_request),
        test(connection_given_up_while_it_opens_is_counted_right),
        test(idle_connection_is_closed_in_time),
        test(use_puts_the_idle_time_off),
        test(connection_above_its_lifetime_gets_no_request),
        test(connection_closed_while_idle_is_not_used),
        test(big_request_to_a_slow_server_is_sent_whole),
        test(reset_is_told_apart_from_a_close),
        test(everything_is_given_back_when_the_worker_closes_amid_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
