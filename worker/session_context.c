/* The digest of what peers are verified with. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/log.h"
#include "worker/session.h"

#define TRUST_FILE_MAX (64u << 20)

/* With its length before it, so that no two lists of parts are the same bytes. */
static void add(EVP_MD_CTX *digest, const void *data, size_t len)
{
    uint64_t n = len;

    if (EVP_DigestUpdate(digest, &n, sizeof n) != 1 || EVP_DigestUpdate(digest, data, len) != 1)
        die("out of memory: libcrypto can't make a digest");
}

static void add_text(EVP_MD_CTX *digest, const char *text)
{
    add(digest, text ? text : "", text ? strlen(text) : 0);
}

/* A file that is not there counts as an empty one. */
static void add_file(EVP_MD_CTX *digest, const char *path)
{
    char block[16384];
    size_t left = TRUST_FILE_MAX;
    size_t n;
    FILE *file = fopen(path, "rbe");

    while (file && left > 0 && (n = fread(block, 1, sizeof block, file)) > 0) {
        add(digest, block, n);
        left -= n < left ? n : left;
    }
    if (file)
        fclose(file);
    add_text(digest, "end");
}

/* Directories as OpenSSL takes them, a list with colons between. What is added or taken away changes their time. */
static void add_directories(EVP_MD_CTX *digest, const char *list)
{
    char path[4096];
    struct stat st;

    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s", (int)(len < sizeof path ? len : sizeof path - 1), at);
        struct timespec when = stat(path, &st) == 0 ? st.st_mtim : (struct timespec){0};
        uint64_t parts[2] = {(uint64_t)when.tv_sec, (uint64_t)when.tv_nsec};
        add_text(digest, path);
        add(digest, parts, sizeof parts);
        at += len + (at[len] == ':');
    }
    add_text(digest, "end");
}

static const char *from_environment(const char *variable, const char *otherwise)
{
    const char *value = getenv(variable);

    return value ? value : otherwise;
}

void session_context_of(const uint8_t base[STORE_SESSION_CONTEXT_BYTES], const char *profile,
                        uint8_t out[STORE_SESSION_CONTEXT_BYTES])
{
    unsigned len = STORE_SESSION_CONTEXT_BYTES;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        die("out of memory: libcrypto can't make a digest");
    add(digest, base, STORE_SESSION_CONTEXT_BYTES);
    add_text(digest, profile);
    if (EVP_DigestFinal_ex(digest, out, &len) != 1)
        die("out of memory: libcrypto can't make a digest");
    EVP_MD_CTX_free(digest);
}

void session_context(const struct options *options, uint8_t out[STORE_SESSION_CONTEXT_BYTES])
{
    unsigned len = STORE_SESSION_CONTEXT_BYTES;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        die("out of memory: libcrypto can't make a digest");
    add_text(digest, OpenSSL_version(OPENSSL_VERSION));
    add_text(digest, options->insecure ? "insecure" : "verified");
    add_text(digest, options->cacert);
    if (*options->cacert) {
        add_file(digest, options->cacert);
    } else {
        const char *file = from_environment(X509_get_default_cert_file_env(), X509_get_default_cert_file());
        add_text(digest, file);
        add_file(digest, file);
        add_directories(digest, from_environment(X509_get_default_cert_dir_env(), X509_get_default_cert_dir()));
    }
    if (EVP_DigestFinal_ex(digest, out, &len) != 1)
        die("out of memory: libcrypto can't make a digest");
    EVP_MD_CTX_free(digest);
}
