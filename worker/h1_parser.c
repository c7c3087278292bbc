/* The states of one HTTP/1.1 answer. A line that lies whole in the bytes fed is parsed where it lies; only one that is
 * cut by the end of a read goes through the buffer, and every byte is counted against its limit before it is kept. */
#include "worker/h1_parser.h"

#include <assert.h>
#include <string.h>

#include "worker/h1_head.h"

/* The digits of a chunk size with their CRLF: no budget is charged for these. */
#define CHUNK_LINE_BYTES 18

static const char head_too_large[] = "the head, trailers or chunk extensions are too large";

struct input {
    const char *at;
    const char *end;
};

#define TO(state) (1u << STATE_##state)

/* X(state, step, states it may move to, what a close in this state means)
 * A step takes bytes and returns OUTCOME_OK, OUTCOME_AGAIN when it has taken all and needs more, or an error with the
 * reason set. */
#define STATE_TABLE(X)                                                                                                \
    X(DONE, on_excess, TO(STATUS_LINE) | TO(FAILED), NULL)                                                            \
    X(STATUS_LINE, on_status_line, TO(FIELDS) | TO(INTERIM_FIELDS) | TO(FAILED), "closed before a whole status line") \
    X(INTERIM_FIELDS, on_fields, TO(STATUS_LINE) | TO(FAILED), "closed within the fields of an interim answer")       \
    X(FIELDS, on_fields, TO(LENGTH_BODY) | TO(CHUNK_SIZE) | TO(CLOSE_BODY) | TO(DONE) | TO(FAILED),                   \
      "closed within the fields")                                                                                     \
    X(LENGTH_BODY, on_length_body, TO(DONE) | TO(FAILED), "closed before Content-Length bytes of body")               \
    X(CLOSE_BODY, on_close_body, TO(DONE) | TO(FAILED), "the body ends with the connection, which ended uncleanly")   \
    X(CHUNK_SIZE, on_chunk_size, TO(CHUNK_DATA) | TO(TRAILERS) | TO(FAILED), "closed before the last chunk")          \
    X(CHUNK_DATA, on_chunk_data, TO(CHUNK_CR) | TO(FAILED), "closed within a chunk")                                  \
    X(CHUNK_CR, on_chunk_cr, TO(CHUNK_LF) | TO(FAILED), "closed at the end of a chunk")                               \
    X(CHUNK_LF, on_chunk_lf, TO(CHUNK_SIZE) | TO(FAILED), "closed at the end of a chunk")                             \
    X(TRAILERS, on_trailers, TO(DONE) | TO(FAILED), "closed within the trailers")                                     \
    X(FAILED, on_failed, 0, NULL)

#define STATE_ID(id, step, moves, close) STATE_##id,
enum state { STATE_TABLE(STATE_ID) };

#define STATE_STEP(id, step, moves, close) static enum outcome step(struct h1_parser *p, struct input *in);
STATE_TABLE(STATE_STEP)

struct state_row {
    enum outcome (*step)(struct h1_parser *p, struct input *in);
    unsigned moves;
    const char *close_reason;
};

#define STATE_ROW(id, step, moves, close) [STATE_##id] = {step, moves, close},
static const struct state_row states[] = {STATE_TABLE(STATE_ROW)};

static void state_move(struct h1_parser *p, enum state to)
{
    assert(states[p->state].moves & (1u << to));
    p->state = to;
}

static enum outcome refuse(struct h1_parser *p, enum outcome o, const char *reason)
{
    p->reason = reason;
    return o;
}

/* The one way into STATE_FAILED; the reason is set already. */
static enum outcome fail(struct h1_parser *p, enum outcome o)
{
    state_move(p, STATE_FAILED);
    p->failure = o;
    p->keep_alive = false;
    return o;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t input_len(const struct input *in)
{
    return (size_t)(in->end - in->at);
}

/* RFC 9112 9.3. h1_parser_feed() and h1_parser_eof() tell the user, as the last thing they do. */
static void answer_complete(struct h1_parser *p)
{
    p->complete = true;
    p->keep_alive = p->framing != H1_UNTIL_CLOSE && !p->is_odd && !p->has_close && (!p->is_http10 || p->has_keep_alive);
    state_move(p, STATE_DONE);
}

/* A line with its line end, of at most `line_max` bytes. It stays good until the next bytes are taken. */
static enum outcome line_take(struct h1_parser *p, struct input *in, size_t line_max, struct h1_span *line_out)
{
    size_t room = line_max - p->head.len;
    size_t len = input_len(in);
    const char *lf = memchr(in->at, '\n', smaller(len, room));

