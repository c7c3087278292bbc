/* The encrypted flight of TLS 1.3 against a server written out by hand: ALPS, compressed certificates, limits of
 * records, and servers that lie. */
#include "tests/unit/scripted_tls13.h"

static EVP_PKEY *leaf_key;
static X509 *leaf;

static int setup(void **state)
{
    if (fixture_setup(state) != 0)
        return -1;
    leaf_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    leaf = make_certificate(leaf_key, TEST_HOST, -60, 3600, ca, ca_key);
    return 0;
}

static int teardown(void **state)
{
    X509_free(leaf);
    EVP_PKEY_free(leaf_key);
    return fixture_teardown(state);
}

struct talk {
    SSL *client;
    struct scripted server;
    struct hello_context *context;
    struct hello_stats stats;
};

/* Up to the client's answer to the server's whole flight; returns whether libssl calls the handshake done. */
static bool talk_open(struct talk *t, const char *profile, const struct script *script)
{
    BIO *near;
    BIO *far;

    *t = (struct talk){.context = context_for(profile, NULL)};
    assert_int_equal(BIO_new_bio_pair(&near, 0, &far, 0), 1);
    t->client = SSL_new(t->context->ssl_ctx);
    SSL_set_connect_state(t->client);
    SSL_set1_host(t->client, TEST_HOST);
    SSL_set_tlsext_host_name(t->client, TEST_HOST);
    assert_true(hello_attach(t->client, t->context, near));
    scripted_open(&t->server, script, far);
    ERR_clear_error();
    assert_int_equal(SSL_do_handshake(t->client), -1);
    answer_hello(&t->server);
    put_extensions(&t->server);
    put_certificate(&t->server, leaf);
    put_verify(&t->server, leaf_key);
    put_finished(&t->server);
    send_flight(&t->server);
    bool done = SSL_do_handshake(t->client) == 1;
    t->stats = *hello_stats_of(t->client);
    /* Whatever secrets the engine needed, it asks for no more. */
    if (done)
        assert_null(SSL_CTX_get_keylog_callback(t->context->ssl_ctx));
    return done && hello_detach(t->client);
}

static void talk_close(struct talk *t)
{
    SSL_free(t->client);
    scripted_close(&t->server);
    hello_context_free(t->context);
    ERR_clear_error();
}

/* The handshake is whole, and the keys behind it are the same on both sides. */
static void assert_whole(struct talk *t, bool done)
{
    char text[8];
    size_t n;

    if (!done)
        ERR_print_errors_fp(stderr);
    assert_true(done);
    take_client_flight(&t->server);
    assert_true(t->server.saw_finished);
    assert_int_equal(t->server.saw_settings, t->server.script->alps != 0);
    assert_int_equal(t->server.saw_certificate, t->server.script->asks_certificate);
    assert_int_equal(SSL_write_ex(t->client, "ping", 4, &n), 1);
    assert_int_equal(take_client_data(&t->server, text, sizeof text), 4);
    assert_memory_equal(text, "ping", 4);
}

static void assert_succeeds(const char *profile, const struct script *script)
{
    struct talk t;

    assert_whole(&t, talk_open(&t, profile, script));
    assert_int_equal(t.stats.settings, script->alps != 0);
    assert_int_equal(t.stats.certificates, script->compress != 0);
    talk_close(&t);
}

static void assert_fails(const char *profile, const struct script *script, int reason)
{
    struct talk t;

    assert_false(talk_open(&t, profile, script));
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), reason);
    talk_close(&t);
}

static void plain_flight_passes(void **state)
{
    (void)state;
    assert_succeeds("chrome-133-windows", &(struct script){0});
    assert_succeeds("firefox-120-windows", &(struct script){0});
    assert_succeeds("safari-17-macos", &(struct script){.asks_certificate = true});
}

static void alps_is_answered_old_and_new(void **state)
{
    (void)state;
    assert_succeeds("chrome-133-windows", &(struct script){.alps = EXTENSION_ALPS});
    assert_succeeds("chrome-120-windows", &(struct script){.alps = EXTENSION_ALPS_OLD});
    assert_succeeds("chrome-120-windows", &(struct script){.alps = EXTENSION_ALPS_OLD, .asks_certificate = true});
}

static void compressed_certificates_are_unpacked(void **state)
{
    (void)state;
    assert_succeeds("chrome-133-windows", &(struct script){.compress = 2});
    assert_succeeds("safari-17-macos", &(struct script){.compress = 1});
    assert_succeeds("chrome-133-windows",
                    &(struct script){.compress = 2, .alps = EXTENSION_ALPS, .asks_certificate = true});
}

