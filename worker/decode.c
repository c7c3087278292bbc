/* A chain of decoders, the outermost coding first; each has the three functions of its library behind one face. */
#include "worker/decode.h"

#include <brotli/decode.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define OUT_BYTES         16384
#define IDLE_TURNS_MAX    32
#define WINDOW_LOG_MAX    23 /* 8 MiB, what RFC 9659 lets a server use */
#define ZLIB_WINDOW_BITS  15
#define ZLIB_GZIP         16 /* added to the bits: expect gzip's wrapping */
#define DEFLATE_HEAD_MASK 0x0f

enum coding { CODING_GZIP, CODING_DEFLATE, CODING_BROTLI, CODING_ZSTD };

/* Bytes on their way through one layer. */
struct flow {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len; /* room, then what is left of it */
};

enum step { STEP_GOES_ON, STEP_AT_END, STEP_BAD };

struct layer {
    enum coding coding;
    bool started, at_end;
    bool over;    /* what follows the end is ignored */
    uint8_t head; /* of deflate: the first byte, kept until the second tells what wraps the data */
    bool has_head;
    union {
        z_stream zlib;
        BrotliDecoderState *brotli;
        ZSTD_DCtx *zstd;
    } state;
};

struct decoder {
    unsigned count, ratio_max;
    uint64_t in_bytes, out_bytes;
    struct layer layers[DECODE_LAYERS_MAX];
};

/* --- zlib: gzip and deflate --- */

static bool start_zlib(struct layer *l, int bits)
{
    l->state.zlib = (z_stream){0};
    l->started = inflateInit2(&l->state.zlib, bits) == Z_OK;
    return l->started;
}

/* `deflate` means zlib's wrapping, and some servers send it bare: the first two bytes tell. */
static bool start_deflate(struct layer *l, struct flow *flow)
{
    if (!l->has_head) {
        l->head = *flow->in++;
        flow->in_len--;
        l->has_head = true;
    }
    if (flow->in_len == 0)
        return true;
    bool wrapped = (l->head & DEFLATE_HEAD_MASK) == Z_DEFLATED && (l->head << 8 | flow->in[0]) % 31 == 0;
    return start_zlib(l, wrapped ? ZLIB_WINDOW_BITS : -ZLIB_WINDOW_BITS);
}

static enum step run_inflate(struct layer *l, struct flow *flow)
{
    z_stream *z = &l->state.zlib;

    z->next_in = (Bytef *)(uintptr_t)flow->in;
    z->avail_in = (uInt)flow->in_len;
    z->next_out = flow->out;
    z->avail_out = (uInt)flow->out_len;
    int rc = inflate(z, Z_NO_FLUSH);
    flow->in += flow->in_len - z->avail_in;
    flow->in_len = z->avail_in;
    flow->out += flow->out_len - z->avail_out;
    flow->out_len = z->avail_out;
    if (rc == Z_STREAM_END)
        return STEP_AT_END;
    return rc == Z_OK || rc == Z_BUF_ERROR ? STEP_GOES_ON : STEP_BAD;
}

static enum step step_zlib(struct layer *l, struct flow *flow)
{
    if (!l->started) {
        bool good = l->coding == CODING_GZIP ? start_zlib(l, ZLIB_WINDOW_BITS + ZLIB_GZIP) : start_deflate(l, flow);
        if (!good)
            return STEP_BAD;
        if (!l->started)
            return STEP_GOES_ON;
        if (l->has_head) {
            struct flow first = {.in = &l->head, .in_len = 1, .out = flow->out, .out_len = flow->out_len};
            if (run_inflate(l, &first) == STEP_BAD)
                return STEP_BAD;
            flow->out = first.out;
            flow->out_len = first.out_len;
        }
    }
    return run_inflate(l, flow);
}

/* A gzip file may have several members (RFC 1952 2.2); what else follows is no matter of ours. */
static bool starts_again(struct layer *l, const struct flow *flow)
{
    l->over = l->over || l->coding != CODING_GZIP || flow->in[0] != 0x1f || inflateReset(&l->state.zlib) != Z_OK;
    return !l->over;
}

/* --- brotli and zstd --- */

