/* Exact hellos against libssl's own server, in memory: what each profile sends, and that every kind of handshake ends
 * well, or is refused as it is without a profile. */
#include "tests/unit/hello_fixture.h"

static void self_test_passes(void **state)
{
    const char *reason = "";

    (void)state;
    if (!hello_self_test(&reason))
        fail_msg("%s", reason);
}

/* Full, then resumed, by every profile. */
static void each_profile(SSL_CTX *server, int version, unsigned hellos)
{
    struct pair p;

    for (size_t i = 0; i < profile_count(); i++) {
        struct hello_context *c = context_for(profile_at(i)->name, NULL);
        bool old = SSL_CTX_get_max_proto_version(c->ssl_ctx) == TLS1_2_VERSION;
        for (int turns = 0; turns < 2; turns++) {
            shake(c, server, turns == 1, &p);
            assert_int_equal(SSL_version(p.client), old ? TLS1_2_VERSION : version);
            assert_int_equal(p.hellos, old ? 1 : hellos);
            assert_int_equal(p.stats.hellos, p.hellos);
            pair_close(&p);
        }
        hello_context_free(c);
    }
}

static void every_profile_speaks_tls13_and_resumes(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);

    (void)state;
    each_profile(server, TLS1_3_VERSION, 1);
    assert_int_equal(SSL_CTX_set1_groups_list(server, "P-256:X25519"), 1);
    each_profile(server, TLS1_3_VERSION, 1);
    SSL_CTX_free(server);
}

static void every_profile_bears_a_hello_retry_request(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);

    (void)state;
    assert_int_equal(SSL_CTX_set1_groups_list(server, "P-384"), 1);
    each_profile(server, TLS1_3_VERSION, 2);
    SSL_CTX_free(server);
}

static void every_profile_speaks_tls12_with_ecdhe(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);

    (void)state;
    SSL_CTX_set_max_proto_version(server, TLS1_2_VERSION);
    each_profile(server, TLS1_2_VERSION, 1);
    SSL_CTX_free(server);
}

static void every_profile_speaks_tls12_with_rsa_and_cbc(void **state)
{
    SSL_CTX *server = server_new("RSA", TEST_HOST, -60, 3600);

    (void)state;
    SSL_CTX_set_max_proto_version(server, TLS1_2_VERSION);
    assert_int_equal(SSL_CTX_set_cipher_list(server, "AES128-SHA"), 1);
    each_profile(server, TLS1_2_VERSION, 1);
    SSL_CTX_free(server);
}

