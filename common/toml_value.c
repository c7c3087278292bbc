/* Reads what stands right of the '=' in TOML: strings, numbers, booleans, arrays. */
#include <ctype.h>
#include <stdlib.h>

#include "common/toml_reader.h"

#define NUMBER_BYTES_MAX 128

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void utf8_append(struct buffer *out, uint32_t c)
{
    if (c < 0x80) {
        buffer_append_char(out, (char)c);
        return;
    }
    if (c < 0x800) {
        buffer_append_char(out, (char)(0xc0 | c >> 6));
    } else if (c < 0x10000) {
        buffer_append_char(out, (char)(0xe0 | c >> 12));
        buffer_append_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
    } else {
        buffer_append_char(out, (char)(0xf0 | c >> 18));
        buffer_append_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buffer_append_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    buffer_append_char(out, (char)(0x80 | (c & 0x3f)));
}

static bool unicode_escape_read(struct toml_reader *r, struct toml_place place, size_t digits, struct buffer *out)
{
    uint32_t c = 0;

    for (size_t i = 0; i < digits; i++) {
        int digit = hex_digit(toml_peek(r, i));
        if (digit < 0)
            return toml_fail(r, place, "%zu hexadecimal digits are expected after \\%c", digits,
                             digits == 4 ? 'u' : 'U');
        c = c << 4 | (uint32_t)digit;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return toml_fail(r, place, "the escape stands for no Unicode character");
    r->pos += digits;
    utf8_append(out, c);
    return true;
}

/* The backslash, where errors point, is behind us. */
static bool escape_read(struct toml_reader *r, struct buffer *out)
{
    static const char letters[] = "btnfr\"\\";
    static const char meanings[] = "\b\t\n\f\r\"\\";
    struct toml_place place = toml_here(r);
    int c = toml_peek(r, 0);
    const char *letter = c > 0 ? strchr(letters, c) : NULL;

    place.column--;
    if (c == 'u' || c == 'U') {
        r->pos++;
        return unicode_escape_read(r, place, c == 'u' ? 4 : 8, out);
    }
    if (!letter)
        return toml_fail(r, place,
                         "unknown escape; write \\\\ for a backslash, or use '…' for a string without escapes");
    r->pos++;
    buffer_append_char(out, meanings[letter - letters]);
    return true;
}

static bool line_string_read(struct toml_reader *r, char quote, struct buffer *out)
{
    struct toml_place start = toml_here(r);

    r->pos++;
    for (;;) {
        int c = toml_peek(r, 0);
        if (c < 0 || c == '\n' || (c == '\r' && toml_peek(r, 1) == '\n'))
            return toml_fail(r, start, "the string does not end on its line; close it with %c", quote);
        if (toml_is_control(c))
            return toml_fail(r, toml_here(r), "a string holds a control character; write it as \\uXXXX");
        r->pos++;
        if (c == quote)
            return true;
        if (c != '\\' || quote == '\'')
            buffer_append_char(out, (char)c);
        else if (!escape_read(r, out))
            return false;
    }
}

/* A backslash that ends its line takes away all blanks and newlines up to the next text. */
static bool pass_line_end(struct toml_reader *r)
{
    struct toml_reader ahead = *r;

    ahead.pos++;
    toml_skip_blanks(&ahead);
    if (!toml_pass_newline(&ahead))
        return false;
    do
        toml_skip_blanks(&ahead);
    while (toml_pass_newline(&ahead));
    *r = ahead;
    return true;
}

/* Passes the three closing quotes; up to two more belong to the text. */
static bool pass_closing_quotes(struct toml_reader *r, char quote, struct buffer *out)
{
    size_t n = 0;

    while (n < 5 && toml_peek(r, n) == quote)
        n++;
    if (n < 3)
        return false;
    for (size_t i = 3; i < n; i++)
        buffer_append_char(out, quote);
    r->pos += n;
    return true;
}

static bool lines_string_read(struct toml_reader *r, char quote, struct buffer *out)
{
    struct toml_place start = toml_here(r);

    r->pos += 3;
    toml_pass_newline(r);
    for (;;) {
        int c = toml_peek(r, 0);
        if (c < 0)
            return toml_fail(r, start, "the string does not end; close it with %c%c%c", quote, quote, quote);
        if (c == quote && pass_closing_quotes(r, quote, out))
            return true;
        if (toml_pass_newline(r)) {
            buffer_append_char(out, '\n');
            continue;
        }
        if (toml_is_control(c))
            return toml_fail(r, toml_here(r), "a string holds a control character; write it as \\uXXXX");
        bool escape = c == '\\' && quote == '"';
        if (escape && pass_line_end(r))
            continue;
        r->pos++;
        if (!escape)
            buffer_append_char(out, (char)c);
        else if (!escape_read(r, out))
            return false;
    }
}

bool toml_string_read(struct toml_reader *r, bool lines, struct buffer *out)
{
    char quote = (char)toml_peek(r, 0);

    if (toml_peek(r, 1) != quote || toml_peek(r, 2) != quote)
        return line_string_read(r, quote, out);
    if (!lines)
        return toml_fail(r, toml_here(r), "a key may not stretch over lines; use one pair of quotes");
    return lines_string_read(r, quote, out);
}

/* Copies digits of `base` from *text without underscores, each of which must stand between two digits. Moves *text
 * behind them; false if there is none or an underscore is misplaced. */
static bool digits_take(const char **text, int base, char **out)
{
    const char *p = *text;

    for (;; p++) {
        int digit = hex_digit(*p);
        if (*p == '_' && p > *text && p[-1] != '_')
            continue;
        if (digit < 0 || digit >= base)
            break;
        *(*out)++ = *p;
    }
    bool good = p > *text && p[-1] != '_' && **text != '_';
    *text = p;
    return good;
}

static bool based_integer_read(struct toml_reader *r, struct toml_place place, const char *token, int base,
                               int64_t *integer_out)
{
    char clean[NUMBER_BYTES_MAX];
    char *end = clean;
    uint64_t n = 0;

    if (!digits_take(&token, base, &end) || *token)
        return toml_fail(r, place, "the number has a wrong digit for its base");
    for (const char *p = clean; p < end; p++) {
        /* Exact, since the bases are powers of two. */
        if (n > (uint64_t)INT64_MAX / (unsigned)base)
            return toml_fail(r, place, "the number does not fit in 64 bits");
        n = n * (unsigned)base + (unsigned)hex_digit(*p);
    }
    *integer_out = (int64_t)n;
    return true;
}

/* Takes a decimal integer or float apart into `clean`, fit for strtoll and strtod. False: it is none. */
static bool decimal_clean(const char *token, char clean[NUMBER_BYTES_MAX], bool *is_float_out)
{
    char *out = clean;

    *is_float_out = false;
    if (*token == '+' || *token == '-')
        *out++ = *token++;
    if (token[0] == '0' && (isdigit((unsigned char)token[1]) || token[1] == '_'))
        return false;
    if (!digits_take(&token, 10, &out))
        return false;
    if (*token == '.') {
        *out++ = *token++;
        *is_float_out = true;
        if (!digits_take(&token, 10, &out))
            return false;
    }
    if (*token == 'e' || *token == 'E') {
        *out++ = *token++;
        *is_float_out = true;
        if (*token == '+' || *token == '-')
            *out++ = *token++;
        if (!digits_take(&token, 10, &out))
            return false;
    }
    *out = '\0';
    return *token == '\0';
}

static bool decimal_read(struct toml_reader *r, const char *token, struct toml_value *value)
{
    struct toml_place place = {value->line, value->column};
    char clean[NUMBER_BYTES_MAX];
    bool is_float;

    if (!decimal_clean(token, clean, &is_float))
        return toml_fail(r, place, "\"%s\" is not a value; put quotes around it if it is a string", token);
    if (is_float) {
        value->type = TOML_FLOAT;
        value->real = strtod(clean, NULL);
        return true;
    }
    char *end;
    value->type = TOML_INT;
    value->integer = strtoll(clean, &end, 10);
    /* strtoll saturates; only the two ends need a second look. */
    if (value->integer == INT64_MAX || value->integer == INT64_MIN) {
        const char *digits = clean + (clean[0] == '+' || clean[0] == '-');
        if (strcmp(digits, clean[0] == '-' ? "9223372036854775808" : "9223372036854775807") != 0)
            return toml_fail(r, place, "the number does not fit in 64 bits");
    }
    return true;
}

static bool is_date(const char *token)
{
    size_t digits = strspn(token, "0123456789");

    return (digits == 4 && strncmp(token + 4, "-", 1) == 0) || (digits == 2 && strncmp(token + 2, ":", 1) == 0);
}

static bool word_read(struct toml_reader *r, const char *token, struct toml_value *value)
{
    struct toml_place place = {value->line, value->column};
    const char *unsigned_part = token + (*token == '+' || *token == '-');

    if (strcmp(token, "true") == 0 || strcmp(token, "false") == 0) {
        value->type = TOML_BOOL;
        value->boolean = token[0] == 't';
        return true;
    }
    if (strcmp(unsigned_part, "inf") == 0 || strcmp(unsigned_part, "nan") == 0) {
        value->type = TOML_FLOAT;
        value->real = strtod(token, NULL);
        return true;
    }
    if (is_date(token))
        return toml_fail(r, place, "dates and times are not supported; write a string");
    if (token[0] == '0' && (token[1] == 'x' || token[1] == 'o' || token[1] == 'b')) {
        int base = token[1] == 'x' ? 16 : token[1] == 'o' ? 8 : 2;
        value->type = TOML_INT;
        return based_integer_read(r, place, token + 2, base, &value->integer);
    }
    return decimal_read(r, token, value);
}

/* Reads a value that is no string and no array. */
static bool plain_value_read(struct toml_reader *r, struct toml_value *value)
{
    struct toml_place place = {value->line, value->column};
    char token[NUMBER_BYTES_MAX];
    size_t n = 0;

    for (int c = toml_peek(r, 0); c > 0 && (isalnum(c) || strchr("+-._:", c)); c = toml_peek(r, n)) {
        if (n == sizeof token - 1)
            return toml_fail(r, place, "the value is too long; put quotes around it if it is a string");
        token[n++] = (char)c;
    }
    token[n] = '\0';
    if (n == 0 && toml_peek(r, 0) == '{')
        return toml_fail(r, place, "inline tables, {…}, are not supported; use [table] or dotted keys");
    if (n == 0)
        return toml_fail(r, place, "a value is expected here; strings need quotes");
    r->pos += n;
    return word_read(r, token, value);
}

static bool scalar_read(struct toml_reader *r, struct toml_value *value)
{
    struct toml_place place = toml_here(r);
    int c = toml_peek(r, 0);

    *value = (struct toml_value){.line = place.line, .column = place.column};
    if (c != '"' && c != '\'')
        return plain_value_read(r, value);
    size_t start = r->strings.len;
    value->type = TOML_STRING;
    if (!toml_string_read(r, true, &r->strings))
        return false;
    value->string_len = r->strings.len - start;
    buffer_append_char(&r->strings, '\0');
    return true;
}

/* Passes blanks, comments and newlines between the items of an array. */
static bool skip_lines(struct toml_reader *r)
{
    do {
        if (!toml_skip_comment(r))
            return false;
    } while (toml_pass_newline(r));
    return true;
}

static bool array_read(struct toml_reader *r, struct toml_place place)
{
    r->pos++;
    for (;;) {
        struct toml_value item;
        if (!skip_lines(r))
            return false;
        if (toml_peek(r, 0) == ']')
            break;
        if (toml_peek(r, 0) < 0)
            return toml_fail(r, place, "the array does not end; close it with ]");
        if (toml_peek(r, 0) == '[')
            return toml_fail(r, toml_here(r), "arrays within arrays are not supported");
        if (!scalar_read(r, &item))
            return false;
        buffer_append(&r->items, &item, sizeof item);
        if (!skip_lines(r))
            return false;
        if (toml_peek(r, 0) == ',')
            r->pos++;
        else if (toml_peek(r, 0) != ']')
            return toml_fail(r, toml_here(r), "',' or ']' is expected after an item of an array");
    }
    r->pos++;
    return true;
}

/* Only now has the buffer of strings stopped moving: they lie one behind the other, in the items' order. */
static void strings_attach(const char *text, struct toml_value *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i].type != TOML_STRING)
            continue;
        values[i].string = text;
        text += values[i].string_len + 1;
    }
}

bool toml_value_read(struct toml_reader *r, struct toml_value *value_out)
{
    struct toml_place place = toml_here(r);

    buffer_clear(&r->strings);
    buffer_clear(&r->items);
    if (toml_peek(r, 0) != '[') {
        if (!scalar_read(r, value_out))
            return false;
        strings_attach(r->strings.data, value_out, 1);
        return true;
    }
    *value_out = (struct toml_value){.type = TOML_ARRAY, .line = place.line, .column = place.column};
    if (!array_read(r, place))
        return false;
    struct toml_value *items = (struct toml_value *)(void *)r->items.data;
    value_out->items = items;
    value_out->items_count = r->items.len / sizeof *items;
    strings_attach(r->strings.data, items, value_out->items_count);
    return true;
}