    if (!lf && len > room)
        return refuse(p, OUTCOME_TOO_LARGE, head_too_large);
    size_t taken = lf ? (size_t)(lf + 1 - in->at) : len;
    *line_out = (struct h1_span){in->at, taken};
    in->at += taken;
    if (lf && p->head.len == 0)
        return OUTCOME_OK;
    buffer_append(&p->head, line_out->data, taken);
    if (!lf)
        return OUTCOME_AGAIN;
    *line_out = (struct h1_span){p->head.data, p->head.len};
    buffer_clear(&p->head); /* the bytes stay where they are until the next append */
    return OUTCOME_OK;
}

/* Cuts the line end off. A CR that is not part of it is left in the line, where the line's grammar refuses it. */
static enum outcome line_trim(struct h1_parser *p, struct h1_span *line, bool crlf_only)
{
    line->len--;
    if (line->len > 0 && line->data[line->len - 1] == '\r')
        line->len--;
    else if (crlf_only)
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "a line of the chunked coding ends without CR");
    return OUTCOME_OK;
}

static enum outcome head_line_take(struct h1_parser *p, struct input *in, bool crlf_only, struct h1_span *line_out)
{
    enum outcome o = line_take(p, in, p->limits.head_bytes_max - p->head_bytes, line_out);

    if (o != OUTCOME_OK)
        return o;
    p->head_bytes += line_out->len;
    return line_trim(p, line_out, crlf_only);
}

/* Refuses what cannot become a status line at its first wrong byte: another protocol's greeting need not have a line
 * end to wait for. Looks no further than the limit, so that the outcome does not depend on how the bytes were cut. */
static bool is_status_line_start(const struct h1_parser *p, const struct input *in)
{
    static const char start[] = {'H', 'T', 'T', 'P', '/', '1', '.'};
    size_t seen = smaller(p->head.len, sizeof start);
    size_t room = p->limits.head_bytes_max - p->head_bytes - p->head.len;
    size_t len = smaller(smaller(input_len(in), room), sizeof start - seen);

    return memcmp(in->at, start + seen, len) == 0;
}

static enum outcome on_status_line(struct h1_parser *p, struct input *in)
{
    struct h1_span line;

    if (!is_status_line_start(p, in))
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "the answer does not start with HTTP/1.");
    enum outcome o = head_line_take(p, in, false, &line);
    if (o == OUTCOME_OK)
        o = h1_head_parse_status(line, &p->status, &p->is_http10, &p->reason);
    if (o != OUTCOME_OK)
        return o;
    p->content_length = -1;
    p->has_length = p->has_chunked = p->has_keep_alive = false;
    if (p->status == 101)
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "101 switches to a protocol that was not asked for");
    if (p->status < 200) {
        if (p->interim == p->limits.interim_max)
            return refuse(p, OUTCOME_TOO_LARGE, "too many interim answers");
        p->interim++;
        state_move(p, STATE_INTERIM_FIELDS);
        return OUTCOME_OK;
    }
    state_move(p, STATE_FIELDS);
    p->callbacks->on_status(p->user, p->status);
    return OUTCOME_OK;
}

static enum outcome transfer_coding_note(struct h1_parser *p, struct h1_span value)
{
    if (p->has_chunked)
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "Transfer-Encoding is given twice");
    if (!h1_head_word_is(value, "chunked"))
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "Transfer-Encoding is not chunked alone");
    p->has_chunked = true;
    return OUTCOME_OK;
}

/* Keeps what decides the framing and the connection's future. The length is the cheap test that most fields fail. */
static enum outcome field_note(struct h1_parser *p, const struct h1_field *field)
{
    if (field->name.len == 14 && h1_head_word_is(field->name, "content-length")) {
        p->has_length = true;
        return h1_head_merge_length(field->value, &p->content_length, &p->reason);
    }
    if (field->name.len == 17 && h1_head_word_is(field->name, "transfer-encoding"))
        return transfer_coding_note(p, field->value);
    if (field->name.len == 10 && h1_head_word_is(field->name, "connection")) {
        p->has_close |= h1_head_list_has(field->value, "close");
        p->has_keep_alive |= h1_head_list_has(field->value, "keep-alive");
    }
    return OUTCOME_OK;
}