static void every_cipher_of_tls13_does(void **state)
{
    static const char *const names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                        "TLS_CHACHA20_POLY1305_SHA256"};
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("chrome-120-windows", NULL);
    struct pair p;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(SSL_CTX_set_ciphersuites(server, names[i]), 1);
        for (int turns = 0; turns < 2; turns++) {
            shake(c, server, turns == 1, &p);
            assert_string_equal(SSL_get_cipher_name(p.client), names[i]);
            pair_close(&p);
        }
    }
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void extended_master_secret_is_in_force(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("firefox-120-windows", NULL);
    struct pair p;

    (void)state;
    SSL_CTX_set_max_proto_version(server, TLS1_2_VERSION);
    shake(c, server, false, &p);
    assert_int_equal(SSL_get_extms_support(p.client), 1);
    assert_int_equal(SSL_get_extms_support(p.server), 1);
    pair_close(&p);
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void certificate_request_is_answered_with_none(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("chrome-133-windows", NULL);
    struct pair p;

    (void)state;
    SSL_CTX_set_verify(server, SSL_VERIFY_PEER, NULL);
    for (int version = TLS1_3_VERSION; version >= TLS1_2_VERSION; version--) {
        SSL_CTX_set_max_proto_version(server, version);
        shake(c, server, false, &p);
        pair_close(&p);
    }
    hello_context_free(c);
    SSL_CTX_free(server);
}

/* Of the hello without its padding, which comes and goes with the length of the host's name. */
static void hashes(struct pair *p, char ja3n[JA3_SIZE], char ja3[JA3_SIZE], char ja4[JA4_SIZE])
{
    struct client_hello hello;

    assert_true(client_hello_parse((const uint8_t *)p->hello.data, p->hello.len, &hello));
    client_hello_drop_padding(&hello);
    ja3_hash(&hello, true, ja3n);
    ja3_hash(&hello, false, ja3);
    ja4_hash(&hello, ja4);
}

static void every_profile_has_the_hashes_of_its_browser(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    char ja3[JA3_SIZE];
    char ja3n[JA3_SIZE];
    char ja4[JA4_SIZE];
    struct pair p;

    (void)state;
    for (size_t i = 0; i < profile_count(); i++) {
        const struct profile *profile = profile_at(i);
        if (profile->draw != PROFILE_FIXED)
            continue;
        struct hello_context *c = context_for(profile->name, NULL);
        shake(c, server, false, &p);
        hashes(&p, ja3n, ja3, ja4);
        assert_string_equal(ja4, profile->hello->ja4);
        /* JA3 has the groups in it. */
        if (c->grade == HELLO_EXACT || strcmp(profile->hello->name, "chrome-115pq") == 0)
            assert_string_equal(ja3n, profile->hello->ja3n);
        if (c->grade == HELLO_EXACT && !profile->hello->permute)
            assert_string_equal(ja3, profile->hello->ja3);
        pair_close(&p);
        hello_context_free(c);
    }
    SSL_CTX_free(server);
}

static size_t length_of(const struct client_hello *hello, uint16_t type)
{
    const struct client_hello_extension *e = client_hello_find(hello, type);

    return e ? e->len : 9999;
}

static void hello_is_the_browsers_field_by_field(void **state)
{
    static const uint16_t shares[] = {GROUP_X25519, GROUP_P256};
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("firefox-120-windows", NULL);
    struct client_hello hello;
    struct pair p;

    (void)state;
    shake(c, server, false, &p);
    assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
    assert_int_equal(hello.shares.count, 2);
    assert_memory_equal(hello.shares.codes, shares, sizeof shares);
    assert_int_equal(length_of(&hello, EXTENSION_KEY_SHARE), 2 + 4 + 32 + 4 + 65);
    assert_int_equal(hello.extensions[0].type, EXTENSION_SNI);
    assert_int_equal(hello.session_id_len, 32);
    assert_null(client_hello_find(&hello, EXTENSION_PSK));
    assert_null(client_hello_find(&hello, 0xfd5a));
    pair_close(&p);
    /* A session resumed: the PSK stands last. */
    shake(c, server, true, &p);
    assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
    assert_int_equal(hello.extensions[hello.extension_count - 1].type, EXTENSION_PSK);
    pair_close(&p);
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void browser_that_shuffles_does_and_grease_is_drawn(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("chrome-120-windows", NULL);
    uint16_t orders[8][18];
    struct client_hello hello;
    unsigned different = 0;
    unsigned greases = 0;
    struct pair p;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        shake(c, server, false, &p);
        assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
        assert_int_equal(hello.extension_count, 18);
        for (size_t j = 0; j < 18; j++)
            orders[i][j] = hello.extensions[j].type;
        assert_true(client_hello_is_grease(orders[i][0]));
        assert_true(client_hello_is_grease(orders[i][17]));
        assert_int_not_equal(orders[i][0], orders[i][17]);
        different += i && memcmp(orders[i] + 1, orders[0] + 1, 16 * sizeof(uint16_t)) != 0;
        greases += i && orders[i][0] != orders[0][0];
        pair_close(&p);
    }
    assert_true(different >= 6 && greases >= 2);
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void key_shares_are_a_connections_own(void **state)
{
    static const size_t keys[][2] = {{6, 32}, {42, 65}}; /* X25519, P-256: where they stand, and their bytes */
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("firefox-120-windows", NULL);
    uint8_t bodies[8][107];
    struct client_hello hello;
    struct pair p;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        shake(c, server, i % 2, &p);
        assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
        const struct client_hello_extension *shares = client_hello_find(&hello, EXTENSION_KEY_SHARE);
        assert_true(shares && shares->len == sizeof bodies[i]);
        memcpy(bodies[i], shares->body, shares->len);
        for (size_t j = 0; j < 2 * i; j++)
            assert_memory_not_equal(bodies[i] + keys[j % 2][0], bodies[j / 2] + keys[j % 2][0], keys[j % 2][1]);
        pair_close(&p);
    }
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void randomised_hellos_differ_and_keep_to_their_alpn(void **state)
{
    static const struct {
        const char *name;
        int alpn; /* at least, of 12 */
        int most;
    } kinds[] = {{"randomized", 1, 12}, {"randomized-alpn", 12, 12}, {"randomized-noalpn", 0, 0}};
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    char first[JA4_SIZE];
    char ja3n[JA3_SIZE];
    char ja3[JA3_SIZE];
    char ja4[JA4_SIZE];
    struct client_hello hello;
    struct pair p;

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct hello_context *c = context_for(kinds[k].name, NULL);
        int alpn = 0;
        int different = 0;
        for (int i = 0; i < 12; i++) {
            shake(c, server, false, &p);
            hashes(&p, ja3n, ja3, ja4);
            assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
            alpn += client_hello_find(&hello, EXTENSION_ALPN) != NULL;
            if (i == 0)
                memcpy(first, ja4, sizeof first);
            different += strcmp(first, ja4) != 0;
            pair_close(&p);
        }
        assert_true(alpn >= kinds[k].alpn && alpn <= kinds[k].most);
        assert_true(different > 2);
        hello_context_free(c);
    }
    SSL_CTX_free(server);
}

static void alpn_of_the_owner_stands_in_for_the_browsers(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("chrome-133-windows", "\x08http/1.1");
    struct client_hello hello;
    struct pair p;

    (void)state;
    shake(c, server, false, &p);
    assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
    assert_int_equal(length_of(&hello, EXTENSION_ALPN), 2 + 9);
    assert_null(client_hello_find(&hello, EXTENSION_ALPS));
    pair_close(&p);
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void assert_refused(SSL_CTX *server, const char *profile, bool trusted)
{
    struct hello_context *c = context_for(profile, NULL);
    struct pair p;

    if (!trusted) {
        X509_STORE *empty = X509_STORE_new();
        SSL_CTX_set_cert_store(c->ssl_ctx, empty);
    }
    pair_open(&p, c, server);
    assert_false(pair_shake(&p));
    assert_int_not_equal(SSL_get_verify_result(p.client), X509_V_OK);
    pair_close(&p);
    hello_context_free(c);
}

static void wrong_host_expired_and_unknown_issuer_are_refused(void **state)
{
    static const char *const profiles[] = {"chrome-133-windows", "firefox-120-windows", "safari-17-macos",
                                           "ios-12-iphone"};
    SSL_CTX *wrong = server_new("EC", "b.test", -60, 3600);
    SSL_CTX *expired = server_new("EC", TEST_HOST, -7200, -3600);
    SSL_CTX *good = server_new("EC", TEST_HOST, -60, 3600);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_refused(wrong, profiles[i], true);
        assert_refused(expired, profiles[i], true);
        assert_refused(good, profiles[i], false);
    }
    SSL_CTX_free(wrong);
    SSL_CTX_free(expired);
    SSL_CTX_free(good);
}

/* The server's records pass through here with one bit turned. Returns whether there was such a byte. */
static bool flip_on_the_way(struct pair *p, size_t *seen, size_t at)
{
    uint8_t bytes[65536];
    size_t len = 0;
    bool flipped = false;

    /* What the server wrote waits at the client's end of the pair. */
    const struct hello *h = SSL_get_ex_data(p->client, hello_engine.ssl_index);
    BIO *near = h->below;
    while (BIO_ctrl_pending(near) > 0 && len < sizeof bytes) {
        int n = BIO_read(near, bytes + len, (int)(sizeof bytes - len));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (at >= *seen && at < *seen + len) {
        bytes[at - *seen] ^= 0x20;
        flipped = true;
    }
    *seen += len;
    size_t n = 0;
    BIO_write_ex(p->wire, bytes, len, &n);
    return flipped;
}

/* Whatever byte of the server's flight is changed, there is no handshake. */
static void tampered_flight(const char *profile, int version, const char *groups)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for(profile, NULL);

    SSL_CTX_set_max_proto_version(server, version);
    SSL_CTX_set1_groups_list(server, groups);
    SSL_CTX_set_num_tickets(server, 0);
    for (size_t at = 5;; at += 13) {
        struct pair p;
        bool done = false;
        bool flipped = false;
        size_t seen = 0;
        pair_open(&p, c, server);
        bool alive = true;
        for (int i = 0; i < ROUNDS_MAX && alive && !done; i++) {
            alive = turn(&p, &done);
            if (alive && !done && SSL_get_ex_data(p.client, hello_engine.ssl_index))
                flipped |= flip_on_the_way(&p, &seen, at);
        }
        if (flipped && done)
            fail_msg("%s: byte %zu of the server's flight was turned and nobody saw it", profile, at);
        pair_close(&p);
        if (!flipped)
            break;
    }
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void tampered_bytes_of_the_server_are_seen(void **state)
{
    (void)state;
    tampered_flight("chrome-133-windows", TLS1_3_VERSION, "X25519");
    tampered_flight("firefox-120-windows", TLS1_3_VERSION, "P-256");
    tampered_flight("firefox-120-windows", TLS1_3_VERSION, "P-384");
    tampered_flight("chrome-120-windows", TLS1_2_VERSION, "X25519");
    if (hello_engine.has_mlkem)
        tampered_flight("chrome-133-windows", TLS1_3_VERSION, "X25519MLKEM768");
}

static void server_that_is_none_of_tls_is_told_as_such(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\3\3\0\2\2\x28",
                                          "\x16\3\3\0\4\2\0\0\0", "\x16\3\3\xff\xff", "\x17\3\3\0\1x"};
    static const size_t lens[] = {28, 7, 9, 5, 6};
    struct hello_context *c = context_for("chrome-133-windows", NULL);
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct pair p;
        size_t n;
        pair_open(&p, c, server);
        assert_int_equal(SSL_do_handshake(p.client), -1);
        assert_int_equal(BIO_write_ex(p.wire, answers[i], lens[i], &n), 1);
        BIO_shutdown_wr(p.wire);
        assert_int_not_equal(SSL_do_handshake(p.client), 1);
        assert_int_equal(SSL_get_error(p.client, -1), SSL_ERROR_SSL);
        pair_close(&p);
    }
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void nothing_is_left_after_the_handshake(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("chrome-120-windows", NULL);
    uint8_t random[HELLO_RANDOM_BYTES];
    struct pair p;

    (void)state;
    pair_open(&p, c, server);
    SSL_do_handshake(p.client);
    SSL_get_client_random(p.client, random, sizeof random);
    assert_non_null(hello_find(random));
    assert_true(pair_shake(&p));
    assert_null(hello_find(random));
    assert_null(hello_stats_of(p.client));
    assert_true(hello_detach(p.client));
    assert_talks(&p);
    pair_close(&p);
    hello_context_free(c);
    SSL_CTX_free(server);
}

/* With a server that does not answer yet there is the hello's own piece and what it was made of, and nothing else. */
static void little_is_held_while_the_server_is_waited_for(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct hello_context *c = context_for("firefox-120-windows", NULL);
    struct pair p;

    (void)state;
    pair_open(&p, c, server);
    SSL_do_handshake(p.client);
    const struct hello *h = SSL_get_ex_data(p.client, hello_engine.ssl_index);
    const struct buffer *const buffers[] = {&h->in, &h->out, &h->messages, &h->from_libssl, &h->to_wire};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        assert_int_equal(buffers[i]->cap, 0);
    assert_true(pair_shake(&p));
    pair_close(&p);
    hello_context_free(c);
    SSL_CTX_free(server);
}

static unsigned lines_told;

static void count_line(const SSL *ssl, const char *line)
{
    (void)ssl;
    lines_told += *line != 0;
}

/* libssl writes its key log only where the engine, or somebody else, reads it. */
static void key_log_is_written_when_it_is_read(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const unsigned lines[] = {1, 5};
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct pair p;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        lines_told = 0;
        hello_set_keylog(i < 2 ? count_line : NULL);
        struct hello_context *c = context_for("chrome-133-windows", NULL);
        assert_int_equal(SSL_CTX_set_max_proto_version(server, versions[i % 2]), 1);
        shake(c, server, false, &p);
        assert_int_equal(lines_told, i < 2 ? lines[i] : 0);
        assert_int_equal(SSL_CTX_get_keylog_callback(c->ssl_ctx) != NULL, i < 2);
        pair_close(&p);
        hello_context_free(c);
    }
    SSL_CTX_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_test_passes),
        cmocka_unit_test(every_profile_speaks_tls13_and_resumes),
        cmocka_unit_test(every_profile_bears_a_hello_retry_request),
        cmocka_unit_test(every_profile_speaks_tls12_with_ecdhe),
        cmocka_unit_test(every_profile_speaks_tls12_with_rsa_and_cbc),
        cmocka_unit_test(every_cipher_of_tls13_does),
        cmocka_unit_test(extended_master_secret_is_in_force),
        cmocka_unit_test(certificate_request_is_answered_with_none),
        cmocka_unit_test(every_profile_has_the_hashes_of_its_browser),
        cmocka_unit_test(hello_is_the_browsers_field_by_field),
        cmocka_unit_test(browser_that_shuffles_does_and_grease_is_drawn),
        cmocka_unit_test(key_shares_are_a_connections_own),
        cmocka_unit_test(randomised_hellos_differ_and_keep_to_their_alpn),
        cmocka_unit_test(alpn_of_the_owner_stands_in_for_the_browsers),
        cmocka_unit_test(wrong_host_expired_and_unknown_issuer_are_refused),
        cmocka_unit_test(tampered_bytes_of_the_server_are_seen),
        cmocka_unit_test(server_that_is_none_of_tls_is_told_as_such),
        cmocka_unit_test(nothing_is_left_after_the_handshake),
        cmocka_unit_test(little_is_held_while_the_server_is_waited_for),
        cmocka_unit_test(key_log_is_written_when_it_is_read),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
