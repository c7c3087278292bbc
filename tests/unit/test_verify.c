/* Verified certificate chains: what counts as the same one, for how long, and what is verified each time; then the same
 * in real handshakes. */
#include "tests/unit/worker_fixture.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "worker/verify.h"

#define HOUR_S       3600
#define LATER_S      (2L * HOUR_S)
#define START_US     5000000
#define CERTS_MAX    24
#define NAMES        "DNS:a.test,DNS:b.test,DNS:*.wild.test,IP:127.0.0.1"
#define options(...) ((const char *const[]){__VA_ARGS__, NULL})
#define certs(...)   ((X509 *const[]){__VA_ARGS__, NULL})

static EVP_PKEY *ca_key, *key;
static X509 *ca, *intermediate, *leaf, *other, *below, *expired, *foreign;
static char ca_path[] = "/tmp/hotfleet-ca-XXXXXX";

static void extend(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* An authority where `names` is NULL; `issuer` NULL: its own. In its time from an hour ago on. */
static X509 *certificate(const char *subject, const char *names, const char *comment, const char *issuer, EVP_PKEY *by,
                         long lasts_s)
{
    static long serial;
    X509 *x = X509_new();

    assert_non_null(x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -HOUR_S);
    X509_gmtime_adj(X509_getm_notAfter(x), lasts_s);
    X509_set_pubkey(x, names ? key : ca_key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)subject, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)(issuer ? issuer : subject), -1, -1, 0);
    if (names)
        extend(x, NID_subject_alt_name, names);
    else
        extend(x, NID_basic_constraints, "critical,CA:TRUE");
    if (comment)
        extend(x, NID_netscape_comment, comment);
    assert_true(X509_sign(x, by, EVP_sha256()) > 0);
    return x;
}

static int make_certificates(void **state)
{
    (void)state;
    ca_key = EVP_EC_gen("P-256");
    key = EVP_EC_gen("P-256");
    ca = certificate("ca", NULL, NULL, NULL, ca_key, LATER_S);
    intermediate = certificate("middle", NULL, NULL, "ca", ca_key, LATER_S);
    leaf = certificate("leaf", NAMES, NULL, "ca", ca_key, 2 * LATER_S);
    other = certificate("leaf", NAMES, NULL, "ca", ca_key, 2 * LATER_S);
    below = certificate("leaf", NAMES, NULL, "middle", ca_key, 2 * LATER_S);
    expired = certificate("leaf", NAMES, NULL, "ca", ca_key, -60);
    foreign = certificate("leaf", NAMES, NULL, "ca", key, LATER_S);
    int fd = mkstemp(ca_path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file || PEM_write_X509(file, ca) != 1 || fclose(file) != 0)
        return -1;
    return 0;
}

static int free_certificates(void **state)
{
    X509 *all[] = {ca, intermediate, leaf, other, below, expired, foreign};

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        X509_free(all[i]);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    return unlink(ca_path);
}

/* --- by itself ---------------------------------------------------------------------------------------------------- */

static struct verify_table *table;
static X509_STORE *store;
static uint64_t now_us, now_wall_us;
static int error_before, error_of_last;
static const void *settings;

static int open_table(void **state)
{
    (void)state;
    table = verify_table_new();
    store = X509_STORE_new();
    now_us = START_US;
    now_wall_us = clock_wall_us();
    error_before = X509_V_OK;
    settings = &table;
    return store && X509_STORE_add_cert(store, ca) == 1 ? 0 : -1;
}

static int close_table(void **state)
{
    (void)state;
    verify_table_free(table);
    X509_STORE_free(store);
    return 0;
}

enum verdict { ANEW, REMEMBERED, REFUSED };

/* As libssl asks: the server's own certificate first among those presented. */
static enum verdict present(const char *name, bool is_ip, X509 *const *presented)
{
    STACK_OF(X509) *stack = sk_X509_new_null();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    struct verify_peer peer = {name, is_ip, settings, now_us, now_wall_us};
    bool remembered = true;

    while (*presented)
        assert_true(sk_X509_push(stack, *presented++) > 0);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, sk_X509_value(stack, 0), stack), 1);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    assert_int_equal(is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, name) : X509_VERIFY_PARAM_set1_host(param, name, 0),
                     1);
    X509_STORE_CTX_set_error(ctx, error_before);
    int result = verify_chain(table, ctx, &peer, &remembered);
    error_of_last = X509_STORE_CTX_get_error(ctx);
    assert_int_equal(result == 1, error_of_last == X509_V_OK);
    assert_true(result == 1 || !remembered);
    X509_STORE_CTX_free(ctx);
    sk_X509_free(stack);
    return result != 1 ? REFUSED : remembered ? REMEMBERED : ANEW;
}

