/* Certificates that come compressed (RFC 8879): brotli and zlib, each only where the hello offered it. */
#include <brotli/decode.h>
#include <zlib.h>

#include "worker/hello_parts.h"

enum { ALGORITHM_ZLIB = 1, ALGORITHM_BROTLI = 2 };

static bool is_offered(const struct hello_layout *layout, unsigned algorithm)
{
    const struct hello_extension *e = hello_layout_find(layout, EXTENSION_COMPRESS);
    struct cursor c = cursor_of(e ? e->body : NULL, e ? e->body_len : 0);
    struct cursor list = cursor_vector(&c, 1);

    while (!list.bad && list.left > 0) {
        if (cursor_u16(&list) == algorithm)
            return true;
    }
    return false;
}

static bool inflate_whole(const struct cursor *packed, uint8_t *out, size_t len)
{
    uLongf out_len = len;
    uLong in_len = packed->left;

    return uncompress2(out, &out_len, packed->at, &in_len) == Z_OK && out_len == len && in_len == packed->left;
}

static bool unbrotli_whole(const struct cursor *packed, uint8_t *out, size_t len)
{
    size_t out_len = len;

    return BrotliDecoderDecompress(packed->left, packed->at, &out_len, out) == BROTLI_DECODER_RESULT_SUCCESS &&
           out_len == len;
}

bool hello_unpack(const struct hello_layout *layout, const uint8_t *message, size_t len, size_t max, struct buffer *out)
{
    struct cursor c = cursor_of(message, len);
    const uint8_t type = MESSAGE_CERTIFICATE;

    cursor_take(&c, 4);
    unsigned algorithm = cursor_u16(&c);
    size_t whole = cursor_number(&c, 3);
    struct cursor packed = cursor_vector(&c, 3);
    if (!cursor_done(&c) || packed.left == 0 || whole == 0 || whole > max || !is_offered(layout, algorithm))
        return false;
    buffer_append(out, &type, 1);
    buffer_append(out, "\0\0\0", 3);
    hello_set_number(out, out->len - 3, 3, whole);
    buffer_reserve(out, whole);
    uint8_t *at = (uint8_t *)out->data + out->len;
    bool good = algorithm == ALGORITHM_BROTLI ? unbrotli_whole(&packed, at, whole) : inflate_whole(&packed, at, whole);
    out->len += good ? whole : 0;
    return good && (algorithm == ALGORITHM_BROTLI || algorithm == ALGORITHM_ZLIB);
}
