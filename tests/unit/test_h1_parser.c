/* The strict HTTP/1.1 response parser: tables of good and bad answers, each fed whole, byte by byte and cut in two at
 * every position, always with the same callbacks; then limits, endings and reuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/unit/h1_parser_cases.h"
#include "worker/h1_parser.h"

#define LEN_OF(array) (sizeof(array) / sizeof(array)[0])

static const struct h1_limits roomy = {.head_bytes_max = 4096, .fields_max = 16, .interim_max = 3};

/* Everything the callbacks said, as text; body bytes run together, so that it does not show how they were cut. */
struct transcript {
    struct buffer text;
    unsigned completions;
};

static void on_status(void *user, unsigned status)
{
    struct transcript *t = user;

    buffer_printf(&t->text, "%u ", status);
}

static void on_field(void *user, const char *name, size_t name_len, const char *value, size_t value_len)
{
    struct transcript *t = user;

    buffer_append_char(&t->text, '[');
    buffer_append(&t->text, name, name_len);
    buffer_append_char(&t->text, '=');
    buffer_append(&t->text, value, value_len);
    buffer_append_char(&t->text, ']');
}

static void on_head(void *user, enum h1_framing framing, int64_t content_length)
{
    static const char *const names[] = {"none", "length", "chunked", "close"};
    struct transcript *t = user;

    buffer_printf(&t->text, "<%s %lld>", names[framing], (long long)content_length);
}

static void on_body(void *user, const char *data, size_t len)
{
    struct transcript *t = user;

    assert_true(len > 0);
    buffer_append(&t->text, data, len);
}

static void on_complete(void *user)
{
    struct transcript *t = user;

    t->completions++;
    buffer_append_str(&t->text, "<end>");
}

static const struct h1_callbacks callbacks = {on_status, on_field, on_head, on_body, on_complete};

/* Feeds one piece from memory of exactly its size, so that a read past it is seen by the sanitizer. */
static enum outcome feed_piece(struct h1_parser *p, const char *data, size_t len, size_t *consumed)
{
    char *piece = malloc(len ? len : 1);
    size_t taken = 0;

    memcpy(piece, data, len);
    enum outcome o = h1_parser_feed(p, piece, len, &taken);
    free(piece);
    assert_true(taken <= len);
    assert_true(taken == len || o != OUTCOME_OK || p->complete);
    *consumed += taken;
    return o;
}

/* Adds how it ended: " keep" or " close", "+N" for bytes left over, "!outcome" for an error. */
static void transcript_end(struct transcript *t, const struct h1_parser *p, enum outcome o, size_t left)
{
    assert_int_equal(t->completions, p->complete ? 1 : 0);
    if (o != OUTCOME_OK)
        buffer_printf(&t->text, "!%s", outcome_name(o));
    else if (p->complete)
        buffer_printf(&t->text, " %s", p->keep_alive ? "keep" : "close");
    if (o != OUTCOME_OK)
        assert_non_null(p->reason);
    if (p->complete && left > 0)
        buffer_printf(&t->text, "+%zu", left);
    buffer_append_char(&t->text, '\0');
}

/* Feeds first `cut` bytes, then pieces of `piece` bytes; stops at the end of the answer or at an error. */
static enum outcome run_cut(struct h1_parser *p, const struct answer_case *c, size_t cut, size_t piece,
                            struct transcript *t)
{
    size_t consumed = 0;
    enum outcome o = OUTCOME_OK;

    h1_parser_begin(p, t, c->head_request);
    for (size_t at = 0; at < c->len && o == OUTCOME_OK && !p->complete;) {
        size_t len = at == 0 && cut > 0 ? cut : piece;
        len = len < c->len - at ? len : c->len - at;
        o = feed_piece(p, c->bytes + at, len, &consumed);
        at += len;
    }
    if (o == OUTCOME_OK && c->closing != NOTHING)
        o = h1_parser_eof(p, c->closing == CLEAN);
    transcript_end(t, p, o, c->len - consumed);
    return o;
}