#define assert_verdict(name, verdict, ...) assert_int_equal(present(name, false, certs(__VA_ARGS__)), verdict)

static void same_chain_for_the_same_name_is_remembered(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, below, intermediate);
    assert_verdict("a.test", REMEMBERED, below, intermediate);
    error_before = X509_V_ERR_UNSPECIFIED;
    assert_verdict("a.test", REMEMBERED, below, intermediate);
}

static void other_name_is_verified_anew(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, leaf);
    for (int i = 0; i < 2; i++) {
        assert_verdict("c.test", REFUSED, leaf);
        assert_int_equal(error_of_last, X509_V_ERR_HOSTNAME_MISMATCH);
    }
    assert_verdict("b.test", ANEW, leaf);
    assert_verdict("b.test", REMEMBERED, leaf);
    assert_verdict("a.test", REMEMBERED, leaf);
}

static void address_and_name_of_the_same_letters_are_two(void **state)
{
    (void)state;
    assert_int_equal(present("127.0.0.1", true, certs(leaf)), ANEW);
    assert_int_equal(present("127.0.0.1", true, certs(leaf)), REMEMBERED);
    assert_verdict("127.0.0.1", REFUSED, leaf);
}

static void other_settings_are_verified_anew(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, leaf);
    settings = &store;
    assert_verdict("a.test", ANEW, leaf);
    assert_verdict("a.test", REMEMBERED, leaf);
}

static void other_chain_for_the_same_name_is_verified_anew(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, leaf);
    assert_verdict("a.test", ANEW, other);
    assert_verdict("a.test", ANEW, leaf, intermediate);
    assert_verdict("a.test", ANEW, leaf, intermediate, ca);
    assert_verdict("a.test", ANEW, leaf, ca, intermediate);
    assert_verdict("a.test", ANEW, below, intermediate);
    /* The part of the chain that makes it one is missing. */
    assert_verdict("a.test", REFUSED, below);
    assert_verdict("a.test", REMEMBERED, leaf, ca, intermediate);
}

static void failure_is_never_remembered(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, leaf);
    for (int i = 0; i < 3; i++) {
        assert_verdict("a.test", REFUSED, expired);
        assert_int_equal(error_of_last, X509_V_ERR_CERT_HAS_EXPIRED);
        assert_verdict("a.test", REFUSED, foreign);
        assert_int_equal(error_of_last, X509_V_ERR_CERT_SIGNATURE_FAILURE);
        /* A good one presented beside does not help. */
        assert_verdict("a.test", REFUSED, foreign, leaf);
    }
    assert_verdict("a.test", REMEMBERED, leaf);
}

static void what_failed_may_pass_the_next_time(void **state)
{
    (void)state;
    assert_verdict("a.test", REFUSED, below);
    assert_int_equal(X509_STORE_add_cert(store, intermediate), 1);
    assert_verdict("a.test", ANEW, below);
}

static void chain_is_remembered_for_a_minute_from_its_verification(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, leaf);
    now_us = START_US + VERIFY_REMEMBERED_US - 1;
    assert_verdict("a.test", REMEMBERED, leaf);
    now_us++;
    assert_verdict("a.test", ANEW, leaf);
    now_us += VERIFY_REMEMBERED_US - 1;
    assert_verdict("a.test", REMEMBERED, leaf);
    now_us = START_US;
    assert_verdict("a.test", ANEW, leaf);
}

static void chain_is_remembered_no_longer_than_its_certificates_last(void **state)
{
    const uint64_t began_us = now_wall_us;

    (void)state;
    /* The anchor, which nobody presented, ends before the leaf does. */
    assert_verdict("a.test", ANEW, leaf);
    now_wall_us = began_us + (LATER_S - 30) * 1000000ull;
    assert_verdict("a.test", REMEMBERED, leaf);
    now_wall_us = began_us + (LATER_S + 30) * 1000000ull;
    assert_verdict("a.test", ANEW, leaf);
    /* Wall time may jump back to before they began. */
    now_wall_us = began_us - (HOUR_S - 30) * 1000000ull;
    assert_verdict("a.test", REMEMBERED, leaf);
    now_wall_us = began_us - (HOUR_S + 30) * 1000000ull;
    assert_verdict("a.test", ANEW, leaf);
}

