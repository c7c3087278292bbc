/* Fuzzes what the filter of exact hellos does with the encrypted flight of TLS 1.3: EncryptedExtensions and compressed
 * certificates above all. Input: a byte of flags, a byte of piece sizes, then handshake messages, which are sealed in
 * records as a server would. What libssl is to read must be records in sequence under the same key. */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "worker/hello_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

/* brotli and new ALPS; brotli and old ALPS; zlib; record_size_limit. */
static const char *const names[] = {"chrome-133-windows", "chrome-120-windows", "safari-17-macos",
                                    "firefox-120-windows"};
static struct hello_context *contexts[4];

static void open_once(void)
{
    const char *reason;

    if (contexts[0])
        return;
    CHECK(hello_engine_open(&reason));
    for (size_t i = 0; i < 4; i++) {
        contexts[i] = hello_context_new(profile_find(names[i]), NULL, 0);
        CHECK(contexts[i]);
    }
}

static void give_keys(struct hello_keys *keys)
{
    struct hello h = {.cipher = CIPHER_AES128};

    keys->secret_len = 32;
    CHECK(hello_keys_ready(&h, keys));
}

static void seal_all(const uint8_t *data, size_t len, size_t piece, struct buffer *out)
{
    struct hello_keys keys = {0};

    give_keys(&keys);
    for (size_t at = 0; at < len; at += piece)
        CHECK(hello_record_seal(&keys, RECORD_HANDSHAKE, data + at, len - at < piece ? len - at : piece, out));
    hello_keys_fini(&keys);
}

static void check_records(const struct buffer *records)
{
    struct hello_keys keys = {0};
    struct buffer plain = {0};
    struct cursor c = cursor_of(records->data, records->len);
    uint8_t type;

    give_keys(&keys);
    while (c.left > 0) {
        const uint8_t *record = c.at;
        cursor_take(&c, 3);
        struct cursor body = cursor_vector(&c, 2);
        CHECK(!body.bad);
        CHECK(hello_record_open(&keys, record, body.left + 5, &plain, &type) && type == RECORD_HANDSHAKE);
    }
    buffer_fini(&plain);
    hello_keys_fini(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buffer records = {0};
    struct buffer out = {0};
    uint8_t chunk[4096];
    size_t n;

    open_once();
    if (len < 3)
        return 0;
    seal_all(data + 2, len - 2, data[1] ? data[1] : 16384, &records);
    const struct hello_context *context = contexts[data[0] % 4];
    SSL *ssl = SSL_new(context->ssl_ctx);
    BIO *below = BIO_new_mem_buf(records.data, (int)records.len);
    CHECK(ssl && below && hello_attach(ssl, context, below));
    struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);
    h->reading = PHASE_FLIGHT;
    h->cipher = CIPHER_AES128;
    h->server.secret_len = 32;
    while (h->reading == PHASE_FLIGHT && BIO_read_ex(SSL_get_rbio(ssl), chunk, sizeof chunk, &n) == 1 && n > 0)
        buffer_append(&out, chunk, n);
    buffer_append(&out, h->out.data, h->failed ? 0 : h->out.len);
    CHECK(h->messages.len <= (129u << 10));
    if (!h->failed)
        check_records(&out);
    SSL_free(ssl);
    ERR_clear_error();
    buffer_fini(&records);
    buffer_fini(&out);
    return 0;
}