static void check_run(const struct answer_case *c, size_t cut, size_t piece, enum outcome outcome, const char *reason)
{
    struct transcript t = {0};
    struct h1_parser p;

    h1_parser_init(&p, &callbacks, &roomy);
    enum outcome o = run_cut(&p, c, cut, piece, &t);
    if (o != outcome || (c->expected && strcmp(t.text.data, c->expected) != 0) ||
        (reason && (!p.reason || strcmp(p.reason, reason) != 0)))
        fail_msg("%s, cut at %zu, pieces of %zu: %s, reason: %s", c->name, cut, piece, t.text.data,
                 p.reason ? p.reason : "-");
    buffer_fini(&t.text);
    h1_parser_fini(&p);
}

static void check_every_cut(const struct answer_case *c, enum outcome outcome, const char *reason)
{
    for (size_t cut = 0; cut < c->len; cut++)
        check_run(c, cut, c->len, outcome, reason);
    for (size_t piece = 1; piece <= 3; piece++)
        check_run(c, 0, piece, outcome, reason);
}

/* An answer with byte `c` in place of the '?' is read to its end. */
static bool is_accepted(const char *format, int c)
{
    struct answer_case one = {format, format, strlen(format), NULL, false, NOTHING};
    struct transcript t = {0};
    struct h1_parser p;
    char *bytes = strdup(format);

    assert_non_null(bytes);
    memset(strchr(bytes, '?'), c, 1);
    one.bytes = bytes;
    h1_parser_init(&p, &callbacks, &roomy);
    bool accepted = run_cut(&p, &one, 0, one.len, &t) == OUTCOME_OK && p.complete;
    free(bytes);
    h1_parser_fini(&p);
    buffer_fini(&t.text);
    return accepted;
}

static void every_byte_is_judged_in_its_place(void **state)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    (void)state;
    for (int c = 0; c < 256; c++) {
        bool is_token = memchr(token, c, sizeof token - 1) != NULL;
        bool is_text = c == '\t' || (c >= ' ' && c != 0x7f);

        assert_int_equal(is_accepted(OK "A?B: c\r\nContent-Length: 0\r\n\r\n", c), is_token || c == ':');
        assert_int_equal(is_accepted(OK "?: c\r\nContent-Length: 0\r\n\r\n", c), is_token);
        assert_int_equal(is_accepted(OK "A: b?c\r\nContent-Length: 0\r\n\r\n", c), is_text);
        assert_int_equal(is_accepted(OK "A:?c\r\nContent-Length: 0\r\n\r\n", c), is_text);
        assert_int_equal(is_accepted("HTTP/1.1 200 O?\r\nContent-Length: 0\r\n\r\n", c), is_text);
        assert_int_equal(is_accepted(CH "0?\r\n\r\n", c), c == '0');
        assert_int_equal(is_accepted(CH "0;?\r\n\r\n", c), is_token);
        assert_int_equal(is_accepted(CH "0;a=\"?\"\r\n\r\n", c), is_text && c != '"' && c != '\\');
    }
}

static void good_answers_read_the_same_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN_OF(good_cases); i++) {
        const struct answer_case *c = &good_cases[i];
        check_every_cut(c, strstr(c->expected, "!connection-closed") ? OUTCOME_CONNECTION_CLOSED : OUTCOME_OK, NULL);
    }
}

static void bad_answers_are_refused_with_their_reason_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN_OF(bad_cases); i++) {
        const struct bad_case *bad = &bad_cases[i];
        const struct answer_case c = {bad->name, bad->bytes, bad->len, NULL, false, NOTHING};
        check_every_cut(&c, bad->outcome, bad->reason);
    }
}

/* Parses `text` whole with the given limits; the rest of the run is in `p`, which the caller ends. */
static enum outcome parse(struct h1_parser *p, struct transcript *t, struct h1_limits limits, const char *text)
{
    size_t consumed = 0;

    h1_parser_init(p, &callbacks, &limits);
    h1_parser_begin(p, t, false);
    return feed_piece(p, text, strlen(text), &consumed);
}

