/* The table of verified chains: buckets of a few entries, found by a digest of the name and of all that the peer
 * presented. */
#include "worker/verify.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

#define BUCKETS      256 /* chosen by the digest's first byte */
#define BUCKET_WAYS  4
#define DIGEST_BYTES 32
#define DER_MAX      16384 /* of one certificate; one with more is verified each time */
#define CHAIN_MAX    16    /* certificates presented; a chain of more is verified each time */

struct verified {
    uint8_t digest[DIGEST_BYTES];
    uint64_t verified_us;    /* 0: free */
    int64_t from_s, until_s; /* wall time when all certificates of the chain are in their time: from <= now < until */
};

struct verify_table {
    EVP_MD *sha256; /* fetched once: EVP_sha256() has each use look for it */
    EVP_MD_CTX *digest;
    struct verified buckets[BUCKETS][BUCKET_WAYS];
    unsigned char der[DER_MAX];
};

struct verify_table *verify_table_new(void)
{
    struct verify_table *table = calloc(1, sizeof *table);

    if (table) {
        table->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        table->digest = EVP_MD_CTX_new();
    }
    if (!table || !table->sha256 || !table->digest)
        die("out of memory: no room for verified certificates");
    return table;
}

void verify_table_free(struct verify_table *table)
{
    if (!table)
        return;
    EVP_MD_CTX_free(table->digest);
    EVP_MD_free(table->sha256);
    free(table);
}

/* With its length before it, so that no two lists of parts are the same bytes. */
static bool add(EVP_MD_CTX *digest, const void *data, size_t len)
{
    uint64_t n = len;

    return EVP_DigestUpdate(digest, &n, sizeof n) == 1 && EVP_DigestUpdate(digest, data, len) == 1;
}

/* The signed part is kept by libcrypto as it came; two certificates that are written alike are alike to it. */
static bool add_certificate(struct verify_table *table, const X509 *certificate)
{
    unsigned char *at = table->der;
    int len = i2d_X509(certificate, NULL);

    return len > 0 && len <= DER_MAX && i2d_X509(certificate, &at) == len &&
           add(table->digest, table->der, (size_t)len);
}

/* Of the context, the name and all certificates presented, the ones that verification may pass over included; false:
 * they are not of a kind to be remembered. */
static bool digest_of(struct verify_table *table, const X509_STORE_CTX *ctx, const struct verify_peer *peer,
                      uint8_t out[DIGEST_BYTES])
{
    const STACK_OF(X509) *presented = X509_STORE_CTX_get0_untrusted(ctx);
    int count = presented ? sk_X509_num(presented) : 0;
    const uint8_t is_ip = peer->is_ip;

    /* libssl has the server's own among the presented ones, as the first. */
    if (count < 1 || count > CHAIN_MAX || sk_X509_value(presented, 0) != X509_STORE_CTX_get0_cert(ctx))
        return false;
    bool good = EVP_DigestInit_ex(table->digest, table->sha256, NULL) == 1 &&
                add(table->digest, &peer->settings, sizeof peer->settings) &&
                add(table->digest, &is_ip, sizeof is_ip) && add(table->digest, peer->name, strlen(peer->name));
    for (int i = 0; good && i < count; i++)
        good = add_certificate(table, sk_X509_value(presented, i));
    return good && EVP_DigestFinal_ex(table->digest, out, NULL) == 1;
}

static struct verified *find(struct verified bucket[BUCKET_WAYS], const uint8_t digest[DIGEST_BYTES])
{
    for (unsigned i = 0; i < BUCKET_WAYS; i++) {
        if (bucket[i].verified_us && memcmp(bucket[i].digest, digest, DIGEST_BYTES) == 0)
            return &bucket[i];
    }
    return NULL;
}

static struct verified *oldest(struct verified bucket[BUCKET_WAYS])
{
    struct verified *found = &bucket[0];

    for (unsigned i = 1; i < BUCKET_WAYS; i++) {
        if (bucket[i].verified_us < found->verified_us)
            found = &bucket[i];
    }
    return found;
}

/* Wall time counts besides the age: it may jump either way, and monotonic time stands still while a machine sleeps. */
static bool still_holds(const struct verified *entry, const struct verify_peer *peer)
{
    int64_t now_s = (int64_t)(peer->now_wall_us / 1000000);

    return peer->now_us >= entry->verified_us && peer->now_us - entry->verified_us < VERIFY_REMEMBERED_US &&
           entry->from_s <= now_s && now_s < entry->until_s;
}

static bool seconds_of(const ASN1_TIME *time, int64_t *s_out)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *s_out = timegm(&tm);
    return true;
}

/* By the chain that verification has built: it may end in certificates that the peer did not present, and leave out
 * some that it did, whose time then does not count. */
static bool note_time(struct verified *entry, const X509_STORE_CTX *ctx)
{
    const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    int count = chain ? sk_X509_num(chain) : 0;
    int64_t from_s;
    int64_t until_s;

    entry->from_s = INT64_MIN;
    entry->until_s = INT64_MAX;
    for (int i = 0; i < count; i++) {
        const X509 *certificate = sk_X509_value(chain, i);
        if (!seconds_of(X509_get0_notBefore(certificate), &from_s) ||
            !seconds_of(X509_get0_notAfter(certificate), &until_s))
            return false;
        entry->from_s = from_s > entry->from_s ? from_s : entry->from_s;
        entry->until_s = until_s < entry->until_s ? until_s : entry->until_s;
    }
    return count > 0;
}

int verify_chain(struct verify_table *table, X509_STORE_CTX *ctx, const struct verify_peer *peer, bool *remembered_out)
{
    struct verified fresh = {.verified_us = peer->now_us};

    *remembered_out = false;
    if (!table || !digest_of(table, ctx, peer, fresh.digest))
        return X509_verify_cert(ctx);
    struct verified *bucket = table->buckets[fresh.digest[0]];
    struct verified *known = find(bucket, fresh.digest);
    if (known && still_holds(known, peer)) {
        X509_STORE_CTX_set_error(ctx, X509_V_OK);
        *remembered_out = true;
        return 1;
    }
    int result = X509_verify_cert(ctx);
    bool good = result == 1 && X509_STORE_CTX_get_error(ctx) == X509_V_OK && note_time(&fresh, ctx);
    if (!known)
        known = oldest(bucket);
    if (good)
        *known = fresh;
    return result;
}
