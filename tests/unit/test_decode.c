/* Content codings: each alone and layered, whole and byte by byte, torn, false, and bombs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <brotli/encode.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "common/buffer.h"
#include "worker/decode.h"

#define RATIO 200

static bool collect(void *user, const char *data, size_t len)
{
    buffer_append(user, data, len);
    return true;
}

static struct buffer text_of(size_t len)
{
    struct buffer text = {0};
    uint32_t x = 1;

    buffer_reserve(&text, len);
    for (size_t i = 0; i < len; i++) {
        x = x * 1103515245 + 12345;
        text.data[i] = (char)('a' + (x >> 16) % 16);
    }
    text.len = len;
    return text;
}

static struct buffer deflate_with(const struct buffer *in, int bits)
{
    struct buffer out = {0};
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    buffer_reserve(&out, deflateBound(&z, in->len) + 64);
    z.next_in = (Bytef *)in->data;
    z.avail_in = (uInt)in->len;
    z.next_out = (Bytef *)out.data;
    z.avail_out = (uInt)(deflateBound(&z, in->len) + 64);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.len = z.total_out;
    deflateEnd(&z);
    return out;
}

static struct buffer encode(const struct buffer *in, const char *coding)
{
    struct buffer out = {0};

    if (strcmp(coding, "gzip") == 0)
        return deflate_with(in, 31);
    if (strcmp(coding, "deflate") == 0)
        return deflate_with(in, 15);
    if (strcmp(coding, "bare") == 0)
        return deflate_with(in, -15);
    if (strcmp(coding, "br") == 0) {
        size_t size = BrotliEncoderMaxCompressedSize(in->len);
        buffer_reserve(&out, size);
        assert_true(BrotliEncoderCompress(5, 22, BROTLI_MODE_GENERIC, in->len, (const uint8_t *)in->data, &size,
                                          (uint8_t *)out.data));
        out.len = size;
        return out;
    }
    buffer_reserve(&out, ZSTD_compressBound(in->len));
    out.len = ZSTD_compress(out.data, ZSTD_compressBound(in->len), in->data, in->len, 3);
    assert_false(ZSTD_isError(out.len));
    return out;
}

/* Feeds `in` in pieces of `step` bytes and ends it. */
static enum outcome decode(const char *codings, const struct buffer *in, size_t step, struct buffer *out)
{
    struct decoder *d;
    const char *reason = NULL;
    enum outcome outcome = decoder_new(&d, codings, strlen(codings), RATIO);

    assert_int_equal(outcome, OUTCOME_OK);
    assert_non_null(d);
    for (size_t at = 0; at < in->len && outcome == OUTCOME_OK; at += step) {
        /* A copy of its own size: the sanitizer then sees every byte too far. */
        size_t n = in->len - at < step ? in->len - at : step;
        char *piece = malloc(n);
        memcpy(piece, in->data + at, n);
        outcome = decoder_feed(d, piece, n, collect, out, &reason);
        free(piece);
    }
    if (outcome == OUTCOME_OK)
        outcome = decoder_end(d, &reason);
    if (outcome != OUTCOME_OK)
        assert_non_null(reason);
    decoder_free(d);
    return outcome;
}

static void assert_decodes(const char *codings, const struct buffer *in, const struct buffer *wanted)
{
    static const size_t steps[] = {1, 2, 7, 1000, 1 << 20};

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct buffer out = {0};
        assert_int_equal(decode(codings, in, steps[i], &out), OUTCOME_OK);
        assert_int_equal(out.len, wanted->len);
        if (wanted->len)
            assert_memory_equal(out.data, wanted->data, wanted->len);
        buffer_fini(&out);
    }
}

static const char *const names[][2] = {{"gzip", "gzip"},       {"x-gzip", "gzip"},  {"GZip", "gzip"},
                                       {"deflate", "deflate"}, {"deflate", "bare"}, {"br", "br"},
                                       {"zstd", "zstd"}};

static void each_coding_decodes_however_it_is_cut(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 16384, 16385, 300000};

    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            struct buffer text = text_of(sizes[s]);
            struct buffer coded = encode(&text, names[n][1]);
            assert_decodes(names[n][0], &coded, &text);
            buffer_fini(&coded);
            buffer_fini(&text);
        }
    }
}

static void layers_come_off_in_turn(void **state)
{
    struct buffer text = text_of(50000);
    struct buffer inner = encode(&text, "gzip");
    struct buffer middle = encode(&inner, "br");
    struct buffer outer = encode(&middle, "zstd");

    (void)state;
    assert_decodes("gzip, br,zstd", &outer, &text);
    assert_decodes("identity, gzip , br", &middle, &text);
    buffer_fini(&text);
    buffer_fini(&inner);
    buffer_fini(&middle);
    buffer_fini(&outer);
}

