/* Fuzzes what a worker reads of the map's TLS sessions: the record, libssl's bytes in it, and a ClientHello that offers
 * the outcome. The first byte chooses the way peers are verified and the kind of name; the rest is the record. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void offer(SSL_SESSION *session)
{
    static SSL_CTX *ctx;

    if (!ctx)
        ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (SSL_set_session(ssl, session) == 1) {
        (void)SSL_get_verify_result(ssl);
        (void)SSL_connect(ssl);
    }
    SSL_free(ssl);
    ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_session record;
    uint8_t again[STORE_SESSION_RECORD_MAX];

    if (size == 0 || !store_session_decode(data + 1, size - 1, &record))
        return 0;
    if (record.der_len == 0 || record.der_len > STORE_SESSION_DER_MAX)
        abort();
    /* Reserved bytes are not kept. */
    if (store_session_encode(&record, again) != size - 1 || memcmp(again + 4, data + 5, size - 5) != 0)
        abort();
    struct session_name name = {data[0] & 1 ? "127.0.0.1" : "a.test", data[0] & 1, data[0] & 2};
    /* Soon after the corpus was made: its sessions are good then. */
    uint64_t now_wall_us = UINT64_C(1795233000) * 1000000;
    SSL_SESSION *session = session_from_record(&record, record.context, &name, now_wall_us);
    if (!session)
        return 0;
    if (session_expires_wall_us(session, name.insecure) <= now_wall_us)
        abort();
    offer(session);
    SSL_SESSION_free(session);
    return 0;
}