static void check_limit(struct h1_limits limits, const char *text, enum outcome expected)
{
    struct transcript t = {0};
    struct h1_parser p;

    assert_int_equal(parse(&p, &t, limits, text), expected);
    assert_int_equal(p.complete, expected == OUTCOME_OK);
    h1_parser_fini(&p);

    size_t consumed = 0;
    enum outcome o = OUTCOME_OK;
    h1_parser_init(&p, &callbacks, &limits);
    h1_parser_begin(&p, &t, false);
    for (size_t i = 0; i < strlen(text) && o == OUTCOME_OK; i++)
        o = feed_piece(&p, text + i, 1, &consumed);
    assert_int_equal(o, expected);
    h1_parser_fini(&p);
    buffer_fini(&t.text);
}

/* `paid` of the text's bytes count against the head's limit. */
static void check_head_budget(const char *text, size_t paid)
{
    struct h1_limits limits = roomy;

    limits.head_bytes_max = paid;
    check_limit(limits, text, OUTCOME_OK);
    limits.head_bytes_max = paid - 1;
    check_limit(limits, text, OUTCOME_TOO_LARGE);
}

static void head_limit_is_exact(void **state)
{
    (void)state;
    check_head_budget(OK "Content-Length: 0\r\n\r\n", strlen(OK "Content-Length: 0\r\n\r\n"));
    check_head_budget("HTTP/1.1 200 OK\nContent-Length: 0\n\n", strlen("HTTP/1.1 200 OK\nContent-Length: 0\n\n"));
}

static void interim_heads_trailers_and_extensions_share_the_head_limit(void **state)
{
    (void)state;
    check_head_budget("HTTP/1.1 100 C\r\n\r\n" OK "Content-Length: 0\r\n\r\n",
                      strlen("HTTP/1.1 100 C\r\n\r\n" OK "Content-Length: 0\r\n\r\n"));
    check_head_budget(CH "0\r\nA: b\r\n\r\n", strlen(CH "A: b\r\n\r\n"));
    check_head_budget(CH "1;a\r\nx\r\n1;bc\r\nx\r\n0\r\n\r\n", strlen(CH ";a;bc\r\n"));
}

static void extension_just_past_the_head_limit_is_refused(void **state)
{
    struct h1_limits limits = roomy;

    (void)state;
    limits.head_bytes_max = strlen(CH "\r\n");
    check_limit(limits, CH "1;a\r\nx\r\n0\r\n\r\n", OUTCOME_TOO_LARGE);
    check_limit(limits, CH "1;ab\r\nx\r\n0\r\n\r\n", OUTCOME_TOO_LARGE);
}

static void nothing_past_the_head_limit_is_judged(void **state)
{
    struct h1_limits limits = roomy;

    (void)state;
    limits.head_bytes_max = 3;
    check_limit(limits, "HTTX", OUTCOME_TOO_LARGE);
    check_limit(limits, "HTXX", OUTCOME_PROTOCOL_ERROR);
}

static void chunk_sizes_cost_nothing_of_the_head_limit(void **state)
{
    (void)state;
    check_head_budget(CH "000000000000001\r\na\r\n0000000000000001\r\na\r\n0\r\n\r\n", strlen(CH "\r\n"));
}

static void field_and_interim_limits_are_exact(void **state)
{
    struct h1_limits limits = roomy;
    const char *three = "HTTP/1.1 100 C\r\nA:\r\n\r\n" CH "0\r\nB:\r\n\r\n";

    (void)state;
    limits.fields_max = 3;
    limits.interim_max = 1;
    check_limit(limits, three, OUTCOME_OK);
    limits.fields_max = 2;
    check_limit(limits, three, OUTCOME_TOO_LARGE);
    limits = roomy;
    limits.interim_max = 0;
    check_limit(limits, three, OUTCOME_TOO_LARGE);
}

/* Feeds up to 1 GiB of one endless line after `text`; tells after how many bytes it was refused. */
static size_t bytes_until_refused(const char *text, char filler, size_t *memory_out)
{
    static char block[64 * 1024];
    struct transcript t = {0};
    struct h1_parser p;
    size_t fed = 0;

    memset(block, filler, sizeof block);
    enum outcome o = parse(&p, &t, roomy, text);
    for (; o == OUTCOME_OK && fed < (size_t)1 << 30; fed += 1000) {
        size_t consumed;
        o = h1_parser_feed(&p, block, 1000, &consumed);
    }
    assert_int_equal(o, OUTCOME_TOO_LARGE);
    assert_non_null(p.reason);
    *memory_out = p.head.cap;
    h1_parser_fini(&p);
    buffer_fini(&t.text);
    return fed;
}

