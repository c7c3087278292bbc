/* The grammar of an answer's lines. Everything here decides where one answer ends and the next begins, so it takes only
 * what RFC 9112 lets a server send: two parsers that forgive differently are how answers get smuggled. */
#include "worker/h1_head.h"

#include <string.h>

/* Digits of a chunk size: as many as 64 bits have, leading zeros included, so that a size line is short. */
#define CHUNK_DIGITS_MAX 16

static const bool is_token[256] = {
    ['!'] = true, ['#' ... '\''] = true, ['*'] = true,         ['+'] = true,         ['-'] = true,
    ['.'] = true, ['^'] = true,          ['_'] = true,         ['`'] = true,         ['|'] = true,
    ['~'] = true, ['0' ... '9'] = true,  ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
};

static enum outcome refuse(const char **reason_out, const char *reason)
{
    *reason_out = reason;
    return OUTCOME_PROTOCOL_ERROR;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* No control bytes but HTAB. Without an early exit, so that the compiler makes vectors of it. */
static bool is_text(const char *data, size_t len)
{
    unsigned char bad = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        bad |= (unsigned char)(((c < 0x20) & (c != '\t')) | (c == 0x7f));
    }
    return bad == 0;
}

static size_t token_len(const char *at, const char *end)
{
    const char *from = at;

    while (at < end && is_token[(unsigned char)*at])
        at++;
    return (size_t)(at - from);
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

enum outcome h1_head_parse_status(struct h1_span line, unsigned *status_out, bool *is_http10_out,
                                  const char **reason_out)
{
    const char *s = line.data;

    if (line.len < 8 || memcmp(s, "HTTP/1.", 7) != 0 || (s[7] != '0' && s[7] != '1'))
        return refuse(reason_out, "the version is not HTTP/1.0 or HTTP/1.1");
    if (line.len < 12 || s[8] != ' ' || !is_digit(s[9]) || !is_digit(s[10]) || !is_digit(s[11]))
        return refuse(reason_out, "the status line has no status code of three digits");
    if (line.len > 12 && s[12] != ' ')
        return refuse(reason_out, "the status code is not followed by a space");
    if (s[9] == '0')
        return refuse(reason_out, "the status code is below 100");
    if (!is_text(s + 12, line.len - 12))
        return refuse(reason_out, "the reason phrase has a control byte");
    *status_out = (unsigned)(s[9] - '0') * 100 + (unsigned)(s[10] - '0') * 10 + (unsigned)(s[11] - '0');
    *is_http10_out = s[7] == '0';
    return OUTCOME_OK;
}

/* The name ended before the colon: says why. */
static enum outcome refuse_name(struct h1_span line, size_t name_len, const char **reason_out)
{
    if (name_len == line.len)
        return refuse(reason_out, "a field line has no colon");
    if (name_len == 0 && is_space(line.data[0]))
        return refuse(reason_out, "a field line starts with white space");
    if (name_len == 0 && line.data[0] == ':')
        return refuse(reason_out, "a field has an empty name");
    if (is_space(line.data[name_len]))
        return refuse(reason_out, "a field name is followed by white space");
    return refuse(reason_out, "a field name is not a token");
}

enum outcome h1_head_parse_field(struct h1_span line, struct h1_field *field_out, const char **reason_out)
{
    const char *end = line.data + line.len;
    size_t name_len = token_len(line.data, end);

    if (name_len == 0 || name_len == line.len || line.data[name_len] != ':')
        return refuse_name(line, name_len, reason_out);
    const char *value = skip_space(line.data + name_len + 1, end);
    while (end > value && is_space(end[-1]))
        end--;
    if (!is_text(value, (size_t)(end - value)))
        return refuse(reason_out, "a field value has a control byte");
    field_out->name = (struct h1_span){line.data, name_len};
    field_out->value = (struct h1_span){value, (size_t)(end - value)};
    return OUTCOME_OK;
}

enum outcome h1_head_merge_length(struct h1_span value, int64_t *length, const char **reason_out)
{
    const char *at = value.data;
    const char *end = value.data + value.len;

    for (;; at++) {
        int64_t n = 0;

        at = skip_space(at, end);
        if (at == end || !is_digit(*at))
            return refuse(reason_out, "Content-Length is not a number");
        for (; at < end && is_digit(*at); at++) {
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *at - '0', &n))
                return refuse(reason_out, "Content-Length does not fit 63 bits");
        }
        if (*length >= 0 && *length != n)
            return refuse(reason_out, "Content-Length is given twice and differs");
        *length = n;
        at = skip_space(at, end);
        if (at == end)
            return OUTCOME_OK;
        if (*at != ',')
            return refuse(reason_out, "Content-Length is not a number");
    }
}

bool h1_head_list_has(struct h1_span value, const char *word)
{
    const char *at = value.data;
    const char *end = value.data + value.len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        const char *next = comma ? comma + 1 : end;

        at = skip_space(at, stop);
        while (stop > at && is_space(stop[-1]))
            stop--;
        if (h1_head_word_is((struct h1_span){at, (size_t)(stop - at)}, word))
            return true;
        at = next;
    }
    return false;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The end of the token or quoted-string (RFC 9110 5.6.4) at `at`, NULL if there is none. Control bytes are looked for
 * elsewhere. */
static const char *skip_value(const char *at, const char *end)
{
    if (at == end || *at != '"') {
        size_t len = token_len(at, end);
        return len > 0 ? at + len : NULL;
    }
    for (at++; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if (*at == '\\' && ++at == end)
            break;
    }
    return NULL;
}

/* *( BWS ";" BWS name [ BWS "=" BWS value ] ) up to `end` (RFC 9112 7.1.1). */
static bool is_extension(const char *at, const char *end)
{
    while (at && at < end) {
        at = skip_space(at, end);
        if (at == end || *at != ';')
            return false;
        at = skip_space(at + 1, end);
        size_t len = token_len(at, end);
        if (len == 0)
            return false;
        at += len;
        const char *equals = skip_space(at, end);
        if (equals < end && *equals == '=')
            at = skip_value(skip_space(equals + 1, end), end);
    }
    return at != NULL;
}

enum outcome h1_head_parse_chunk(struct h1_span line, uint64_t *size_out, size_t *extension_len_out,
                                 const char **reason_out)
{
    uint64_t size = 0;
    size_t digits = 0;

    for (; digits < line.len && hex_value(line.data[digits]) >= 0; digits++) {
        if (digits == CHUNK_DIGITS_MAX)
            return refuse(reason_out, "a chunk size has more than 16 digits");
        size = size << 4 | (unsigned)hex_value(line.data[digits]);
    }
    if (digits == 0)
        return refuse(reason_out, "a chunk size is missing");
    if (size > INT64_MAX)
        return refuse(reason_out, "a chunk size does not fit 63 bits");
    if (!is_text(line.data + digits, line.len - digits) || !is_extension(line.data + digits, line.data + line.len))
        return refuse(reason_out, "a chunk size is followed by something that is no extension");
    *size_out = size;
    *extension_len_out = line.len - digits;
    return OUTCOME_OK;
}
