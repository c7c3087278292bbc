#pragma once
/* The exact ClientHello of a browser on the system's libssl, by OpenSSL's public interface alone. A filter between
 * libssl and the connection rewrites libssl's hello into the layout of a profile, with libssl's own random, session id,
 * key shares and tickets; a digest of ours that stands for SHA-256 and SHA-384 in these contexts hashes the bytes that
 * were sent and received, so that Finished, CertificateVerify, extended master secret and PSK binders cover what the
 * server saw. In TLS 1.3 the filter also answers ALPS and unpacks compressed certificates (RFC 8879). Nothing of it is
 * left on a connection once its handshake is over.
 *
 * One engine a process, and one thread. Knows nothing of connections: only an SSL and the BIO below it. */

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/draw.h"
#include "common/outcome.h"
#include "common/profile.h"

/* How near its browser a profile's hello comes with the libssl that runs. */
enum hello_grade {
    HELLO_EXACT,
    HELLO_PARTIAL /* a post-quantum group that this libssl does not have is left out, or its share is */
};

/* The SSL_CTX of one profile. Its ciphers, groups, signature algorithms, versions and ALPN are set, and its keylog
 * callback is the engine's, which comes and goes; all else (store, verification, session callbacks) is for its owner to
 * set. */
struct hello_context {
    SSL_CTX *ssl_ctx;
    const struct profile *profile;
    enum hello_grade grade;
    bool own_alpn; /* ALPN is the owner's, not the browser's */
    bool offers_h2;
    bool bundles; /* several key shares in one, for a libssl that sends one only */
};

struct hello_stats {
    unsigned retries;        /* HelloRetryRequests */
    unsigned settings;       /* ALPS answered */
    unsigned certificates;   /* unpacked */
    unsigned hellos, hashed; /* ClientHellos rewritten, and hashed as they were sent */
};

/* Makes the private library context with our provider. False: *reason_out says why it can't be had; then only plain
 * hellos are. */
must_check bool hello_engine_open(const char **reason_out);
/* Frees it; no context or connection of it may be left. */
void hello_engine_close(void);
/* Runs whole handshakes in memory, of TLS 1.3, with a HelloRetryRequest, with a PSK, and of TLS 1.2: what the engine
 * leans on in libssl is proven or found missing. False: *reason_out says which failed. */
must_check bool hello_self_test(const char **reason_out);
/* A further receiver of key log lines, for SSLKEYLOGFILE; NULL: none. Holds for contexts that are made afterwards. */
void hello_set_keylog(void (*on_line)(const SSL *ssl, const char *line));

/* `alpn`: in wire form, offered in place of the profile's own protocols; NULL: the profile's. NULL when out of memory
 * or when libssl knows none of the profile's ciphers. The profile must live as long. */
struct hello_context *hello_context_new(const struct profile *profile, const unsigned char *alpn, unsigned alpn_len);
void hello_context_free(struct hello_context *context);
enum hello_grade hello_grade_of(const struct hello_layout *layout);

/* Puts the filter between `ssl`, made from the context, and `below`, which it takes over. False: out of memory; `below`
 * is then freed. */
must_check bool hello_attach(SSL *ssl, const struct hello_context *context, BIO *below);
/* Has the hello's draws come from `draw`, which lives as long as the handshake, and not from the system. */
void hello_draw_by(SSL *ssl, struct draw *draw);
/* After the handshake: takes the filter out again and frees all that it held. False: bytes were left in it that belong
 * to nobody, the connection can't be used. Does nothing when there is no filter. */
must_check bool hello_detach(SSL *ssl);
/* What the filter did so far; NULL after it was taken out. */
const struct hello_stats *hello_stats_of(const SSL *ssl);