static void gzip_of_several_members_is_one_body(void **state)
{
    struct buffer text = text_of(1000);
    struct buffer coded = encode(&text, "gzip");
    struct buffer twice = {0};
    struct buffer wanted = {0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        buffer_append(&twice, coded.data, coded.len);
        buffer_append(&wanted, text.data, text.len);
    }
    assert_decodes("gzip", &twice, &wanted);
    buffer_append(&twice, "\0\0\0garbage", 10);
    assert_decodes("gzip", &twice, &wanted);
    buffer_fini(&text);
    buffer_fini(&coded);
    buffer_fini(&twice);
    buffer_fini(&wanted);
}

static void torn_and_false_bodies_are_protocol_errors(void **state)
{
    static const char *const codings[] = {"gzip", "deflate", "br", "zstd"};

    (void)state;
    for (size_t i = 0; i < sizeof codings / sizeof codings[0]; i++) {
        struct buffer text = text_of(5000);
        struct buffer coded = encode(&text, codings[i]);
        struct buffer out = {0};
        coded.len -= 1;
        assert_int_equal(decode(codings[i], &coded, 100, &out), OUTCOME_PROTOCOL_ERROR);
        coded.len = 1;
        assert_int_equal(decode(codings[i], &coded, 100, &out), OUTCOME_PROTOCOL_ERROR);
        memset(coded.data, 0xff, 64);
        coded.len = 64;
        assert_int_equal(decode(codings[i], &coded, 100, &out), OUTCOME_PROTOCOL_ERROR);
        buffer_fini(&text);
        buffer_fini(&coded);
        buffer_fini(&out);
    }
}

static void bombs_are_too_large_by_their_first_bytes(void **state)
{
    static const char *const codings[] = {"gzip", "deflate", "br", "zstd"};
    struct buffer zeros = {0};

    (void)state;
    buffer_reserve(&zeros, 64u << 20);
    memset(zeros.data, 0, 64u << 20);
    zeros.len = 64u << 20;
    for (size_t i = 0; i < sizeof codings / sizeof codings[0]; i++) {
        struct buffer coded = encode(&zeros, codings[i]);
        struct buffer out = {0};
        assert_int_equal(decode(codings[i], &coded, 65536, &out), OUTCOME_TOO_LARGE);
        assert_in_range(out.len, 1, 2 * DECODE_FREE_BYTES);
        buffer_fini(&coded);
        buffer_fini(&out);
    }
    /* What expands as far and is small does no harm. */
    zeros.len = DECODE_FREE_BYTES;
    struct buffer coded = encode(&zeros, "gzip");
    assert_decodes("gzip", &coded, &zeros);
    struct buffer twice = encode(&coded, "gzip");
    assert_decodes("gzip, gzip", &twice, &zeros);
    buffer_fini(&coded);
    buffer_fini(&twice);
    buffer_fini(&zeros);
}

static bool take_one_piece(void *user, const char *data, size_t len)
{
    (void)data;
    *(size_t *)user += len;
    return false;
}

static void sink_that_has_enough_gets_no_more(void **state)
{
    struct buffer text = text_of(300000);
    struct buffer coded = encode(&text, "br");
    struct decoder *d;
    const char *reason = NULL;
    size_t got = 0;

    (void)state;
    assert_int_equal(decoder_new(&d, "br", 2, RATIO), OUTCOME_OK);
    assert_int_equal(decoder_feed(d, coded.data, coded.len, take_one_piece, &got, &reason), OUTCOME_OK);
    assert_in_range(got, 1, 16384);
    decoder_free(d);
    buffer_fini(&text);
    buffer_fini(&coded);
}

static void what_is_no_coding_of_ours_is_left_alone(void **state)
{
    static const char *const untouched[] = {"", "identity", " , ", "compress", "gzip, aes128gcm", "gzipp"};
    struct decoder *d;

    (void)state;
    for (size_t i = 0; i < sizeof untouched / sizeof untouched[0]; i++) {
        assert_int_equal(decoder_new(&d, untouched[i], strlen(untouched[i]), RATIO), OUTCOME_OK);
        assert_null(d);
    }
    assert_int_equal(decoder_new(&d, "br,br,br,br", 11, RATIO), OUTCOME_PROTOCOL_ERROR);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_coding_decodes_however_it_is_cut),
        cmocka_unit_test(layers_come_off_in_turn),
        cmocka_unit_test(gzip_of_several_members_is_one_body),
        cmocka_unit_test(torn_and_false_bodies_are_protocol_errors),
        cmocka_unit_test(bombs_are_too_large_by_their_first_bytes),
        cmocka_unit_test(sink_that_has_enough_gets_no_more),
        cmocka_unit_test(what_is_no_coding_of_ours_is_left_alone),
    };

    return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
