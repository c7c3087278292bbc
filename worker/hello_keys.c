/* Keys and records of the TLS 1.3 handshake: secrets from libssl's key log, keys by HKDF-Expand-Label, records opened
 * and sealed again (RFC 8446 5.2, 7.1, 7.3). */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/sslerr.h>
#include <string.h>

#include "worker/hello_parts.h"

#define TAG_BYTES    16
#define HEADER_BYTES 5

const EVP_MD *hello_cipher_md(uint16_t cipher)
{
    return cipher == CIPHER_AES256 ? hello_engine.sha384 : hello_engine.sha256;
}

static const EVP_CIPHER *cipher_of(uint16_t cipher)
{
    switch (cipher) {
    case CIPHER_AES128:
        return hello_engine.aes128;
    case CIPHER_AES256:
        return hello_engine.aes256;
    case CIPHER_CHACHA20:
        return hello_engine.chacha20;
    default:
        return NULL;
    }
}

/* HKDF-Expand-Label with no context, of no more than one block. */
static bool expand(uint16_t cipher, const struct hello_keys *keys, const char *label, uint8_t *out, size_t len)
{
    const EVP_MD *md = hello_cipher_md(cipher);
    uint8_t block[EVP_MAX_MD_SIZE];
    uint8_t info[64];
    unsigned block_len = 0;
    size_t label_len = strlen(label);
    size_t n = 0;

    info[n++] = 0;
    info[n++] = (uint8_t)len;
    info[n++] = (uint8_t)(6 + label_len);
    memcpy(info + n, "tls13 ", 6);
    n += 6;
    memcpy(info + n, label, label_len);
    n += label_len;
    info[n++] = 0;
    info[n++] = 1;
    if (!HMAC(md, keys->secret, (int)keys->secret_len, info, n, block, &block_len) || block_len < len)
        return false;
    memcpy(out, block, len);
    OPENSSL_cleanse(block, sizeof block);
    return true;
}

bool hello_keys_ready(struct hello *h, struct hello_keys *keys)
{
    const EVP_CIPHER *cipher = cipher_of(h->cipher);
    uint8_t key[32];

    if (keys->open)
        return true;
    if (!cipher || keys->secret_len != (size_t)EVP_MD_get_size(hello_cipher_md(h->cipher)))
        return false;
    size_t key_len = (size_t)EVP_CIPHER_get_key_length(cipher);
    keys->open = EVP_CIPHER_CTX_new();
    keys->seal = EVP_CIPHER_CTX_new();
    bool good = keys->open && keys->seal && expand(h->cipher, keys, "key", key, key_len) &&
                expand(h->cipher, keys, "iv", keys->iv, sizeof keys->iv) &&
                EVP_DecryptInit_ex2(keys->open, cipher, key, NULL, NULL) == 1 &&
                EVP_EncryptInit_ex2(keys->seal, cipher, key, NULL, NULL) == 1;
    OPENSSL_cleanse(key, sizeof key);
    return good;
}

void hello_keys_fini(struct hello_keys *keys)
{
    EVP_CIPHER_CTX_free(keys->open);
    EVP_CIPHER_CTX_free(keys->seal);
    OPENSSL_cleanse(keys, sizeof *keys);
}

static void make_nonce(const struct hello_keys *keys, uint64_t number, uint8_t nonce[12])
{
    memcpy(nonce, keys->iv, 12);
    for (size_t i = 0; i < 8; i++)
        nonce[11 - i] ^= (uint8_t)(number >> (8 * i));
}

bool hello_record_open(struct hello_keys *keys, const uint8_t *record, size_t len, struct buffer *out, uint8_t *type)
{
    uint8_t nonce[12];
    uint8_t tag[TAG_BYTES];
    int n = 0;
    int rest = 0;

    if (len < HEADER_BYTES + TAG_BYTES + 1 || len > HELLO_RECORD_WIRE_MAX)
        return false;
    size_t inner = len - HEADER_BYTES - TAG_BYTES;
    make_nonce(keys, keys->opened++, nonce);
    memcpy(tag, record + len - TAG_BYTES, TAG_BYTES);
    buffer_reserve(out, inner);
    uint8_t *plain = (uint8_t *)out->data + out->len;
    if (EVP_DecryptInit_ex2(keys->open, NULL, NULL, nonce, NULL) != 1 ||
        EVP_DecryptUpdate(keys->open, NULL, &n, record, HEADER_BYTES) != 1 ||
        EVP_DecryptUpdate(keys->open, plain, &n, record + HEADER_BYTES, (int)inner) != 1 ||
        EVP_CIPHER_CTX_ctrl(keys->open, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) != 1 ||
        EVP_DecryptFinal_ex(keys->open, plain + n, &rest) != 1)
        return false;
    while (inner > 0 && plain[inner - 1] == 0)
        inner--;
    if (inner == 0 || inner - 1 > HELLO_RECORD_MAX)
        return false;
    *type = plain[inner - 1];
    out->len += inner - 1;
    return true;
}