static void endless_line_is_refused_at_the_limit_with_bounded_memory(void **state)
{
    static const struct {
        const char *text;
        char filler;
    } cases[] = {{"HTTP/1.1 200 ", 'a'}, {OK "A: ", 'b'}, {OK, 'c'}, {CH, '0'}, {CH "1;", 'e'}, {CH "0\r\n", 'f'}};

    (void)state;
    for (size_t i = 0; i < LEN_OF(cases); i++) {
        size_t memory = 0;
        assert_in_range(bytes_until_refused(cases[i].text, cases[i].filler, &memory), 4000, 5000);
        assert_in_range(memory, 1, 2 * roomy.head_bytes_max);
    }
}

static void huge_piece_without_line_end_is_refused_without_keeping_it(void **state)
{
    struct transcript t = {0};
    struct h1_parser p;
    size_t len = (size_t)64 << 20;
    char *piece = malloc(len);
    size_t consumed = 0;

    (void)state;
    assert_non_null(piece);
    memset(piece, 'a', len);
    assert_int_equal(parse(&p, &t, roomy, OK "A: "), OUTCOME_OK);
    assert_int_equal(h1_parser_feed(&p, piece, len, &consumed), OUTCOME_TOO_LARGE);
    assert_in_range(p.head.cap, 1, 256);
    free(piece);
    h1_parser_fini(&p);
    buffer_fini(&t.text);
}

static const char *piece_from, *piece_to;

static void on_field_in_place(void *user, const char *name, size_t name_len, const char *value, size_t value_len)
{
    assert_true(name >= piece_from && name + name_len <= piece_to);
    assert_true(value >= piece_from && value + value_len <= piece_to);
    on_field(user, name, name_len, value, value_len);
}

static void on_body_in_place(void *user, const char *data, size_t len)
{
    assert_true(data >= piece_from && data + len <= piece_to);
    on_body(user, data, len);
}

static void whole_answer_is_parsed_where_it_lies(void **state)
{
    static const char text[] = CH "5;x\r\nhello\r\n0\r\nA: b\r\n\r\n";
    const struct h1_callbacks in_place = {on_status, on_field_in_place, on_head, on_body_in_place, on_complete};
    struct transcript t = {0};
    struct h1_parser p;
    size_t consumed;

    (void)state;
    piece_from = text;
    piece_to = text + sizeof text - 1;
    h1_parser_init(&p, &in_place, &roomy);
    h1_parser_begin(&p, &t, false);
    assert_int_equal(h1_parser_feed(&p, text, sizeof text - 1, &consumed), OUTCOME_OK);
    assert_true(p.complete);
    assert_null(p.head.data);
    h1_parser_fini(&p);
    buffer_fini(&t.text);
}

static void bytes_after_completion_are_refused_and_end_keep_alive(void **state)
{
    struct transcript t = {0};
    struct h1_parser p;
    size_t consumed = 0;

    (void)state;
    assert_int_equal(parse(&p, &t, roomy, OK "Content-Length: 0\r\n\r\n"), OUTCOME_OK);
    assert_true(p.keep_alive);
    assert_int_equal(h1_parser_feed(&p, NULL, 0, &consumed), OUTCOME_OK);
    assert_true(p.keep_alive);
    assert_int_equal(feed_piece(&p, "H", 1, &consumed), OUTCOME_PROTOCOL_ERROR);
    assert_int_equal(consumed, 0);
    assert_false(p.keep_alive);
    assert_string_equal(p.reason, "bytes that belong to no request");
    h1_parser_fini(&p);
    buffer_fini(&t.text);
}

static void bytes_before_the_first_request_are_refused(void **state)
{
    struct h1_parser p;
    size_t consumed = 0;

    (void)state;
    h1_parser_init(&p, &callbacks, &roomy);
    assert_int_equal(feed_piece(&p, OK, 17, &consumed), OUTCOME_PROTOCOL_ERROR);
    h1_parser_fini(&p);
}