static void own_certificate_that_ends_first_counts(void **state)
{
    X509 *brief = certificate("leaf", NAMES, NULL, "ca", ca_key, 600);

    (void)state;
    assert_verdict("a.test", ANEW, brief);
    now_wall_us += 570 * 1000000ull;
    assert_verdict("a.test", REMEMBERED, brief);
    now_wall_us += 60 * 1000000ull;
    assert_verdict("a.test", ANEW, brief);
    X509_free(brief);
}

static void expired_certificate_that_nothing_rests_on_is_passed_over(void **state)
{
    (void)state;
    assert_verdict("a.test", ANEW, leaf, expired);
    assert_verdict("a.test", REMEMBERED, leaf, expired);
}

static unsigned count_remembered(unsigned first, unsigned end)
{
    char name[32];
    unsigned n = 0;

    /* From the newest on: what is verified anew takes the place of one that was asked for already. */
    for (unsigned i = end; i-- > first;) {
        snprintf(name, sizeof name, "n%u.wild.test", i);
        n += present(name, false, certs(leaf)) == REMEMBERED;
    }
    return n;
}

static void full_table_forgets_the_oldest(void **state)
{
    enum { TRIED = 4000, SOME = 256 };
    char name[32];

    (void)state;
    for (unsigned i = 0; i < TRIED; i++, now_us++) {
        snprintf(name, sizeof name, "n%u.wild.test", i);
        assert_verdict(name, ANEW, leaf);
    }
    /* Where they go is chance: one or two of the newest may have been driven out by the others. */
    assert_true(count_remembered(TRIED - SOME, TRIED) > SOME - 16);
    assert_true(count_remembered(0, SOME) < 16);
}

static void chain_beyond_the_limits_is_verified_each_time(void **state)
{
    static char comment[20001];
    X509 *many[CERTS_MAX] = {leaf};

    (void)state;
    memset(comment, 'x', sizeof comment - 1);
    X509 *large = certificate("leaf", NAMES, comment, "ca", ca_key, LATER_S);
    for (unsigned i = 1; i < 17; i++)
        many[i] = ca;
    for (int i = 0; i < 2; i++) {
        assert_verdict("a.test", ANEW, large);
        assert_verdict("a.test", ANEW, leaf, large);
        assert_int_equal(present("a.test", false, many), ANEW);
    }
    many[16] = NULL;
    assert_int_equal(present("a.test", false, many), ANEW);
    assert_int_equal(present("a.test", false, many), REMEMBERED);
    X509_free(large);
}

static void without_a_table_nothing_is_remembered(void **state)
{
    (void)state;
    verify_table_free(table);
    table = NULL;
    assert_verdict("a.test", ANEW, leaf);
    assert_verdict("a.test", ANEW, leaf);
    assert_verdict("c.test", REFUSED, leaf);
}

/* --- in handshakes ------------------------------------------------------------------------------------------------ */

static struct fixture x;
static struct origin *o;
static uint64_t handshakes;

static void answer_and_close(struct peer *p)
{
    if (!peer_heard(p, "\r\n\r\n"))
        return;
    buffer_clear(&p->in);
    peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    peer_close(p);
}

static void show(X509 *shown)
{
    assert_int_equal(SSL_CTX_use_certificate(o->tls, shown), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(o->tls, key), 1);
}

static void open_origin(const char *more)
{
    char cacert[64];

    snprintf(cacert, sizeof cacert, "cacert=%s", ca_path);
    fixture_open(&x, &(struct fixture_plan){.options = options(cacert, "max_retries=0", more)});
    o = fixture_origin(&x, ORIGIN_TLS);
    o->on_bytes = answer_and_close;
    show(leaf);
    handshakes = 0;
}

