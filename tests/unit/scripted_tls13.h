#pragma once
/* A server of TLS 1.3 written out by hand (RFC 8446), for what libssl's server can't do: ALPS, compressed certificates,
 * and saying things wrongly. One cipher (AES-128-GCM), one group (X25519), one certificate. Included by one test. */

#include <brotli/encode.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <zlib.h>

#include "tests/unit/hello_fixture.h"

struct script {
    unsigned alps;         /* extension type; 0: none */
    unsigned compress;     /* algorithm; 0: none */
    unsigned record_limit; /* 0: none */
    bool asks_certificate;
    bool lies_of_length; /* of the compressed certificate */
    bool twice;          /* the compressed certificate */
    bool spoils_verify;  /* one bit of CertificateVerify's signature */
    bool trailing;       /* a byte behind Finished */
    size_t fragment;     /* bytes of a record at most; 0: all in one */
};

struct scripted {
    const struct script *script;
    BIO *wire;
    EVP_MD_CTX *transcript;
    struct buffer in;                      /* from the client, not yet taken */
    struct buffer flight;                  /* messages to be sent under one key */
    struct hello cipher;                   /* says AES-128 to the key functions */
    struct hello_keys server, client, app; /* app: what the client sends later */
    uint8_t master[32];
    bool saw_settings, saw_certificate, saw_finished;
};

static void expand_label(const uint8_t secret[32], const char *label, const uint8_t *context, size_t context_len,
                         uint8_t out[32])
{
    uint8_t info[128];
    size_t n = 0;
    size_t label_len = strlen(label);

    info[n++] = 0;
    info[n++] = 32;
    info[n++] = (uint8_t)(6 + label_len);
    memcpy(info + n, "tls13 ", 6);
    memcpy(info + n + 6, label, label_len);
    n += 6 + label_len;
    info[n++] = (uint8_t)context_len;
    if (context_len)
        memcpy(info + n, context, context_len);
    n += context_len;
    info[n++] = 1;
    assert_non_null(HMAC(EVP_sha256(), secret, 32, info, n, out, NULL));
}

static void transcript_hash(const struct scripted *s, uint8_t out[32])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();

    EVP_MD_CTX_copy_ex(copy, s->transcript);
    EVP_DigestFinal_ex(copy, out, NULL);
    EVP_MD_CTX_free(copy);
}

static void set_keys(struct scripted *s, struct hello_keys *keys, const uint8_t secret[32])
{
    memcpy(keys->secret, secret, 32);
    keys->secret_len = 32;
    s->cipher.cipher = CIPHER_AES128;
    assert_true(hello_keys_ready(&s->cipher, keys));
}

/* Waits for a whole record of the client's; its bytes stand at the front of s->in. */
static size_t next_record(struct scripted *s)
{
    uint8_t bytes[4096];
    size_t n;

    while (BIO_ctrl_pending(s->wire) > 0 && BIO_read_ex(s->wire, bytes, sizeof bytes, &n) == 1)
        buffer_append(&s->in, bytes, n);
    if (s->in.len < 5)
        return 0;
    size_t len = 5 + ((size_t)(uint8_t)s->in.data[3] << 8 | (uint8_t)s->in.data[4]);
    return s->in.len >= len ? len : 0;
}

/* Begins a message in the flight; its length is set when it ends. */
static size_t begin(struct scripted *s, unsigned type)
{
    size_t at = s->flight.len;

    buffer_append_char(&s->flight, (char)type);
    buffer_append(&s->flight, "\0\0\0", 3);
    return at;
}

static void end(struct scripted *s, size_t at)
{
    hello_set_number(&s->flight, at + 1, 3, s->flight.len - at - 4);
    EVP_DigestUpdate(s->transcript, s->flight.data + at, s->flight.len - at);
}

