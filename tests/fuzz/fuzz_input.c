/* Any bytes as an input line: what is accepted must hold what later stages rely on. */
#undef NDEBUG
#include <assert.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/address.h"
#include "common/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every line ends in CRLF, has a colon behind its name, and no other control but tabs. */
static void check_headers(const char *text, size_t len)
{
    const char *end = text + len;

    while (text < end) {
        const char *eol = memmem(text, (size_t)(end - text), "\r\n", 2);
        assert(eol);
        const char *colon = memchr(text, ':', (size_t)(eol - text));
        assert(colon && colon > text && colon[1] == ' ');
        for (; text < eol; text++)
            assert((uint8_t)*text >= ' ' || *text == '\t');
        text = eol + 2;
    }
}

static void check_addresses(const char *text, size_t len)
{
    const char *end = text + len;
    struct address address;

    for (const char *at = text; at <= end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        assert(address_parse(at, (size_t)(stop - at), &address));
        at = stop + 1;
    }
}

static void check_tag(const char *text, size_t len)
{
    assert(len > 0 && len <= 4096);
    json_t *tag = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert(tag);
    json_decref(tag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct input_line line;
    const char *reason = NULL;
    enum outcome outcome = input_line_parse((const char *)data, size, &line, &reason);

    if (outcome != OUTCOME_OK) {
        assert(outcome == OUTCOME_INVALID_URL && reason && strlen(reason) > 0 && strlen(reason) < 256);
        return 0;
    }
    assert(!reason && line.url);
    if (line.method)
        assert(line.method_len > 0 && line.method_len <= 64 && !memchr(line.method, ' ', line.method_len));
    if (line.headers)
        check_headers(line.headers, line.headers_len);
    if (line.ip)
        check_addresses(line.ip, line.ip_len);
    if (line.tag)
        check_tag(line.tag, line.tag_len);
    return 0;
}