static void error_stays_until_the_next_request(void **state)
{
    struct transcript t = {0};
    struct h1_parser p;
    size_t consumed = 0;

    (void)state;
    assert_int_equal(parse(&p, &t, roomy, OK "A : b\r\n"), OUTCOME_PROTOCOL_ERROR);
    assert_int_equal(feed_piece(&p, "A: b\r\n", 6, &consumed), OUTCOME_PROTOCOL_ERROR);
    assert_int_equal(h1_parser_feed(&p, NULL, 0, &consumed), OUTCOME_PROTOCOL_ERROR);
    assert_int_equal(h1_parser_eof(&p, true), OUTCOME_CONNECTION_CLOSED);
    assert_string_equal(p.reason, "a field name is followed by white space");
    assert_false(p.complete);
    h1_parser_begin(&p, &t, false);
    assert_null(p.reason);
    assert_int_equal(feed_piece(&p, OK, 17, &consumed), OUTCOME_OK);
    h1_parser_fini(&p);
    buffer_fini(&t.text);
}

static void close_after_completion_leaves_the_answer_complete(void **state)
{
    struct transcript t = {0};
    struct h1_parser p;

    (void)state;
    assert_int_equal(parse(&p, &t, roomy, OK "Content-Length: 0\r\n\r\n"), OUTCOME_OK);
    assert_int_equal(h1_parser_eof(&p, true), OUTCOME_CONNECTION_CLOSED);
    assert_true(p.complete);
    assert_false(p.keep_alive);
    assert_null(p.reason);
    assert_int_equal(t.completions, 1);
    h1_parser_fini(&p);
    buffer_fini(&t.text);
}

/* Every good answer, cut, on one parser: nothing of an answer may show in the next, however it ended. */
static void answer_leaves_nothing_behind_for_the_next(void **state)
{
    struct h1_parser p;

    (void)state;
    h1_parser_init(&p, &callbacks, &roomy);
    for (size_t i = 0; i < LEN_OF(good_cases) * LEN_OF(bad_cases); i++) {
        const struct answer_case *c = &good_cases[i % LEN_OF(good_cases)];
        const struct bad_case *bad = &bad_cases[i % LEN_OF(bad_cases)];
        const struct answer_case before = {bad->name, bad->bytes, bad->len, NULL, false, NOTHING};
        struct transcript t = {0};
        struct transcript ignored = {0};

        (void)run_cut(&p, &before, 0, 2, &ignored);
        (void)run_cut(&p, c, 0, 7, &t);
        assert_string_equal(t.text.data, c->expected);
        buffer_fini(&t.text);
        buffer_fini(&ignored.text);
    }
    h1_parser_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_answers_read_the_same_however_they_are_cut),
        cmocka_unit_test(bad_answers_are_refused_with_their_reason_however_they_are_cut),
        cmocka_unit_test(every_byte_is_judged_in_its_place),
        cmocka_unit_test(head_limit_is_exact),
        cmocka_unit_test(interim_heads_trailers_and_extensions_share_the_head_limit),
        cmocka_unit_test(extension_just_past_the_head_limit_is_refused),
        cmocka_unit_test(nothing_past_the_head_limit_is_judged),
        cmocka_unit_test(chunk_sizes_cost_nothing_of_the_head_limit),
        cmocka_unit_test(field_and_interim_limits_are_exact),
        cmocka_unit_test(endless_line_is_refused_at_the_limit_with_bounded_memory),
        cmocka_unit_test(huge_piece_without_line_end_is_refused_without_keeping_it),
        cmocka_unit_test(whole_answer_is_parsed_where_it_lies),
        cmocka_unit_test(bytes_after_completion_are_refused_and_end_keep_alive),
        cmocka_unit_test(bytes_before_the_first_request_are_refused),
        cmocka_unit_test(error_stays_until_the_next_request),
        cmocka_unit_test(close_after_completion_leaves_the_answer_complete),
        cmocka_unit_test(answer_leaves_nothing_behind_for_the_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