static enum outcome field_take(struct h1_parser *p, struct h1_span line, struct h1_field *field_out)
{
    if (p->fields == p->limits.fields_max)
        return refuse(p, OUTCOME_TOO_LARGE, "too many fields");
    p->fields++;
    return h1_head_parse_field(line, field_out, &p->reason);
}

/* RFC 9112 6.3, and 6.1 for what makes a framing odd. */
static void framing_choose(struct h1_parser *p)
{
    bool is_bodiless = p->status < 200 || p->status == 204;

    if (p->head_request || is_bodiless || p->status == 304)
        p->framing = H1_NO_BODY;
    else if (p->has_chunked)
        p->framing = H1_CHUNKED;
    else
        p->framing = p->has_length ? H1_LENGTH : H1_UNTIL_CLOSE;
    /* A server that announces a body where none may be is likely to send it, as the start of the next answer. */
    p->is_odd |= p->has_chunked && p->is_http10;
    p->is_odd |= is_bodiless && (p->has_chunked || p->content_length > 0);
}

static enum outcome head_end(struct h1_parser *p)
{
    static const enum state body_states[] = {
        [H1_NO_BODY] = STATE_DONE,
        [H1_LENGTH] = STATE_LENGTH_BODY,
        [H1_CHUNKED] = STATE_CHUNK_SIZE,
        [H1_UNTIL_CLOSE] = STATE_CLOSE_BODY,
    };

    if (p->has_length && p->has_chunked)
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "Content-Length stands beside Transfer-Encoding");
    framing_choose(p);
    if (p->status < 200) {
        state_move(p, STATE_STATUS_LINE);
        return OUTCOME_OK;
    }
    p->callbacks->on_head(p->user, p->framing, p->framing == H1_LENGTH ? p->content_length : -1);
    p->remaining = p->framing == H1_LENGTH ? (uint64_t)p->content_length : 0;
    if (p->framing == H1_NO_BODY || (p->framing == H1_LENGTH && p->remaining == 0))
        answer_complete(p);
    else
        state_move(p, body_states[p->framing]);
    return OUTCOME_OK;
}

static enum outcome on_fields(struct h1_parser *p, struct input *in)
{
    while (in->at < in->end) {
        struct h1_span line;
        struct h1_field field;
        enum outcome o = head_line_take(p, in, false, &line);

        if (o == OUTCOME_OK && line.len == 0)
            return head_end(p);
        if (o == OUTCOME_OK)
            o = field_take(p, line, &field);
        if (o == OUTCOME_OK)
            o = field_note(p, &field);
        if (o != OUTCOME_OK)
            return o;
        if (p->state == STATE_FIELDS)
            p->callbacks->on_field(p->user, field.name.data, field.name.len, field.value.data, field.value.len);
    }
    return OUTCOME_OK;
}

static void body_pass(struct h1_parser *p, struct input *in)
{
    size_t len = p->remaining < input_len(in) ? (size_t)p->remaining : input_len(in);
    const char *data = in->at;

    in->at += len;
    p->remaining -= len;
    p->callbacks->on_body(p->user, data, len);
}

static enum outcome on_length_body(struct h1_parser *p, struct input *in)
{
    body_pass(p, in);
    if (p->remaining == 0)
        answer_complete(p);
    return OUTCOME_OK;
}

static enum outcome on_close_body(struct h1_parser *p, struct input *in)
{
    p->remaining = input_len(in);
    body_pass(p, in);
    return OUTCOME_OK;
}

/* Extensions are paid from the head's budget: else a server could send megabytes of them around each byte of body. */
static enum outcome on_chunk_size(struct h1_parser *p, struct input *in)
{
    struct h1_span line;
    size_t extension_len = 0;
    enum outcome o = line_take(p, in, CHUNK_LINE_BYTES + p->limits.head_bytes_max - p->head_bytes, &line);

