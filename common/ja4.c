/* JA3, JA3N and JA4 of a ClientHello. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buffer.h"
#include "common/client_hello.h"

static void digest_hex(const EVP_MD *md, const struct buffer *text, size_t bytes, char *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};

    EVP_Digest(text->data ? text->data : "", text->len, digest, NULL, md, NULL);
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static int compare_codes(const void *a, const void *b)
{
    const uint16_t *left = a;
    const uint16_t *right = b;

    return *left < *right ? -1 : *left > *right;
}

/* A list without GREASE. */
static struct client_hello_list honest(const struct client_hello_list *list, bool sorted)
{
    struct client_hello_list out = {.count = 0};

    for (size_t i = 0; i < list->count; i++) {
        if (!client_hello_is_grease(list->codes[i]))
            out.codes[out.count++] = list->codes[i];
    }
    if (sorted)
        qsort(out.codes, out.count, sizeof out.codes[0], compare_codes);
    return out;
}

static struct client_hello_list extension_types(const struct client_hello *h, bool sorted)
{
    struct client_hello_list all = {.count = h->extension_count};

    for (size_t i = 0; i < h->extension_count; i++)
        all.codes[i] = h->extensions[i].type;
    return honest(&all, sorted);
}

static void put_list(struct buffer *out, const char *separator, bool hex, const struct client_hello_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            buffer_append_str(out, separator);
        if (hex)
            buffer_printf(out, "%04x", list->codes[i]);
        else
            buffer_printf(out, "%u", list->codes[i]);
    }
}

void ja3_hash(const struct client_hello *h, bool sorted, char hash_out[JA3_SIZE])
{
    struct client_hello_list ciphers = honest(&h->ciphers, false);
    struct client_hello_list types = extension_types(h, sorted);
    struct client_hello_list groups = honest(&h->groups, false);
    const struct client_hello_extension *points = client_hello_find(h, 11);
    struct buffer text = {0};

    buffer_printf(&text, "%u,", h->version);
    put_list(&text, "-", false, &ciphers);
    buffer_append_char(&text, ',');
    put_list(&text, "-", false, &types);
    buffer_append_char(&text, ',');
    put_list(&text, "-", false, &groups);
    buffer_append_char(&text, ',');
    for (size_t i = 1; points && i < points->len; i++)
        buffer_printf(&text, "%s%u", i > 1 ? "-" : "", points->body[i]);
    digest_hex(EVP_md5(), &text, 16, hash_out);
    buffer_fini(&text);
}

static const char *version_name(const struct client_hello *h)
{
    struct client_hello_list versions = honest(&h->versions, true);

    switch (versions.count ? versions.codes[versions.count - 1] : h->version) {
    case 0x0304:
        return "13";
    case 0x0303:
        return "12";
    case 0x0302:
        return "11";
    case 0x0301:
        return "10";
    case 0x0300:
        return "s3";
    default:
        return "00";
    }
}

static bool is_alphanumeric(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* First and last character of the first protocol that ALPN offers; of their hexadecimal form when they are no letters
 * or digits. */
static void alpn_name(const struct client_hello *h, char out[3])
{
    const struct client_hello_extension *e = client_hello_find(h, 16);
    struct cursor c = cursor_of(e ? e->body : NULL, e ? e->len : 0);
    struct cursor list = cursor_vector(&c, 2);
    struct cursor first = cursor_vector(&list, 1);
    char hex[5];

    snprintf(out, 3, "00");
    if (first.bad || first.left == 0)
        return;
    uint8_t from = first.at[0];
    uint8_t to = first.at[first.left - 1];
    snprintf(hex, sizeof hex, "%02x%02x", from, to);
    bool plain = is_alphanumeric(from) && is_alphanumeric(to);
    if (plain)
        snprintf(out, 3, "%c%c", from, to);
    else
        snprintf(out, 3, "%c%c", hex[0], hex[3]);
}

static void short_hash(const struct buffer *text, char out[13])
{
    if (text->len)
        digest_hex(EVP_sha256(), text, 6, out);
    else
        snprintf(out, 13, "000000000000");
}

static unsigned at_most_99(size_t n)
{
    return n < 99 ? (unsigned)n : 99;
}

void ja4_hash(const struct client_hello *h, char hash_out[JA4_SIZE])
{
    struct client_hello_list ciphers = honest(&h->ciphers, true);
    struct client_hello_list types = extension_types(h, true);
    struct client_hello_list signatures = honest(&h->signatures, false);
    struct client_hello_list hashed = {.count = 0};
    struct buffer text = {0};
    char cipher_hash[13];
    char type_hash[13];
    char alpn[3];

    put_list(&text, ",", true, &ciphers);
    short_hash(&text, cipher_hash);
    buffer_clear(&text);
    for (size_t i = 0; i < types.count; i++) {
        if (types.codes[i] != 0 && types.codes[i] != 16)
            hashed.codes[hashed.count++] = types.codes[i];
    }
    put_list(&text, ",", true, &hashed);
    if (text.len && signatures.count) {
        buffer_append_char(&text, '_');
        put_list(&text, ",", true, &signatures);
    }
    short_hash(&text, type_hash);
    buffer_fini(&text);
    alpn_name(h, alpn);
    snprintf(hash_out, JA4_SIZE, "t%s%c%02u%02u%s_%s_%s", version_name(h), client_hello_find(h, 0) ? 'd' : 'i',
             at_most_99(ciphers.count), at_most_99(types.count), alpn, cipher_hash, type_hash);
}