static void answer_hello(struct scripted *s)
{
    size_t len = next_record(s);
    struct client_hello hello;
    uint8_t theirs[32] = {0};
    uint8_t shared[32];
    uint8_t secret[32];
    uint8_t hash[32];
    uint8_t empty[32];
    static const uint8_t zeros[32];
    size_t key_len = 32;

    assert_true(len > 5);
    EVP_DigestUpdate(s->transcript, s->in.data + 5, len - 5);
    assert_true(client_hello_parse((const uint8_t *)s->in.data + 5, len - 5, &hello));
    const struct client_hello_extension *e = client_hello_find(&hello, EXTENSION_KEY_SHARE);
    struct cursor c = cursor_of(e->body, e->len);
    struct cursor shares = cursor_vector(&c, 2);
    while (shares.left > 0) {
        unsigned group = cursor_u16(&shares);
        struct cursor key = cursor_vector(&shares, 2);
        if (group == GROUP_X25519 && key.left == 32)
            memcpy(theirs, key.at, 32);
    }
    EVP_PKEY *own = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, theirs, 32);
    EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new(own, NULL);
    EVP_PKEY_derive_init(derive);
    EVP_PKEY_derive_set_peer(derive, peer);
    assert_int_equal(EVP_PKEY_derive(derive, shared, &key_len), 1);
    EVP_PKEY_CTX_free(derive);
    EVP_PKEY_free(peer);
    size_t at = begin(s, MESSAGE_SERVER_HELLO);
    uint8_t random[32];
    RAND_bytes(random, 32);
    hello_put16(&s->flight, 0x0303);
    buffer_append(&s->flight, random, 32);
    buffer_append_char(&s->flight, (char)hello.session_id_len);
    buffer_append(&s->flight, hello.session_id, hello.session_id_len);
    hello_put16(&s->flight, CIPHER_AES128);
    buffer_append(&s->flight, "\0\0\x2e\0\x2b\0\2\3\4\0\x33\0\x24\0\x1d\0\x20", 17);
    EVP_PKEY_get_raw_public_key(own, random, &key_len);
    buffer_append(&s->flight, random, 32);
    EVP_PKEY_free(own);
    end(s, at);
    struct buffer record = {0};
    buffer_append(&record, "\x16\3\3", 3);
    hello_put16(&record, (unsigned)s->flight.len);
    buffer_append(&record, s->flight.data, s->flight.len);
    size_t n;
    assert_int_equal(BIO_write_ex(s->wire, record.data, record.len, &n), 1);
    buffer_fini(&record);
    buffer_clear(&s->flight);
    buffer_consume(&s->in, len);
    /* The key schedule. */
    EVP_Digest("", 0, empty, NULL, EVP_sha256(), NULL);
    HMAC(EVP_sha256(), zeros, 32, zeros, 32, secret, NULL);
    expand_label(secret, "derived", empty, 32, hash);
    HMAC(EVP_sha256(), hash, 32, shared, 32, secret, NULL);
    transcript_hash(s, hash);
    expand_label(secret, "s hs traffic", hash, 32, shared);
    set_keys(s, &s->server, shared);
    expand_label(secret, "c hs traffic", hash, 32, shared);
    set_keys(s, &s->client, shared);
    expand_label(secret, "derived", empty, 32, hash);
    HMAC(EVP_sha256(), hash, 32, zeros, 32, s->master, NULL);
}

static void put_extensions(struct scripted *s)
{
    size_t at = begin(s, MESSAGE_ENCRYPTED_EXTENSIONS);

    hello_put16(&s->flight, 0);
    buffer_append(&s->flight, "\0\x10\0\5\0\3\2h2", 9);
    if (s->script->alps) {
        hello_put16(&s->flight, s->script->alps);
        hello_put16(&s->flight, 3);
        buffer_append(&s->flight, "abc", 3);
    }
    if (s->script->record_limit) {
        hello_put16(&s->flight, EXTENSION_RECORD_LIMIT);
        hello_put16(&s->flight, 2);
        hello_put16(&s->flight, s->script->record_limit);
    }
    hello_set_number(&s->flight, at + 4, 2, s->flight.len - at - 6);
    end(s, at);
    if (s->script->asks_certificate) {
        at = begin(s, 13);
        buffer_append(&s->flight, "\0\0\x08\0\x0d\0\4\0\2\4\3", 11);
        end(s, at);
    }
}

static void put_compressed(struct scripted *s, const struct buffer *body)
{
    uint8_t packed[8192];
    uLongf zlib_len = sizeof packed;
    size_t len = sizeof packed;

    if (s->script->compress == 1) {
        assert_int_equal(compress(packed, &zlib_len, (const Bytef *)body->data, body->len), Z_OK);
        len = zlib_len;
    } else {
        assert_true(
            BrotliEncoderCompress(5, 22, BROTLI_MODE_GENERIC, body->len, (const uint8_t *)body->data, &len, packed));
    }
    size_t at = begin(s, MESSAGE_COMPRESSED_CERTIFICATE);
    hello_put16(&s->flight, s->script->compress);
    buffer_append_char(&s->flight, 0);
    hello_put16(&s->flight, (unsigned)body->len + (s->script->lies_of_length ? 1 : 0));
    buffer_append_char(&s->flight, 0);
    hello_put16(&s->flight, (unsigned)len);
    buffer_append(&s->flight, packed, len);
    end(s, at);
}

static void put_certificate(struct scripted *s, X509 *x)
{
    struct buffer body = {0};
    uint8_t *der = NULL;
    int len = i2d_X509(x, &der);

    assert_true(len > 0);
    buffer_append(&body, "\0\0", 2);
    hello_put16(&body, (unsigned)len + 5);
    buffer_append_char(&body, 0);
    hello_put16(&body, (unsigned)len);
    buffer_append(&body, der, (size_t)len);
    hello_put16(&body, 0);
    OPENSSL_free(der);
    if (s->script->compress) {
        put_compressed(s, &body);
        if (s->script->twice)
            put_compressed(s, &body);
    } else {
        size_t at = begin(s, MESSAGE_CERTIFICATE);
        buffer_append(&s->flight, body.data, body.len);
        end(s, at);
    }
    buffer_fini(&body);
}

