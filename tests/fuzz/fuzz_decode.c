/* Fuzzes the content decoders: the first byte chooses the codings and how the rest is cut. What is decoded must not
 * depend on the cut. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "worker/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const codings[] = {"gzip", "deflate", "br", "zstd", "gzip, gzip", "deflate, br", "zstd, gzip", "br"};

struct sum {
    uint64_t bytes, hash;
};

static bool add(void *user, const char *data, size_t len)
{
    struct sum *sum = user;

    for (size_t i = 0; i < len; i++)
        sum->hash = sum->hash * 31 + (uint8_t)data[i];
    sum->bytes += len;
    return sum->bytes < (4u << 20);
}

static struct sum run(const char *names, const char *data, size_t len, size_t step, enum outcome *outcome_out)
{
    struct sum sum = {0};
    struct decoder *d;
    const char *reason = NULL;
    size_t names_len = 0;

    while (names[names_len])
        names_len++;
    if (decoder_new(&d, names, names_len, 200) != OUTCOME_OK || !d)
        abort();
    *outcome_out = OUTCOME_OK;
    for (size_t at = 0; at < len && *outcome_out == OUTCOME_OK; at += step)
        *outcome_out = decoder_feed(d, data + at, len - at < step ? len - at : step, add, &sum, &reason);
    if (*outcome_out == OUTCOME_OK)
        *outcome_out = decoder_end(d, &reason);
    if (*outcome_out != OUTCOME_OK && !reason)
        abort();
    decoder_free(d);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum outcome whole;
    enum outcome cut;

    if (len < 2)
        return 0;
    const char *names = codings[data[0] % 8];
    struct sum a = run(names, (const char *)data + 1, len - 1, len, &whole);
    struct sum b = run(names, (const char *)data + 1, len - 1, 1 + data[0] / 8, &cut);
    /* A bomb may be seen a piece earlier or later, and what is cut off at the cap too. */
    if (a.bytes < (1u << 20) && (whole != cut || (whole == OUTCOME_OK && (a.bytes != b.bytes || a.hash != b.hash))))
        abort();
    return 0;
}
