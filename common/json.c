/* Strings and numbers of JSON. Most text needs no escape, so strings are scanned eight bytes at a time and copied in
 * runs; only bytes that are escaped or not ASCII are looked at one by one. */
#include "common/json.h"

#include <string.h>

#define EVERY_BYTE(value) (UINT64_C(0x0101010101010101) * (value))

/* True when none of the eight bytes is a control, a quote, a backslash or above 0x7f. A borrow from a lower byte can
 * only make it false where it might be true, and then that lower byte has already made it so. */
static bool is_plain_word(uint64_t word)
{
    uint64_t control = word - EVERY_BYTE(0x20);
    uint64_t quote = (word ^ EVERY_BYTE('"')) - EVERY_BYTE(1);
    uint64_t backslash = (word ^ EVERY_BYTE('\\')) - EVERY_BYTE(1);

    return ((word | control | quote | backslash) & EVERY_BYTE(0x80)) == 0;
}

static bool is_plain_byte(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* How many bytes from the start go out as they are. */
static size_t measure_plain(const char *text, size_t len)
{
    size_t i = 0;

    for (; len - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, 8);
        if (!is_plain_word(word))
            break;
    }
    while (i < len && is_plain_byte((uint8_t)text[i]))
        i++;
    return i;
}

/* The length of the well-formed UTF-8 sequence (Unicode table 3-7) of two to four bytes at `text`; 0: there is none. */
static size_t measure_utf8(const char *text, size_t len)
{
    uint8_t lead = (uint8_t)text[0];
    uint8_t second_min = 0x80;
    uint8_t second_max = 0xbf;
    size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

    if (lead < 0xc2 || lead > 0xf4 || len < n)
        return 0;
    if (lead == 0xe0)
        second_min = 0xa0;
    else if (lead == 0xed)
        second_max = 0x9f;
    else if (lead == 0xf0)
        second_min = 0x90;
    else if (lead == 0xf4)
        second_max = 0x8f;
    if ((uint8_t)text[1] < second_min || (uint8_t)text[1] > second_max)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

static void put_escape(struct buffer *b, uint8_t byte)
{
    static const char hex[] = "0123456789abcdef";
    static const char short_forms[0x80] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};

    if (byte >= 0x80) {
        const char raw[] = {'\\', '\\', 'x', escape[4], escape[5]};
        buffer_append(b, raw, sizeof raw);
    } else if (short_forms[byte]) {
        escape[1] = short_forms[byte];
        buffer_append(b, escape, 2);
    } else {
        buffer_append(b, escape, sizeof escape);
    }
}

void json_put_string(struct buffer *b, const char *text, size_t len)
{
    size_t start = 0; /* of the run that is still to be copied */
    size_t i = 0;

    buffer_reserve(b, len + 2);
    buffer_append_char(b, '"');
    while ((i += measure_plain(text + i, len - i)) < len) {
        size_t n = (uint8_t)text[i] >= 0x80 ? measure_utf8(text + i, len - i) : 0;
        if (n == 0) {
            buffer_append(b, text + start, i - start);
            put_escape(b, (uint8_t)text[i]);
            start = i + 1;
        }
        i += n ? n : 1;
    }
    buffer_append(b, text + start, len - start);
    buffer_append_char(b, '"');
}

void json_put_uint(struct buffer *b, uint64_t value)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    char digits[20];
    size_t n = sizeof digits;

    for (; value >= 100; value /= 100) {
        n -= 2;
        memcpy(digits + n, pairs + 2 * (value % 100), 2);
    }
    if (value >= 10) {
        n -= 2;
        memcpy(digits + n, pairs + 2 * value, 2);
    } else {
        digits[--n] = (char)('0' + value);
    }
    buffer_append(b, digits + n, sizeof digits - n);
}

void json_put_int(struct buffer *b, int64_t value)
{
    if (value < 0)
        buffer_append_char(b, '-');
    json_put_uint(b, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void json_put_ms(struct buffer *b, uint64_t us)
{
    unsigned rest = (unsigned)(us % 1000);
    const char decimals[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10)};

    json_put_uint(b, us / 1000);
    buffer_append(b, decimals, sizeof decimals);
}