static enum step step_brotli(struct layer *l, struct flow *flow)
{
    if (!l->started && !(l->state.brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL)))
        return STEP_BAD;
    l->started = true;
    BrotliDecoderResult result =
        BrotliDecoderDecompressStream(l->state.brotli, &flow->in_len, &flow->in, &flow->out_len, &flow->out, NULL);
    if (result == BROTLI_DECODER_RESULT_SUCCESS)
        return STEP_AT_END;
    return result == BROTLI_DECODER_RESULT_ERROR ? STEP_BAD : STEP_GOES_ON;
}

static enum step step_zstd(struct layer *l, struct flow *flow)
{
    if (!l->started) {
        l->state.zstd = ZSTD_createDCtx();
        if (!l->state.zstd)
            return STEP_BAD;
        l->started = true;
        if (ZSTD_isError(ZSTD_DCtx_setParameter(l->state.zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
            return STEP_BAD;
    }
    ZSTD_inBuffer in = {flow->in, flow->in_len, 0};
    ZSTD_outBuffer out = {flow->out, flow->out_len, 0};
    size_t rc = ZSTD_decompressStream(l->state.zstd, &out, &in);
    flow->in += in.pos;
    flow->in_len -= in.pos;
    flow->out += out.pos;
    flow->out_len -= out.pos;
    if (ZSTD_isError(rc))
        return STEP_BAD;
    return rc == 0 ? STEP_AT_END : STEP_GOES_ON;
}

static const struct {
    const char *name, *bad, *torn;
    enum coding coding;
    enum step (*step)(struct layer *l, struct flow *flow);
} codings[] = {
    [CODING_GZIP] = {"gzip", "the body is no valid gzip", "the body ends inside its gzip coding", CODING_GZIP,
                     step_zlib},
    [CODING_DEFLATE] = {"deflate", "the body is no valid deflate", "the body ends inside its deflate coding",
                        CODING_DEFLATE, step_zlib},
    [CODING_BROTLI] = {"br", "the body is no valid brotli", "the body ends inside its brotli coding", CODING_BROTLI,
                       step_brotli},
    [CODING_ZSTD] = {"zstd", "the body is no valid zstd", "the body ends inside its zstd coding", CODING_ZSTD,
                     step_zstd},
};
#define CODINGS (sizeof codings / sizeof codings[0])

/* --- the chain --- */

static bool name_is(const char *name, size_t len, const char *wanted)
{
    return strlen(wanted) == len && strncasecmp(name, wanted, len) == 0;
}

/* The coding's number, CODINGS for identity, -1 for one that is not known. */
static int find_coding(const char *name, size_t len)
{
    if (len == 0 || name_is(name, len, "identity"))
        return (int)CODINGS;
    if (name_is(name, len, "x-gzip"))
        return CODING_GZIP;
    for (size_t i = 0; i < CODINGS; i++) {
        if (name_is(name, len, codings[i].name))
            return (int)i;
    }
    return -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Fills `found` in the order in which the codings were applied. -1: one is not known; -2: too many. */
static int read_codings(const char *text, size_t len, enum coding found[DECODE_LAYERS_MAX])
{
    const char *end = text + len;
    int count = 0;

    while (text < end) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *stop = comma ? comma : end;
        const char *next = comma ? comma + 1 : end;
        while (text < stop && is_blank(*text))
            text++;
        while (stop > text && is_blank(stop[-1]))
            stop--;
        int coding = find_coding(text, (size_t)(stop - text));
        if (coding < 0)
            return -1;
        if (coding < (int)CODINGS) {
            if (count == DECODE_LAYERS_MAX)
                return -2;
            found[count++] = (enum coding)coding;
        }
        text = next;
    }
    return count;
}

enum outcome decoder_new(struct decoder **decoder_out, const char *text, size_t len, unsigned ratio_max)
{
    enum coding found[DECODE_LAYERS_MAX];
    int count = read_codings(text, len, found);

    *decoder_out = NULL;
    if (count == -2)
        return OUTCOME_PROTOCOL_ERROR;
    if (count <= 0)
        return OUTCOME_OK;
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return OUTCOME_RESOURCE_EXHAUSTED;
    d->count = (unsigned)count;
    d->ratio_max = ratio_max;
    /* What was applied last is taken off first. */
    for (int i = 0; i < count; i++)
        d->layers[i].coding = found[count - 1 - i];
    *decoder_out = d;
    return OUTCOME_OK;
}

void decoder_free(struct decoder *d)
{
    for (unsigned i = 0; d && i < d->count; i++) {
        struct layer *l = &d->layers[i];
        if (!l->started)
            continue;
        if (l->coding == CODING_BROTLI)
            BrotliDecoderDestroyInstance(l->state.brotli);
        else if (l->coding == CODING_ZSTD)
            ZSTD_freeDCtx(l->state.zstd);
        else
            inflateEnd(&l->state.zlib);
    }
    free(d);
}

struct drain {
    struct decoder *decoder;
    decode_sink sink;
    void *user;
    const char *reason;
    bool enough;
};

/* By what the outermost layer has eaten, not by what lies before it: a bomb is known by its first bytes. */
static bool expands_too_far(const struct decoder *d, size_t unread)
{
    return d->out_bytes > DECODE_FREE_BYTES && d->out_bytes > (d->in_bytes - unread) * d->ratio_max;
}

static enum outcome run_layer(struct drain *drain, unsigned index, const uint8_t *data, size_t len, size_t unread);

/* Hands a layer's output on: to the next one, or out. */
static enum outcome pass(struct drain *drain, unsigned index, const uint8_t *data, size_t len, size_t unread)
{
    struct decoder *d = drain->decoder;

    if (index + 1 < d->count)
        return run_layer(drain, index + 1, data, len, unread);
    d->out_bytes += len;
    if (expands_too_far(d, unread)) {
        drain->reason = "the body expands too far: max_ratio is exceeded";
        return OUTCOME_TOO_LARGE;
    }
    drain->enough = !drain->sink(drain->user, (const char *)data, len);
    return OUTCOME_OK;
}

/* Recursion: DECODE_LAYERS_MAX deep at most. `unread`: bytes of the outermost layer that are still to come. */
static enum outcome run_layer(struct drain *drain, unsigned index, const uint8_t *data, size_t len, size_t unread)
{
    struct layer *l = &drain->decoder->layers[index];
    uint8_t out[OUT_BYTES];
    struct flow flow = {.in = data, .in_len = len};
    unsigned idle = 0;
    bool full = false;

    while (!drain->enough && (flow.in_len || full)) {
        if (l->at_end && !starts_again(l, &flow))
            return OUTCOME_OK;
        size_t before = flow.in_len;
        flow.out = out;
        flow.out_len = sizeof out;
        enum step step = codings[l->coding].step(l, &flow);
        if (step == STEP_BAD) {
            drain->reason = codings[l->coding].bad;
            return OUTCOME_PROTOCOL_ERROR;
        }
        /* A turn without progress may be, in zstd; a library that never makes any would be asked for ever. */
        idle = flow.in_len == before && flow.out_len == sizeof out && step == STEP_GOES_ON ? idle + 1 : 0;
        if (idle > IDLE_TURNS_MAX) {
            drain->reason = codings[l->coding].bad;
            return OUTCOME_PROTOCOL_ERROR;
        }
        l->at_end = step == STEP_AT_END;
        /* More may be waiting inside than there was room for. */
        full = flow.out_len == 0 && !l->at_end;
        size_t made = sizeof out - flow.out_len;
        enum outcome outcome = made ? pass(drain, index, out, made, index ? unread : flow.in_len) : OUTCOME_OK;
        if (outcome != OUTCOME_OK)
            return outcome;
    }
    return OUTCOME_OK;
}

enum outcome decoder_feed(struct decoder *d, const char *data, size_t len, decode_sink sink, void *user,
                          const char **reason_out)
{
    struct drain drain = {.decoder = d, .sink = sink, .user = user};

    d->in_bytes += len;
    enum outcome outcome = run_layer(&drain, 0, (const uint8_t *)data, len, 0);
    *reason_out = drain.reason;
    return outcome;
}

enum outcome decoder_end(const struct decoder *d, const char **reason_out)
{
    for (unsigned i = 0; d->in_bytes && i < d->count; i++) {
        if (!d->layers[i].at_end) {
            *reason_out = codings[d->layers[i].coding].torn;
            return OUTCOME_PROTOCOL_ERROR;
        }
    }
    return OUTCOME_OK;
}
