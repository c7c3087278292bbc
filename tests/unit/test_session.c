/* TLS sessions in a worker: what it tells, what it takes out of the map, and what it must not believe. */
#include "tests/unit/worker_fixture.h"

#include <openssl/rand.h>
#include <unistd.h>

#include "common/clock.h"
#include "shm/store_parts.h"
#include "tests/unit/store_place.h"
#include "worker/session.h"

static struct fixture x;
static struct origin *o;
static struct fixture_host *host;
static struct place *place;
static uint16_t port;

#define options(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A worker that shares sessions, and an origin; the same origin each time it is `kept`. */
static void start(const char *name, const char *const *options)
{
    fixture_open(&x, &(struct fixture_plan){.options = options});
    x.w->sessions = session_map_new(&x.w->options, place->dir);
    o = fixture_origin(&x, ORIGIN_TLS);
    o->on_bytes = script_answer;
    port = o->port;
    host = fixture_host_at(&x, name, o);
}

static void finish(void)
{
    session_map_free(x.w->sessions);
    x.w->sessions = NULL;
    fixture_close(&x);
}

static size_t told_sessions(void)
{
    return fixture_count(&x, RESULT_SESSION, OUTCOME_OK);
}

static size_t told_records(void)
{
    size_t n = 0;

    for (size_t i = 0; i < x.told_count; i++)
        n += x.told[i].m.kind == RESULT_RECORD;
    return n;
}

static const struct told *last_told(enum result_kind kind)
{
    const struct told *found = NULL;

    for (size_t i = 0; i < x.told_count; i++) {
        if (x.told[i].m.kind == kind)
            found = &x.told[i];
    }
    assert_non_null(found);
    return found;
}

/* One answer over a connection of its own. */
static const char *fetch_anew(void)
{
    size_t records = told_records();

    fixture_get(&x, host, 1);
    fixture_until(&x, told_records() == records + 1);
    fixture_turns(&x, 3);
    if (origin_last(o) && origin_last(o)->fd >= 0) {
        peer_close(origin_last(o));
        fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
    }
    fixture_turns(&x, 2);
    return last_told(RESULT_RECORD)->text;
}

static void assert_resumed(const char *record, bool resumed)
{
    if (!strstr(record, resumed ? "\"resumed\":true" : "\"resumed\":false"))
        fail_msg("%s: %s", resumed ? "not resumed" : "resumed, or no answer", record);
}

static struct store_session take_told(void)
{
    const struct told *told = last_told(RESULT_SESSION);
    struct store_session session;

    assert_true(store_session_decode(told->text, told->m.len, &session));
    return session;
}

/* What the worker keeps of the host, without a profile. */
static struct host_session *kept_of(const struct fixture_host *of)
{
    struct draw draw = {0};

    return pool_session_of(fixture_pool_host(&x, of), browser_draw(x.w, UINT64_C(1) << PROFILE_NONE, &draw));
}

/* Writes into the map what the coordinator would; the host forgets what it has, as if it were another worker's. */
static void share(const char *name, const struct store_session *session)
{
    char key[STORE_SESSION_KEY_MAX];
    size_t len = store_session_key(key, name, strlen(name), port, "");

    /* One process may have a map open once only. */
    session_map_free(x.w->sessions);
    struct store *s = open_store(place->dir);
    store_session_put(s, key, len, session);
    store_close(s);
    x.w->sessions = session_map_new(&x.w->options, place->dir);
    pool_keep_session(kept_of(host), NULL);
    kept_of(host)->ask_us = 0;
}

static void context_of(const struct options *options, uint8_t out[STORE_SESSION_CONTEXT_BYTES])
{
    uint8_t base[STORE_SESSION_CONTEXT_BYTES];

    session_context(options, base);
    session_context_of(base, "", out);
}

static void new_session_is_told_of_once(void **state)
{
    uint8_t context[STORE_SESSION_CONTEXT_BYTES];

    place = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        start("a.test", NULL);
        origin_limit_tls(o, version);
        fetch_anew();
        assert_int_equal(told_sessions(), 1);
        const struct told *told = last_told(RESULT_SESSION);
        assert_int_equal(told->m.host, host->index);
        assert_int_equal(told->m.host_generation, host->generation);
        struct store_session session = take_told();
        context_of(&x.w->options, context);
        assert_memory_equal(session.context, context, sizeof context);
        assert_in_range(session.expires_wall_us, clock_wall_us() + 60000000, clock_wall_us() + 604800000000u);
        assert_resumed(fetch_anew(), true);
        assert_int_equal(told_sessions(), 1);
        /* When its time has come, a newer one is told of. */
        kept_of(host)->tell_us = 0;
        fetch_anew();
        assert_int_equal(told_sessions(), version == TLS1_3_VERSION ? 2 : 1);
        finish();
    }
}

