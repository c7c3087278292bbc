/* Input lines. A plain URL is lent as it stands; a JSON line is read with jansson, each key by the function that its
 * row in the table of fields names, and what it asks for is put together in the line's `hold`. */
#include "common/input.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"
#include "common/profile_set.h"
#include "common/token.h"

#define METHOD_MAX      64
#define FIELDS_MAX      256
#define HEADERS_MAX     65536 /* bytes; an array of values repeats its header's name, so a short line could grow long */
#define TAG_MAX         4096
#define SHOWN_BYTES_MAX 40 /* of a word of the input, in a reason */

static char reason[256];

__attribute__((format(printf, 1, 2))) static bool refuse(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return false;
}

/* How much of `text` a reason shows: never a part of a UTF-8 character. The int is for printf's "%.*s". */
static int shown_len(const char *text)
{
    size_t len = strnlen(text, SHOWN_BYTES_MAX + 1);

    if (len > SHOWN_BYTES_MAX) {
        len = SHOWN_BYTES_MAX;
        while (len > 0 && (text[len] & 0xc0) == 0x80)
            len--;
    }
    return (int)len;
}

static bool is_token(const char *text, size_t len)
{
    return len > 0 && token_span(text, len) == len;
}

static bool read_string(const char *key, json_t *value, struct buffer *hold)
{
    if (!json_is_string(value))
        return refuse("\"%s\": a string is expected", key);
    buffer_append(hold, json_string_value(value), json_string_length(value));
    return true;
}

static bool read_method(const char *key, json_t *value, struct buffer *hold)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);

    if (!read_string(key, value, hold))
        return false;
    if (len > METHOD_MAX)
        return refuse("\"%s\": longer than %d bytes", key, METHOD_MAX);
    if (!is_token(text, len))
        return refuse("\"%s\": not a token", key);
    if (strcmp(text, "CONNECT") == 0)
        return refuse("\"%s\": CONNECT asks for a tunnel and is not supported", key);
    return true;
}

/* Headers that frame the message or belong to the connection are hotfleet's own. */
static bool check_header_name(const char *key, const char *name)
{
    static const char *const own[] = {
        "connection", "content-length",    "expect",  "http2-settings", "keep-alive", "proxy-connection", "te",
        "trailer",    "transfer-encoding", "upgrade",
    };

    if (!is_token(name, strlen(name)))
        return refuse("\"%s\": \"%.*s\" is not a header name", key, shown_len(name), name);
    if (strcasecmp(name, "host") == 0)
        return refuse("\"%s\": \"%s\" follows from the URL and cannot be given", key, name);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcasecmp(name, own[i]) == 0)
            return refuse("\"%s\": \"%s\" is set by hotfleet itself and cannot be given", key, name);
    }
    return true;
}

/* Appends "name: value\r\n", the value without the white space around it. */
static bool put_header(const char *key, const char *name, json_t *value, struct buffer *hold)
{
    if (!json_is_string(value))
        return refuse("\"%s\": \"%.*s\": a string or an array of strings is expected", key, shown_len(name), name);
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' || text[i] == '\n')
            return refuse("\"%s\": \"%.*s\": a value has a newline", key, shown_len(name), name);
        if (((uint8_t)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
            return refuse("\"%s\": \"%.*s\": a value has a control character", key, shown_len(name), name);
    }
    for (; len > 0 && (*text == ' ' || *text == '\t'); len--)
        text++;
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    buffer_append_str(hold, name);
    buffer_append(hold, ": ", 2);
    buffer_append(hold, text, len);
    buffer_append(hold, "\r\n", 2);
    return true;
}

static bool read_headers(const char *key, json_t *value, struct buffer *hold)
{
    size_t start = hold->len;
    unsigned fields = 0;
    const char *name;
    json_t *item;

    if (!json_is_object(value))
        return refuse("\"%s\": an object is expected", key);
    json_object_foreach(value, name, item)
    {
        size_t count = json_is_array(item) ? json_array_size(item) : 1;
        if (!check_header_name(key, name))
            return false;
        for (size_t i = 0; i < count; i++) {
            if (!put_header(key, name, json_is_array(item) ? json_array_get(item, i) : item, hold))
                return false;
            if (++fields > FIELDS_MAX)
                return refuse("\"%s\": more than %d fields", key, FIELDS_MAX);
            if (hold->len - start > HEADERS_MAX)
                return refuse("\"%s\": longer than %d bytes", key, HEADERS_MAX);
        }
    }
    return true;
}

static bool put_address(const char *key, json_t *value, struct buffer *hold, bool first)
{
    struct address address;
    char text[ADDRESS_TEXT_MAX];

    if (!json_is_string(value))
        return refuse("\"%s\": a string or an array of strings is expected", key);
    const char *given = json_string_value(value);
    if (!address_parse(given, json_string_length(value), &address))
        return refuse("\"%s\": \"%.*s\" is not an IP address", key, shown_len(given), given);
    if (!first)
        buffer_append_char(hold, ',');
    buffer_append(hold, text, address_format(&address, text));
    return true;
}

static bool read_addresses(const char *key, json_t *value, struct buffer *hold)
{
    if (!json_is_array(value))
        return put_address(key, value, hold, true);
    if (json_array_size(value) == 0)
        return refuse("\"%s\": the array is empty", key);
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!put_address(key, json_array_get(value, i), hold, i == 0))
            return false;
    }
    return true;
}