static bool seal_one(struct hello_keys *keys, uint8_t type, const uint8_t *data, size_t len, struct buffer *out)
{
    const size_t body = len + 1 + TAG_BYTES;
    const uint8_t header[HEADER_BYTES] = {RECORD_APPLICATION, 3, 3, (uint8_t)(body >> 8), (uint8_t)body};
    uint8_t nonce[12];
    int n = 0;
    int more = 0;
    int rest = 0;

    make_nonce(keys, keys->sealed++, nonce);
    buffer_append(out, header, sizeof header);
    buffer_reserve(out, body);
    uint8_t *at = (uint8_t *)out->data + out->len;
    bool good = EVP_EncryptInit_ex2(keys->seal, NULL, NULL, nonce, NULL) == 1 &&
                EVP_EncryptUpdate(keys->seal, NULL, &n, header, sizeof header) == 1 &&
                EVP_EncryptUpdate(keys->seal, at, &n, data, (int)len) == 1 &&
                EVP_EncryptUpdate(keys->seal, at + n, &more, &type, 1) == 1 &&
                EVP_EncryptFinal_ex(keys->seal, at + n + more, &rest) == 1 &&
                EVP_CIPHER_CTX_ctrl(keys->seal, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, at + len + 1) == 1;
    out->len += body;
    return good;
}

bool hello_record_seal(struct hello_keys *keys, uint8_t type, const uint8_t *data, size_t len, struct buffer *out)
{
    while (len > 0) {
        size_t n = len < HELLO_RECORD_MAX ? len : HELLO_RECORD_MAX;
        if (!seal_one(keys, type, data, n, out))
            return false;
        data += n;
        len -= n;
    }
    return true;
}

bool hello_verify_data(struct hello *h, const EVP_MD_CTX *transcript, uint8_t out[EVP_MAX_MD_SIZE], size_t *len)
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    uint8_t hash[EVP_MAX_MD_SIZE];
    uint8_t key[EVP_MAX_MD_SIZE];
    unsigned hash_len = 0;
    unsigned out_len = 0;

    bool good = copy && EVP_MD_CTX_copy_ex(copy, transcript) == 1 && EVP_DigestFinal_ex(copy, hash, &hash_len) == 1 &&
                h->client.secret_len == hash_len && expand(h->cipher, &h->client, "finished", key, hash_len) &&
                HMAC(hello_cipher_md(h->cipher), key, (int)hash_len, hash, hash_len, out, &out_len);
    EVP_MD_CTX_free(copy);
    OPENSSL_cleanse(key, sizeof key);
    *len = out_len;
    return good;
}

/* The hexadecimal digits that end the line. */
static void take_secret(struct hello_keys *keys, const char *line)
{
    const char *hex = strrchr(line, ' ');
    size_t len = 0;

    if (!hex || !OPENSSL_hexstr2buf_ex(keys->secret, sizeof keys->secret, &len, hex + 1, '\0'))
        len = 0;
    keys->secret_len = len;
}

void hello_ask_secret(struct hello *h)
{
    SSL_CTX_set_keylog_callback(h->context->ssl_ctx, hello_on_keylog);
}

void hello_on_keylog(const SSL *ssl, const char *line)
{
    static const char of_server[] = "SERVER_HANDSHAKE_TRAFFIC_SECRET ";
    static const char of_client[] = "CLIENT_HANDSHAKE_TRAFFIC_SECRET ";
    struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);
    struct hello_keys *keys = NULL;

    if (h && strncmp(line, of_server, sizeof of_server - 1) == 0)
        keys = &h->server;
    else if (h && strncmp(line, of_client, sizeof of_client - 1) == 0)
        keys = &h->client;
    if (keys)
        take_secret(keys, line);
    if (hello_engine.on_keylog)
        hello_engine.on_keylog(ssl, line);
    else if (keys)
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), NULL);
}
