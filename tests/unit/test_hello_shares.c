/* Key shares of exact hellos: the hybrid one of X25519 and ML-KEM where libssl has it, what comes instead where it has
 * not, and all of them once more when a server only gives a cookie. */
#include "tests/unit/hello_fixture.h"

#define HYBRID       "X25519MLKEM768"
#define HYBRID_BYTES (1184 + 32) /* of a client's share (draft-ietf-tls-ecdhe-mlkem) */

static void has_hybrid_share(const struct pair *p, uint16_t group)
{
    struct client_hello hello;

    assert_true(client_hello_parse((const uint8_t *)p->hello.data, p->hello.len, &hello));
    const struct client_hello_extension *e = client_hello_find(&hello, EXTENSION_KEY_SHARE);
    assert_int_equal(hello.shares.codes[hello.shares.count - 1], group);
    if (group == GROUP_MLKEM)
        assert_int_equal(e->len, 2 + 4 + HYBRID_BYTES);
    else
        assert_int_equal(e->len, 2 + 4 + 1 + 4 + HYBRID_BYTES + 4 + 32);
}

/* Where libssl lacks it the cases of it are empty: cmocka's word for a skipped one is a failure for meson. */
static bool is_hybrid_agreed(SSL *ssl)
{
    return SSL_get_negotiated_group(ssl) == (TLSEXT_nid_unknown | GROUP_MLKEM);
}

/* Its share is libssl's, between one of GREASE and that of X25519; a server that takes nothing else takes it. */
static void hybrid_share_is_sent_and_agreed(void **state)
{
    static const char *const profiles[] = {"chrome-131-windows", "chrome-133-windows", "chrome-133-macos"};
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct pair p;

    (void)state;
    if (!hello_engine.has_mlkem) {
        SSL_CTX_free(server);
        return;
    }
    assert_int_equal(SSL_CTX_set1_groups_list(server, HYBRID), 1);
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        struct hello_context *c = context_for(profiles[i], NULL);
        assert_int_equal(c->grade, HELLO_EXACT);
        for (int turns = 0; turns < 2; turns++) {
            shake(c, server, turns == 1, &p);
            assert_true(is_hybrid_agreed(p.client) && is_hybrid_agreed(p.server));
            assert_int_equal(p.hellos, 1);
            has_hybrid_share(&p, GROUP_X25519);
            pair_close(&p);
        }
        hello_context_free(c);
    }
    SSL_CTX_free(server);
}

/* A browser that names the group without a share of it, full and resumed. */
static void hybrid_share_is_sent_when_it_is_asked_for(void **state)
{
    struct profile profile = *profile_find("chrome-133-windows");
    struct hello_layout layout = *profile.hello;
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct pair p;

    (void)state;
    if (!hello_engine.has_mlkem) {
        SSL_CTX_free(server);
        return;
    }
    for (size_t i = 0; i < layout.extension_count; i++) {
        if (layout.extensions[i].type == EXTENSION_KEY_SHARE) {
            layout.extensions[i].list_count = 1;
            layout.extensions[i].list[0] = GROUP_X25519;
        }
    }
    profile.hello = &layout;
    assert_int_equal(SSL_CTX_set1_groups_list(server, HYBRID), 1);
    struct hello_context *c = context_of(&profile, NULL);
    for (int turns = 0; turns < 2; turns++) {
        shake(c, server, turns == 1, &p);
        assert_true(is_hybrid_agreed(p.client) && is_hybrid_agreed(p.server));
        assert_int_equal(p.hellos, 2);
        assert_int_equal(p.stats.retries, 1);
        has_hybrid_share(&p, GROUP_MLKEM);
        pair_close(&p);
    }
    hello_context_free(c);
    SSL_CTX_free(server);
}

static void browser_with_the_hybrid_share_does_without_where_libssl_has_none(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    bool before = hello_engine.has_mlkem;
    struct client_hello hello;
    struct pair p;

    (void)state;
    hello_engine.has_mlkem = false;
    struct hello_context *c = context_for("chrome-133-windows", NULL);
    assert_int_equal(c->grade, HELLO_PARTIAL);
    shake(c, server, false, &p);
    assert_true(client_hello_parse((const uint8_t *)p.hello.data, p.hello.len, &hello));
    for (size_t i = 0; i < hello.groups.count; i++)
        assert_int_not_equal(hello.groups.codes[i], GROUP_MLKEM);
    pair_close(&p);
    hello_context_free(c);
    hello_engine.has_mlkem = before;
    SSL_CTX_free(server);
}

static int make_cookie(SSL *ssl, unsigned char *cookie, size_t *len)
{
    (void)ssl;
    static const unsigned char biscuit[7] = {'b', 'i', 's', 'c', 'u', 'i', 't'};

    memcpy(cookie, biscuit, sizeof biscuit);
    *len = sizeof biscuit;
    return 1;
}

static int check_cookie(SSL *ssl, const unsigned char *cookie, size_t len)
{
    (void)ssl;
    return len == 7 && memcmp(cookie, "biscuit", 7) == 0;
}

/* A HelloRetryRequest that names no group (RFC 8446 4.2.2): the shares are those of before, the hybrid one too. */
static void every_profile_bears_a_cookie(void **state)
{
    SSL_CTX *server = server_new("EC", TEST_HOST, -60, 3600);
    struct pair p;

    (void)state;
    SSL_CTX_set_stateless_cookie_generate_cb(server, make_cookie);
    SSL_CTX_set_stateless_cookie_verify_cb(server, check_cookie);
    for (size_t i = 0; i < profile_count(); i++) {
        struct hello_context *c = context_for(profile_at(i)->name, NULL);
        if (SSL_CTX_get_max_proto_version(c->ssl_ctx) == TLS1_3_VERSION) {
            pair_open(&p, c, server);
            SSL_do_handshake(p.client);
            assert_int_equal(SSL_stateless(p.server), 0);
            SSL_do_handshake(p.client);
            /* libssl takes the change_cipher_spec in a call of its own. */
            assert_true(SSL_stateless(p.server) == 1 || SSL_stateless(p.server) == 1);
            assert_true(pair_shake(&p));
            assert_int_equal(p.stats.retries, 1);
            assert_talks(&p);
            pair_close(&p);
        }
        hello_context_free(c);
    }
    SSL_CTX_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hybrid_share_is_sent_and_agreed),
        cmocka_unit_test(hybrid_share_is_sent_when_it_is_asked_for),
        cmocka_unit_test(browser_with_the_hybrid_share_does_without_where_libssl_has_none),
        cmocka_unit_test(every_profile_bears_a_cookie),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
