#pragma once
/* TLS on connections of our own sockets: bytes go in from the worker's read buffer and out through conn_send_raw(), so
 * that one read serves many records and no BIO of libssl owns a descriptor. */

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/options.h"
#include "common/outcome.h"
#include "common/profile.h"

struct conn;
struct hello_context;
struct worker;

/* The context of all connections. NULL: *reason_out says what is wrong (a CA file that can't be read). */
SSL_CTX *tls_context_new(const struct options *options, const char **reason_out);
/* The context of a profile's hellos, with the store of the worker's own; NULL: plain ones are asked for, or the engine
 * can't be had. */
struct hello_context *tls_hello_new(struct worker *w, const struct profile *profile);
/* Opens the engine, unless plain hellos are asked for; warns when it can't be had. After the context is made; the first
 * tls_hello_new() does it, too. */
void tls_open_hellos(struct worker *w);
/* No context of it may be left. */
void tls_close_hellos(struct worker *w);
/* Whether HTTP/2 is among what ALPN offers. */
bool tls_offers_h2(const struct options *options);
/* Prepares TLS on a connected socket: SNI (RFC 6066), ALPN (RFC 7301), the name to verify, a session to resume. */
must_check enum outcome tls_start(struct conn *conn);
/* Goes on with the handshake: OUTCOME_OK when done, OUTCOME_AGAIN, OUTCOME_CERT_INVALID, OUTCOME_TLS_ERROR,
 * OUTCOME_CONNECTION_CLOSED; on failure conn->detail is filled. */
must_check enum outcome tls_handshake(struct conn *conn);
/* Whether the server chose HTTP/2. */
bool tls_chose_h2(const struct conn *conn);
/* Decrypts up to `size` bytes of what was read: OUTCOME_OK with *len_out > 0; OUTCOME_AGAIN: no more for now;
 * OUTCOME_CONNECTION_CLOSED: close_notify came; OUTCOME_CONNECTION_BROKEN: the end without close_notify;
 * OUTCOME_TLS_ERROR with conn->detail. */
must_check enum outcome tls_read(struct conn *conn, char *out, size_t size, size_t *len_out);
must_check enum outcome tls_write(struct conn *conn, const void *data, size_t len);
/* Gives the buffers of an idle connection back, about 33 KB; libssl makes new ones when it needs them. */
void tls_free_buffers(struct conn *conn);
/* Sends close_notify; waits for nothing. */
void tls_close(struct conn *conn);
