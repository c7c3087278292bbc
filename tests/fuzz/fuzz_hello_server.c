/* Fuzzes what the filter of exact hellos does with a server's first records. Input: a byte of flags, then the records.
 * Without key shares in a bundle nothing is rewritten: what libssl reads is what came, up to where it was refused. */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "worker/hello_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum flag { FLAG_BUNDLED = 1, FLAG_RETRIED = 2 };

#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static struct hello_context *context;

static void open_once(void)
{
    const char *reason;

    if (context)
        return;
    CHECK(hello_engine_open(&reason));
    context = hello_context_new(profile_find("firefox-120-windows"), NULL, 0);
    CHECK(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t out[64];
    size_t read = 0;
    size_t n;

    open_once();
    if (len < 1)
        return 0;
    SSL *ssl = SSL_new(context->ssl_ctx);
    BIO *below = BIO_new_mem_buf(data + 1, (int)(len - 1));
    CHECK(ssl && below);
    BIO_set_mem_eof_return(below, 0);
    CHECK(hello_attach(ssl, context, below));
    struct hello *h = SSL_get_ex_data(ssl, hello_engine.ssl_index);
    h->bundled = data[0] & FLAG_BUNDLED;
    h->retried = data[0] & FLAG_RETRIED;
    while (BIO_read_ex(SSL_get_rbio(ssl), out, sizeof out, &n) == 1 && n > 0) {
        bool rewritten = h->swaps != NULL;
        CHECK(!rewritten || h->bundled);
        if (h->bundled)
            continue;
        CHECK(read + n <= len - 1 && memcmp(data + 1 + read, out, n) == 0);
        read += n;
    }
    CHECK(h->in.len <= len && h->messages.len <= len);
    SSL_free(ssl);
    ERR_clear_error();
    return 0;
}
