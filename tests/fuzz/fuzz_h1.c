/* Fuzzes the HTTP/1.1 response parser with answers cut in pieces: however the bytes are cut, the callbacks, the outcome
 * and the reason must be those of the answer fed whole. Input: a byte of flags, three bytes of piece sizes, then the
 * answer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/h1_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The low bits of the digits 0-7, so that seeds are readable. */
enum flag { FLAG_HEAD = 1, FLAG_TIGHT = 2, FLAG_UNCLEAN = 4 };

#define PREFIX_LEN 4

enum heard { HEARD_NOTHING, HEARD_STATUS, HEARD_HEAD, HEARD_END };

/* Aborts where assert() might be compiled out. */
#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

struct listener {
    struct buffer fields;
    struct buffer body;
    enum heard heard;
    unsigned status;
    enum h1_framing framing;
    int64_t content_length;
};

struct result {
    struct listener listener;
    enum outcome outcome;
    const char *reason;
    size_t consumed;
    bool complete;
    bool keep_alive;
};

static void on_status(void *user, unsigned status)
{
    struct listener *l = user;

    CHECK(l->heard == HEARD_NOTHING && status >= 200 && status <= 999);
    l->heard = HEARD_STATUS;
    l->status = status;
}

static void on_field(void *user, const char *name, size_t name_len, const char *value, size_t value_len)
{
    struct listener *l = user;

    CHECK(l->heard == HEARD_STATUS && name_len > 0);
    CHECK(!memchr(name, ':', name_len));
    CHECK(value_len == 0 || (!memchr(value, '\r', value_len) && !memchr(value, '\0', value_len)));
    buffer_append(&l->fields, name, name_len);
    buffer_append_char(&l->fields, ':');
    buffer_append(&l->fields, value, value_len);
    buffer_append_char(&l->fields, '\n');
}

static void on_head(void *user, enum h1_framing framing, int64_t content_length)
{
    struct listener *l = user;

    CHECK(l->heard == HEARD_STATUS);
    CHECK((framing == H1_LENGTH) == (content_length >= 0));
    l->heard = HEARD_HEAD;
    l->framing = framing;
    l->content_length = content_length;
}

static void on_body(void *user, const char *data, size_t len)
{
    struct listener *l = user;

    CHECK(l->heard == HEARD_HEAD && l->framing != H1_NO_BODY && len > 0);
    buffer_append(&l->body, data, len);
}

static void on_complete(void *user)
{
    struct listener *l = user;

    CHECK(l->heard == HEARD_HEAD);
    CHECK(l->framing != H1_LENGTH || l->body.len == (size_t)l->content_length);
    l->heard = HEARD_END;
}

static const struct h1_callbacks callbacks = {on_status, on_field, on_head, on_body, on_complete};

/* From memory of exactly the piece's size, so that the sanitizer sees a read past it. */
static enum outcome feed_piece(struct h1_parser *p, const uint8_t *data, size_t len, size_t *consumed)
{
    char *piece = malloc(len);
    size_t taken = 0;

    CHECK(piece);
    memcpy(piece, data, len);
    enum outcome o = h1_parser_feed(p, piece, len, &taken);
    free(piece);
    CHECK(taken <= len);
    CHECK(taken == len || o != OUTCOME_OK || p->complete);
    CHECK(p->head.len <= p->limits.head_bytes_max + 18 && p->head.cap <= 2 * (p->limits.head_bytes_max + 256));
    *consumed += taken;
    return o;
}

/* `sizes` NULL: the whole answer at once. */
static void answer_run(struct h1_parser *p, const uint8_t *data, size_t len, uint8_t flags, const uint8_t *sizes,
                       struct result *r)
{
    size_t turn = 0;

    *r = (struct result){.outcome = OUTCOME_OK};
    h1_parser_begin(p, &r->listener, flags & FLAG_HEAD);
    for (size_t at = 0; at < len && r->outcome == OUTCOME_OK && !p->complete;) {
        size_t piece = sizes ? (sizes[turn++ % (PREFIX_LEN - 1)] & 63u) + 1u : len;
        piece = piece < len - at ? piece : len - at;
        r->outcome = feed_piece(p, data + at, piece, &r->consumed);
        at += piece;
    }
    if (r->outcome == OUTCOME_OK && !p->complete)
        r->outcome = h1_parser_eof(p, !(flags & FLAG_UNCLEAN));
    r->reason = p->reason;
    r->complete = p->complete;
    r->keep_alive = p->keep_alive;
    CHECK((r->outcome == OUTCOME_OK) == (r->listener.heard == HEARD_END));
    CHECK((r->outcome == OUTCOME_OK) == r->complete);
    CHECK((r->outcome == OUTCOME_OK) == !r->reason);
    CHECK(!r->keep_alive || (r->complete && r->listener.framing != H1_UNTIL_CLOSE));
}

static bool buffer_equals(const struct buffer *a, const struct buffer *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* What was consumed is compared for complete answers alone: an error may be told anywhere within its line. */
static void results_compare(const struct result *a, const struct result *b)
{
    CHECK(a->outcome == b->outcome && a->reason == b->reason);
    CHECK(a->complete == b->complete && a->keep_alive == b->keep_alive);
    CHECK(!a->complete || a->consumed == b->consumed);
    CHECK(a->listener.heard == b->listener.heard && a->listener.status == b->listener.status);
    CHECK(a->listener.framing == b->listener.framing && a->listener.content_length == b->listener.content_length);
    CHECK(buffer_equals(&a->listener.fields, &b->listener.fields));
    CHECK(buffer_equals(&a->listener.body, &b->listener.body));
}

static void result_fini(struct result *r)
{
    buffer_fini(&r->listener.fields);
    buffer_fini(&r->listener.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct h1_limits roomy = {.head_bytes_max = 65536, .fields_max = 256, .interim_max = 16};
    static const struct h1_limits tight = {.head_bytes_max = 64, .fields_max = 2, .interim_max = 1};
    static const uint8_t bytewise[PREFIX_LEN - 1] = {0, 0, 0};
    struct h1_parser p;
    struct result whole;
    struct result cut;

    if (len < PREFIX_LEN)
        return 0;
    h1_parser_init(&p, &callbacks, data[0] & FLAG_TIGHT ? &tight : &roomy);
    answer_run(&p, data + PREFIX_LEN, len - PREFIX_LEN, data[0], NULL, &whole);
    answer_run(&p, data + PREFIX_LEN, len - PREFIX_LEN, data[0], data + 1, &cut);
    results_compare(&whole, &cut);
    result_fini(&cut);
    answer_run(&p, data + PREFIX_LEN, len - PREFIX_LEN, data[0], bytewise, &cut);
    results_compare(&whole, &cut);
    result_fini(&cut);
    result_fini(&whole);
    h1_parser_fini(&p);
    return 0;
}