static void full_ring_drops_the_note_and_keeps_the_records(void **state)
{
    place = *state;
    fixture_open(&x, &(struct fixture_plan){.record_ring_bytes = 4096});
    x.w->sessions = session_map_new(&x.w->options, place->dir);
    o = fixture_origin(&x, ORIGIN_TLS);
    o->on_bytes = script_answer;
    host = fixture_host_at(&x, "a.test", o);
    x.unchecked = true;
    x.reader_stopped = true;
    fixture_ask(&x, fixture_host(&x, URL_HTTP, "none.test", 80, NULL, 0), &(struct ask){.url = "http://none.test/"});
    while (ring_room(&x.w->records) * 2 >= 4096) {
        fixture_ask(&x, &x.hosts[1], &(struct ask){.url = "http://none.test/"});
        fixture_turn(&x);
    }
    fixture_get(&x, host, 1);
    fixture_until(&x, STATS_GET(x.w->page, responses) == 1);
    fixture_turns(&x, 5);
    x.reader_stopped = false;
    fixture_until(&x, told_records() == x.asked);
    assert_int_equal(told_sessions(), 0);
    assert_int_equal(kept_of(host)->tell_us, 0);
    finish();
}

static void session_out_of_the_map_is_resumed(void **state)
{
    place = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        start("a.test", NULL);
        origin_limit_tls(o, version);
        fetch_anew();
        struct store_session session = take_told();
        share("a.test", &session);
        assert_resumed(fetch_anew(), true);
        assert_int_equal(STATS_GET(x.w->page, sessions_shared), 1);
        finish();
    }
}

static void map_is_asked_once_a_second_at_most(void **state)
{
    place = *state;
    start("a.test", NULL);
    fetch_anew();
    struct store_session session = take_told();
    share("a.test", &session);
    kept_of(host)->ask_us = clock_us() + 60000000;
    assert_resumed(fetch_anew(), false);
    share("other.test", &session);
    fetch_anew();
    assert_in_range(kept_of(host)->ask_us, clock_us(), clock_us() + 1000000);
    finish();
}

static void session_of_another_context_is_not_used(void **state)
{
    place = *state;
    start("a.test", NULL);
    fetch_anew();
    struct store_session session = take_told();
    session.context[31] ^= 1;
    share("a.test", &session);
    assert_resumed(fetch_anew(), false);
    assert_int_equal(STATS_GET(x.w->page, sessions_shared), 0);
    finish();
}

/* The origin would resume any session of its own under any name. */
static void session_of_another_name_is_not_used(void **state)
{
    place = *state;
    start("127.0.0.1", NULL);
    fetch_anew();
    struct store_session of_address = take_told();
    struct fixture_host *other = fixture_host_at(&x, "c.test", o);
    host = other;
    fetch_anew();
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CERT_INVALID);
    share("c.test", &of_address);
    fetch_anew();
    assert_outcome(&x, 2, RESULT_RECORD, OUTCOME_CERT_INVALID);
    host = fixture_host_at(&x, "a.test", o);
    fetch_anew();
    struct store_session of_name = take_told();
    host = other;
    share("c.test", &of_name);
    fetch_anew();
    assert_outcome(&x, 4, RESULT_RECORD, OUTCOME_CERT_INVALID);
    assert_int_equal(STATS_GET(x.w->page, sessions_shared), 0);
    finish();
}

/* A record that claims the verifying context, around a session whose peer was never verified. */
static void unverified_session_is_not_resumed_whatever_its_record_says(void **state)
{
    uint8_t context[STORE_SESSION_CONTEXT_BYTES];

    place = *state;
    start("a.test", options("cacert=", "insecure=true"));
    fetch_anew();
    struct store_session session = take_told();
    x.w->options.insecure = false;
    SSL_CTX_set_verify(x.w->tls, SSL_VERIFY_PEER, NULL);
    context_of(&x.w->options, context);
    memcpy(session.context, context, sizeof context);
    share("a.test", &session);
    fetch_anew();
    assert_outcome(&x, 1, RESULT_RECORD, OUTCOME_CERT_INVALID);
    finish();
}