static void put_verify(struct scripted *s, EVP_PKEY *key)
{
    static const char label[] = "TLS 1.3, server CertificateVerify";
    uint8_t content[64 + sizeof label + 32];
    uint8_t signature[128];
    size_t len = sizeof signature;
    EVP_MD_CTX *sign = EVP_MD_CTX_new();

    memset(content, ' ', 64);
    memcpy(content + 64, label, sizeof label);
    transcript_hash(s, content + 64 + sizeof label);
    EVP_DigestSignInit(sign, NULL, EVP_sha256(), NULL, key);
    assert_int_equal(EVP_DigestSign(sign, signature, &len, content, sizeof content), 1);
    EVP_MD_CTX_free(sign);
    size_t at = begin(s, 15);
    hello_put16(&s->flight, 0x0403);
    hello_put16(&s->flight, (unsigned)len);
    buffer_append(&s->flight, signature, len);
    if (s->script->spoils_verify)
        s->flight.data[s->flight.len - 1] ^= 1;
    end(s, at);
}

static void put_finished(struct scripted *s)
{
    uint8_t key[32];
    uint8_t hash[32];
    uint8_t mac[32];
    size_t at = begin(s, MESSAGE_FINISHED);

    expand_label(s->server.secret, "finished", NULL, 0, key);
    transcript_hash(s, hash);
    HMAC(EVP_sha256(), key, 32, hash, 32, mac, NULL);
    buffer_append(&s->flight, mac, 32);
    end(s, at);
    transcript_hash(s, hash);
    expand_label(s->master, "c ap traffic", hash, 32, mac);
    set_keys(s, &s->app, mac);
    if (s->script->trailing)
        buffer_append_char(&s->flight, 4);
}

static void send_flight(struct scripted *s)
{
    struct buffer records = {0};
    size_t piece = s->script->fragment ? s->script->fragment : s->flight.len;
    size_t n;

    for (size_t at = 0; at < s->flight.len; at += piece) {
        size_t len = s->flight.len - at < piece ? s->flight.len - at : piece;
        assert_true(
            hello_record_seal(&s->server, RECORD_HANDSHAKE, (const uint8_t *)s->flight.data + at, len, &records));
    }
    assert_int_equal(BIO_write_ex(s->wire, records.data, records.len, &n), 1);
    assert_int_equal(n, records.len);
    buffer_fini(&records);
}

/* Each message of the client's flight stands in a record of its own. */
static void take_client_message(struct scripted *s, const uint8_t *message, size_t len)
{
    uint8_t key[32];
    uint8_t hash[32];
    uint8_t mac[32];

    switch (message[0]) {
    case MESSAGE_ENCRYPTED_EXTENSIONS:
        assert_false(s->saw_settings || s->saw_certificate);
        assert_int_equal(len, 10);
        assert_int_equal(message[6] << 8 | message[7], s->script->alps);
        s->saw_settings = true;
        break;
    case MESSAGE_CERTIFICATE:
        s->saw_certificate = true;
        break;
    default:
        assert_int_equal(message[0], MESSAGE_FINISHED);
        assert_int_equal(len, 36);
        expand_label(s->client.secret, "finished", NULL, 0, key);
        transcript_hash(s, hash);
        HMAC(EVP_sha256(), key, 32, hash, 32, mac, NULL);
        assert_memory_equal(message + 4, mac, 32);
        s->saw_finished = true;
        break;
    }
    EVP_DigestUpdate(s->transcript, message, len);
}

static void take_client_flight(struct scripted *s)
{
    size_t len;

    while (!s->saw_finished && (len = next_record(s)) > 0) {
        struct buffer plain = {0};
        uint8_t type = 0;
        if (s->in.data[0] == RECORD_APPLICATION) {
            assert_true(hello_record_open(&s->client, (const uint8_t *)s->in.data, len, &plain, &type));
            assert_int_equal(type, RECORD_HANDSHAKE);
            take_client_message(s, (const uint8_t *)plain.data, plain.len);
        }
        buffer_fini(&plain);
        buffer_consume(&s->in, len);
    }
}

/* What the client writes over the finished connection, in one record; returns that record's plaintext length. */
static size_t take_client_data(struct scripted *s, char *out, size_t size)
{
    size_t len = next_record(s);
    struct buffer plain = {0};
    uint8_t type = 0;

    assert_true(len > 0);
    assert_true(hello_record_open(&s->app, (const uint8_t *)s->in.data, len, &plain, &type));
    assert_int_equal(type, RECORD_APPLICATION);
    size_t n = plain.len;
    memcpy(out, plain.data, n < size ? n : size);
    buffer_fini(&plain);
    buffer_consume(&s->in, len);
    return n;
}

static void scripted_open(struct scripted *s, const struct script *script, BIO *wire)
{
    *s = (struct scripted){.script = script, .wire = wire, .transcript = EVP_MD_CTX_new()};
    EVP_DigestInit_ex(s->transcript, EVP_sha256(), NULL);
}

static void scripted_close(struct scripted *s)
{
    EVP_MD_CTX_free(s->transcript);
    buffer_fini(&s->in);
    buffer_fini(&s->flight);
    hello_keys_fini(&s->server);
    hello_keys_fini(&s->client);
    hello_keys_fini(&s->app);
    BIO_free(s->wire);
}