static void flight_may_come_in_small_records(void **state)
{
    (void)state;
    for (size_t n = 1; n < 60; n += 7)
        assert_succeeds("chrome-133-windows", &(struct script){.compress = 2, .alps = EXTENSION_ALPS, .fragment = n});
}

static void limit_of_records_is_kept(void **state)
{
    static const char text[3000];
    char out[3000];
    struct talk t;
    size_t n;

    (void)state;
    assert_true(talk_open(&t, "firefox-120-windows", &(struct script){.record_limit = 1001}));
    take_client_flight(&t.server);
    assert_int_equal(SSL_write_ex(t.client, text, sizeof text, &n), 1);
    assert_int_equal(take_client_data(&t.server, out, sizeof out), 1000);
    talk_close(&t);
    assert_fails("firefox-120-windows", &(struct script){.record_limit = 63}, SSL_R_BAD_EXTENSION);
    assert_fails("firefox-120-windows", &(struct script){.record_limit = 300}, SSL_R_BAD_EXTENSION);
    assert_succeeds("chrome-120-windows", &(struct script){.record_limit = 63});
}

static void what_was_not_offered_is_refused(void **state)
{
    (void)state;
    assert_fails("firefox-120-windows", &(struct script){.alps = EXTENSION_ALPS}, SSL_R_UNSOLICITED_EXTENSION);
    assert_fails("chrome-133-windows", &(struct script){.alps = EXTENSION_ALPS_OLD}, SSL_R_UNSOLICITED_EXTENSION);
    assert_fails("firefox-120-windows", &(struct script){.compress = 2}, SSL_R_BAD_DECOMPRESSION);
    assert_fails("chrome-133-windows", &(struct script){.compress = 1}, SSL_R_BAD_DECOMPRESSION);
}

static void servers_that_lie_are_refused(void **state)
{
    (void)state;
    assert_fails("chrome-133-windows", &(struct script){.compress = 2, .lies_of_length = true},
                 SSL_R_BAD_DECOMPRESSION);
    assert_fails("safari-17-macos", &(struct script){.compress = 1, .lies_of_length = true}, SSL_R_BAD_DECOMPRESSION);
    assert_fails("chrome-133-windows", &(struct script){.compress = 2, .twice = true}, SSL_R_BAD_DECOMPRESSION);
    assert_fails("chrome-133-windows", &(struct script){.spoils_verify = true}, SSL_R_BAD_SIGNATURE);
    assert_fails("chrome-133-windows", &(struct script){.compress = 2, .spoils_verify = true}, SSL_R_BAD_SIGNATURE);
    assert_fails("chrome-133-windows", &(struct script){.trailing = true}, SSL_R_NOT_ON_RECORD_BOUNDARY);
}

static void packed_bomb_is_not_unpacked(void **state)
{
    const struct hello_layout *layout = profile_find("chrome-133-windows")->hello;
    static uint8_t zeros[1u << 20];
    uint8_t packed[1024];
    struct buffer message = {0};
    struct buffer out = {0};
    size_t len = sizeof packed;

    (void)state;
    assert_true(BrotliEncoderCompress(9, 22, BROTLI_MODE_GENERIC, sizeof zeros, zeros, &len, packed));
    for (size_t told = 1000; told <= sizeof zeros; told *= 10) {
        buffer_clear(&message);
        buffer_append(&message, "\x19\0\0\0\0\2\0\0\0\0\0\0", 12);
        hello_set_number(&message, 6, 3, told);
        hello_set_number(&message, 9, 3, len);
        buffer_append(&message, packed, len);
        assert_false(hello_unpack(layout, (const uint8_t *)message.data, message.len, 102400, &out));
        assert_true(out.cap <= 2 * 102400 + 4096);
        buffer_clear(&out);
    }
    buffer_fini(&message);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_flight_passes),
        cmocka_unit_test(alps_is_answered_old_and_new),
        cmocka_unit_test(compressed_certificates_are_unpacked),
        cmocka_unit_test(flight_may_come_in_small_records),
        cmocka_unit_test(limit_of_records_is_kept),
        cmocka_unit_test(what_was_not_offered_is_refused),
        cmocka_unit_test(servers_that_lie_are_refused),
        cmocka_unit_test(packed_bomb_is_not_unpacked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