static void insecure_worker_shares_among_its_like(void **state)
{
    place = *state;
    start("c.test", options("cacert=", "insecure=true"));
    fetch_anew();
    struct store_session session = take_told();
    share("c.test", &session);
    assert_resumed(fetch_anew(), true);
    finish();
}

static void garbage_is_no_session(void **state)
{
    place = *state;
    start("a.test", NULL);
    fetch_anew();
    struct store_session good = take_told();
    for (unsigned i = 0; i < 40; i++) {
        struct store_session bad = good;
        if (i % 2)
            bad.der_len = i * 7;
        else
            bad.der[i % good.der_len] ^= 0x55;
        share("a.test", &bad);
        fetch_anew();
        assert_outcome(&x, 1 + i, RESULT_RECORD, OUTCOME_OK);
    }
    finish();
}

static void refused_session_is_forgotten(void **state)
{
    unsigned char keys[80];

    place = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        start("a.test", NULL);
        origin_limit_tls(o, version);
        fetch_anew();
        struct store_session session = take_told();
        share("a.test", &session);
        assert_int_equal(RAND_bytes(keys, sizeof keys), 1);
        assert_int_equal(SSL_CTX_set_tlsext_ticket_keys(o->tls, keys, sizeof keys), 1);
        size_t told = told_sessions();
        assert_resumed(fetch_anew(), false);
        /* The map learns of a better one at once; its old one is not fetched again. */
        assert_int_equal(told_sessions(), told + 1);
        assert_true(kept_of(host)->ask_us > clock_us() + 30000000);
        assert_resumed(fetch_anew(), true);
        finish();
    }
}

static void end_without_close_notify_costs_no_session(void **state)
{
    place = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        start("a.test", NULL);
        origin_limit_tls(o, version);
        for (uint64_t i = 0; i < 4; i++) {
            fixture_get(&x, host, 1);
            fixture_until(&x, told_records() == i + 1);
            fixture_turns(&x, 3);
            peer_cut(origin_last(o));
            fixture_until(&x, fixture_gauge(&x, conns_idle) == 0);
            fixture_turns(&x, 2);
            assert_resumed(last_told(RESULT_RECORD)->text, i > 0);
        }
        finish();
    }
}

static void context_tells_trust_stores_apart(void **state)
{
    uint8_t contexts[5][STORE_SESSION_CONTEXT_BYTES];
    char file[128];
    struct options o2;
    struct options_error error;

    place = *state;
    unsetenv("SSL_CERT_DIR");
    snprintf(file, sizeof file, "%s/ca.pem", place->dir);
    options_init(&o2);
    session_context(&o2, contexts[0]);
    assert_true(options_set(&o2, "insecure", "true", "test", &error));
    session_context(&o2, contexts[1]);
    assert_true(options_set(&o2, "insecure", "false", "test", &error));
    write_file(file, "one", 3);
    assert_true(options_set(&o2, "cacert", file, "test", &error));
    session_context(&o2, contexts[2]);
    write_file(file, "two", 3);
    session_context(&o2, contexts[3]);
    assert_true(options_set(&o2, "cacert", "", "test", &error));
    setenv("SSL_CERT_DIR", "/nonexistent:/tmp", 1);
    session_context(&o2, contexts[4]);
    unsetenv("SSL_CERT_DIR");
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(contexts[i], contexts[j], sizeof contexts[i]);
    }
    session_context(&o2, contexts[4]);
    assert_memory_equal(contexts[0], contexts[4], sizeof contexts[0]);
    options_fini(&o2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(new_session_is_told_of_once),
        CASE(full_ring_drops_the_note_and_keeps_the_records),
        CASE(session_out_of_the_map_is_resumed),
        CASE(map_is_asked_once_a_second_at_most),
        CASE(session_of_another_context_is_not_used),
        CASE(session_of_another_name_is_not_used),
        CASE(unverified_session_is_not_resumed_whatever_its_record_says),
        CASE(insecure_worker_shares_among_its_like),
        CASE(garbage_is_no_session),
        CASE(refused_session_is_forgotten),
        CASE(end_without_close_notify_costs_no_session),
        CASE(context_tells_trust_stores_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