    if (o == OUTCOME_OK)
        o = line_trim(p, &line, true);
    if (o == OUTCOME_OK)
        o = h1_head_parse_chunk(line, &p->remaining, &extension_len, &p->reason);
    if (o != OUTCOME_OK)
        return o;
    if (extension_len > p->limits.head_bytes_max - p->head_bytes)
        return refuse(p, OUTCOME_TOO_LARGE, head_too_large);
    p->head_bytes += extension_len;
    state_move(p, p->remaining > 0 ? STATE_CHUNK_DATA : STATE_TRAILERS);
    return OUTCOME_OK;
}

static enum outcome on_chunk_data(struct h1_parser *p, struct input *in)
{
    body_pass(p, in);
    if (p->remaining == 0)
        state_move(p, STATE_CHUNK_CR);
    return OUTCOME_OK;
}

static enum outcome chunk_end_take(struct h1_parser *p, struct input *in, char expected, enum state next)
{
    if (*in->at != expected)
        return refuse(p, OUTCOME_PROTOCOL_ERROR, "a chunk is not followed by CRLF");
    in->at++;
    state_move(p, next);
    return OUTCOME_OK;
}

static enum outcome on_chunk_cr(struct h1_parser *p, struct input *in)
{
    return chunk_end_take(p, in, '\r', STATE_CHUNK_LF);
}

static enum outcome on_chunk_lf(struct h1_parser *p, struct input *in)
{
    return chunk_end_take(p, in, '\n', STATE_CHUNK_SIZE);
}

/* Trailers decide nothing (RFC 9110 6.5.1): a Content-Length among them is only checked as a field. */
static enum outcome on_trailers(struct h1_parser *p, struct input *in)
{
    struct h1_span line;
    struct h1_field field;
    enum outcome o = head_line_take(p, in, true, &line);

    if (o != OUTCOME_OK)
        return o;
    if (line.len > 0)
        return field_take(p, line, &field);
    answer_complete(p);
    return OUTCOME_OK;
}

static enum outcome on_excess(struct h1_parser *p, struct input *in)
{
    (void)in;
    return refuse(p, OUTCOME_PROTOCOL_ERROR, "bytes that belong to no request");
}

static enum outcome on_failed(struct h1_parser *p, struct input *in)
{
    (void)in;
    return p->failure;
}

void h1_parser_init(struct h1_parser *p, const struct h1_callbacks *callbacks, const struct h1_limits *limits)
{
    *p = (struct h1_parser){.callbacks = callbacks, .limits = *limits, .state = STATE_DONE};
}

void h1_parser_fini(struct h1_parser *p)
{
    buffer_fini(&p->head);
}

void h1_parser_begin(struct h1_parser *p, void *user, bool head_request)
{
    struct buffer head = p->head;

    h1_parser_init(p, p->callbacks, &p->limits);
    buffer_clear(&head);
    p->head = head;
    p->user = user;
    p->head_request = head_request;
    p->content_length = -1;
    state_move(p, STATE_STATUS_LINE);
}

enum outcome h1_parser_feed(struct h1_parser *p, const char *data, size_t len, size_t *consumed_out)
{
    enum outcome o;

    *consumed_out = 0;
    if (len == 0)
        return p->state == STATE_FAILED ? p->failure : OUTCOME_OK;
    struct input in = {data, data + len};
    do {
        o = states[p->state].step(p, &in);
    } while (o == OUTCOME_OK && in.at < in.end && p->state != STATE_DONE);
    *consumed_out = (size_t)(in.at - data);
    if (o == OUTCOME_OK && p->state == STATE_DONE)
        p->callbacks->on_complete(p->user);
    if (o == OUTCOME_OK || o == OUTCOME_AGAIN)
        return OUTCOME_OK;
    return p->state == STATE_FAILED ? o : fail(p, o);
}

enum outcome h1_parser_eof(struct h1_parser *p, bool clean)
{
    if (p->state == STATE_CLOSE_BODY && clean) {
        answer_complete(p);
        p->callbacks->on_complete(p->user);
        return OUTCOME_OK;
    }
    if (p->state == STATE_FAILED)
        return OUTCOME_CONNECTION_CLOSED;
    p->reason = states[p->state].close_reason;
    return fail(p, OUTCOME_CONNECTION_CLOSED);
}