static void resume_nothing(void)
{
    SSL_CTX_set_options(o->tls, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(o->tls, 0);
    SSL_CTX_set_session_cache_mode(o->tls, SSL_SESS_CACHE_OFF);
}

static void connect_to(const struct fixture_host *host, enum outcome outcome, const char *telling)
{
    fixture_get(&x, host, 1);
    fixture_until_told(&x, ++handshakes, 0);
    assert_outcome(&x, handshakes - 1, RESULT_RECORD, outcome);
    assert_tells(&x, handshakes - 1, telling);
    fixture_until(&x, fixture_gauge(&x, conns_idle) == 0 && fixture_gauge(&x, conns_active) == 0);
    fixture_turns(&x, 2);
}

#define assert_remembered(n) assert_int_equal(STATS_GET(x.w->page, chains_remembered), n)

static void second_handshake_need_not_verify(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        open_origin(NULL);
        origin_limit_tls(o, version);
        resume_nothing();
        const struct fixture_host *host = fixture_host_at(&x, "a.test", o);
        connect_to(host, OUTCOME_OK, "\"resumed\":false");
        assert_remembered(0);
        connect_to(host, OUTCOME_OK, "\"resumed\":false");
        assert_remembered(1);
        fixture_close(&x);
    }
}

static void handshake_for_another_name_verifies(void **state)
{
    (void)state;
    open_origin(NULL);
    resume_nothing();
    const struct fixture_host *wrong = fixture_host_at(&x, "c.test", o);
    connect_to(fixture_host_at(&x, "a.test", o), OUTCOME_OK, "\"resumed\":false");
    connect_to(wrong, OUTCOME_CERT_INVALID, "hostname mismatch");
    connect_to(wrong, OUTCOME_CERT_INVALID, "hostname mismatch");
    connect_to(fixture_host_at(&x, "127.0.0.2", o), OUTCOME_CERT_INVALID, "IP address mismatch");
    connect_to(fixture_host_at(&x, "b.test", o), OUTCOME_OK, "\"resumed\":false");
    assert_remembered(0);
    fixture_close(&x);
}

static void handshake_with_another_certificate_verifies(void **state)
{
    (void)state;
    open_origin(NULL);
    resume_nothing();
    const struct fixture_host *host = fixture_host_at(&x, "a.test", o);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    for (int i = 0; i < 2; i++) {
        show(expired);
        connect_to(host, OUTCOME_CERT_INVALID, "certificate has expired");
        show(foreign);
        connect_to(host, OUTCOME_CERT_INVALID, "certificate signature failure");
    }
    show(other);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    assert_remembered(0);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    show(leaf);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    assert_remembered(2);
    fixture_close(&x);
}

static void session_of_a_remembered_chain_is_as_good(void **state)
{
    (void)state;
    open_origin(NULL);
    const struct fixture_host *host = fixture_host_at(&x, "a.test", o);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    struct host_session *kept = fixture_pool_host(&x, host)->sessions;
    pool_keep_session(kept, NULL);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    assert_remembered(1);
    assert_non_null(SSL_SESSION_get0_peer(kept->session));
    connect_to(host, OUTCOME_OK, "\"resumed\":true");
    assert_remembered(1);
    fixture_close(&x);
}

static void insecure_remembers_nothing(void **state)
{
    (void)state;
    open_origin("insecure=true");
    resume_nothing();
    const struct fixture_host *host = fixture_host_at(&x, "a.test", o);
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    connect_to(host, OUTCOME_OK, "\"resumed\":false");
    assert_remembered(0);
    fixture_close(&x);
}

#define with_table(name) cmocka_unit_test_setup_teardown(name, open_table, close_table)
#define test(name)       cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(same_chain_for_the_same_name_is_remembered),
        with_table(other_name_is_verified_anew),
        with_table(address_and_name_of_the_same_letters_are_two),
        with_table(other_settings_are_verified_anew),
        with_table(other_chain_for_the_same_name_is_verified_anew),
        with_table(failure_is_never_remembered),
        with_table(what_failed_may_pass_the_next_time),
        with_table(chain_is_remembered_for_a_minute_from_its_verification),
        with_table(chain_is_remembered_no_longer_than_its_certificates_last),
        with_table(own_certificate_that_ends_first_counts),
        with_table(expired_certificate_that_nothing_rests_on_is_passed_over),
        with_table(full_table_forgets_the_oldest),
        with_table(chain_beyond_the_limits_is_verified_each_time),
        with_table(without_a_table_nothing_is_remembered),
        test(second_handshake_need_not_verify),
        test(handshake_for_another_name_verifies),
        test(handshake_with_another_certificate_verifies),
        test(session_of_a_remembered_chain_is_as_good),
        test(insecure_remembers_nothing),
    };

    return cmocka_run_group_tests(tests, make_certificates, free_certificates);
}