/* Appends `value` as compact JSON with so many significant digits; false when it is longer than TAG_MAX. */
static bool put_json(json_t *value, size_t digits, struct buffer *hold)
{
    buffer_reserve(hold, TAG_MAX);
    size_t len = json_dumpb(value, hold->data + hold->len, TAG_MAX,
                            JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
    if (len > TAG_MAX)
        return false;
    hold->len += len;
    return true;
}

/* Fifteen digits write 0.1 as 0.1, but not every number comes back from them; seventeen do it for all. */
static bool read_tag(const char *key, json_t *value, struct buffer *hold)
{
    size_t start = hold->len;

    if (!put_json(value, 15, hold))
        return refuse("\"%s\": longer than %d bytes", key, TAG_MAX);
    json_t *again = json_loadb(hold->data + start, hold->len - start, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool same = again && json_equal(value, again);
    json_decref(again);
    if (same)
        return true;
    hold->len = start;
    if (!put_json(value, 17, hold))
        return refuse("\"%s\": longer than %d bytes", key, TAG_MAX);
    return true;
}

/* One byte when it is on. */
static bool read_switch(const char *key, json_t *value, struct buffer *hold)
{
    if (!json_is_boolean(value))
        return refuse("\"%s\": true or false is expected", key);
    if (json_is_true(value))
        buffer_append_char(hold, '1');
    return true;
}

/* One byte: the number of the selection. */
static bool read_profile(const char *key, json_t *value, struct buffer *hold)
{
    const char *name = json_string_value(value);
    uint8_t number = name ? profile_set_find(name, json_string_length(value)) : 0;

    if (!name)
        return refuse("\"%s\": a string is expected", key);
    if (number == 0) {
        const char *nearest = profile_set_nearest(name);
        return refuse("\"%s\": \"%.*s\" is no profile%s%s", key, shown_len(name), name,
                      nearest ? "; did you mean " : "", nearest ? nearest : "");
    }
    buffer_append(hold, &number, sizeof number);
    return true;
}

enum field {
    FIELD_URL,
    FIELD_METHOD,
    FIELD_HEADERS,
    FIELD_BODY,
    FIELD_IP,
    FIELD_TAG,
    FIELD_VALIDATE,
    FIELD_PROFILE,
    FIELD_COUNT
};

static const struct {
    const char *key;
    bool (*read)(const char *key, json_t *value, struct buffer *hold);
} fields[FIELD_COUNT] = {
    [FIELD_URL] = {"url", read_string},           [FIELD_METHOD] = {"method", read_method},
    [FIELD_HEADERS] = {"headers", read_headers},  [FIELD_BODY] = {"body", read_string},
    [FIELD_IP] = {"ip", read_addresses},          [FIELD_TAG] = {"tag", read_tag},
    [FIELD_VALIDATE] = {"validate", read_switch}, [FIELD_PROFILE] = {"profile", read_profile},
};

/* Where a field's text stands in `hold`, which may move until the last field is read. */
struct span {
    bool present;
    size_t start, len;
};

static bool read_field(const char *key, json_t *value, struct buffer *hold, struct span spans[FIELD_COUNT])
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(key, fields[i].key) != 0)
            continue;
        spans[i].present = true;
        spans[i].start = hold->len;
        bool ok = fields[i].read(key, value, hold);
        spans[i].len = hold->len - spans[i].start;
        return ok;
    }
    return refuse("unknown key \"%.*s\"", shown_len(key), key);
}

static void lend(const struct buffer *hold, struct span span, const char **text_out, size_t *len_out)
{
    if (!span.present)
        return;
    *text_out = hold->data + span.start;
    *len_out = span.len;
}

static bool read_object(json_t *object, struct input_line *io)
{
    struct span spans[FIELD_COUNT] = {0};
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        if (!read_field(key, value, &io->hold, spans))
            return false;
    }
    if (!spans[FIELD_URL].present)
        return refuse("the key \"url\" is missing");
    lend(&io->hold, spans[FIELD_URL], &io->url, &io->url_len);
    lend(&io->hold, spans[FIELD_METHOD], &io->method, &io->method_len);
    lend(&io->hold, spans[FIELD_HEADERS], &io->headers, &io->headers_len);
    lend(&io->hold, spans[FIELD_BODY], &io->body, &io->body_len);
    lend(&io->hold, spans[FIELD_IP], &io->ip, &io->ip_len);
    lend(&io->hold, spans[FIELD_TAG], &io->tag, &io->tag_len);
    io->validate = spans[FIELD_VALIDATE].len > 0;
    io->profile = spans[FIELD_PROFILE].len ? (uint8_t)io->hold.data[spans[FIELD_PROFILE].start] : 0;
    return true;
}

static bool read_json(const char *line, size_t len, struct input_line *io)
{
    json_error_t error;
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

    if (!object)
        return refuse("invalid JSON at column %d: %s", error.column, error.text);
    buffer_clear(&io->hold);
    buffer_reserve(&io->hold, len); /* also so that an empty text is not NULL */
    bool ok = read_object(object, io);
    json_decref(object);
    return ok;
}

enum outcome input_line_parse(const char *line, size_t len, struct input_line *io, const char **reason_out)
{
    size_t blank = 0;
    bool ok = true;

    *io = (struct input_line){.hold = io->hold};
    *reason_out = NULL;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    while (blank < len && (line[blank] == ' ' || line[blank] == '\t'))
        blank++;
    if (blank == len) {
        ok = refuse("the line is empty");
    } else if (line[blank] == '{') {
        ok = read_json(line, len, io);
    } else {
        io->url = line;
        io->url_len = len;
    }
    if (ok)
        return OUTCOME_OK;
    *reason_out = reason;
    return OUTCOME_INVALID_URL;
}

void input_line_fini(struct input_line *line)
{
    buffer_fini(&line->hold);
    *line = (struct input_line){0};
}
