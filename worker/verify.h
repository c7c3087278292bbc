#pragma once
/* Certificate chains that were verified a short while ago. Full handshakes with the same server present the same
 * certificates time and again, and nothing about them changes within seconds: a chain that passed counts as verified
 * when the same bytes come again for the same name. What else decides, the trust store, the level of security and the
 * flags, is fixed for the life of an SSL_CTX, CRLs and OCSP are not asked: the key is context, name and bytes.
 * Only successes are remembered. Owned by the worker; of no use where peers are not verified. */

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#define VERIFY_REMEMBERED_US 60000000

struct verify_table;

/* Of fixed size. Dies when there is no memory. */
struct verify_table *verify_table_new(void);
/* NULL is fine. */
void verify_table_free(struct verify_table *table);

/* Whose certificates are verified, and when. */
struct verify_peer {
    const char *name; /* what `ctx` holds against the certificate, by X509_VERIFY_PARAM */
    bool is_ip;
    const void *settings; /* the SSL_CTX, of which each profile has one: what one passed another may not */
    uint64_t now_us, now_wall_us;
};
/* Verifies the chain that `ctx` was made for, for a callback of SSL_CTX_set_cert_verify_callback(): returns what
 * X509_verify_cert() does, 1 for good, with the reason as the error of `ctx`. *remembered_out: it was good because it
 * was within the VERIFY_REMEMBERED_US before, and all certificates that this rested on are still in their time; `ctx`
 * has then no chain of its own, and SSL_get0_verified_chain() and SSL_get0_peername() have nothing to say. A success
 * that is remembered is not made to last longer by being used. A NULL table remembers nothing. */
int verify_chain(struct verify_table *table, X509_STORE_CTX *ctx, const struct verify_peer *peer, bool *remembered_out);
