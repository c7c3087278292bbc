/* Tells the forms of a capture apart; reads TLS records, handshake messages and hexadecimal text. */
#include "common/capture.h"

#include "common/cursor.h"

enum { RECORD_HANDSHAKE = 22, MESSAGE_CLIENT_HELLO = 1, HEADER_BYTES = 4 };

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool capture_unhex(const void *data, size_t len, struct buffer *out)
{
    const char *text = data;
    size_t before = out->len;
    int high = -1;

    for (size_t i = 0; i < len; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0) {
            if (high >= 0 || text[i] == '\0' || !strchr(" \t\r\n:", text[i]))
                return false;
        } else if (high < 0) {
            high = digit;
        } else {
            buffer_append_char(out, (char)(unsigned char)(high << 4 | digit));
            high = -1;
        }
    }
    return high < 0 && out->len > before;
}

/* A handshake message at the beginning of `data`. */
static enum capture_state take_message(const void *data, size_t len, struct buffer *hello_out)
{
    struct cursor c = cursor_of(data, len);

    if (len > 0 && cursor_u8(&c) != MESSAGE_CLIENT_HELLO)
        return CAPTURE_BAD;
    if (len < HEADER_BYTES)
        return CAPTURE_PART;
    size_t body = cursor_number(&c, 3);
    if (body > CAPTURE_HELLO_MAX)
        return CAPTURE_BAD;
    if (body > c.left)
        return CAPTURE_PART;
    buffer_append(hello_out, data, HEADER_BYTES + body);
    return CAPTURE_WHOLE;
}

enum capture_state capture_records(const void *data, size_t len, struct buffer *hello_out)
{
    struct cursor c = cursor_of(data, len);
    struct buffer message = {0};
    enum capture_state state = CAPTURE_PART;

    while (state == CAPTURE_PART && c.left > 0 && message.len <= CAPTURE_HELLO_MAX + HEADER_BYTES) {
        unsigned type = cursor_u8(&c);
        unsigned major = c.left ? cursor_u8(&c) : 3;
        if (type != RECORD_HANDSHAKE || major != 3) {
            state = CAPTURE_BAD;
            break;
        }
        cursor_u8(&c);
        struct cursor body = cursor_vector(&c, 2);
        if (body.bad)
            break;
        buffer_append(&message, body.at, body.left);
        state = body.left ? take_message(message.data, message.len, hello_out) : CAPTURE_BAD;
    }
    buffer_fini(&message);
    return state;
}

static bool find_in_bytes(const uint8_t *data, size_t len, struct buffer *hello_out, const char **reason_out)
{
    enum capture_state state =
        *data == RECORD_HANDSHAKE ? capture_records(data, len, hello_out) : take_message(data, len, hello_out);

    *reason_out = state == CAPTURE_PART ? "the ClientHello is cut short" : "it does not begin with a ClientHello";
    return state == CAPTURE_WHOLE;
}

bool capture_find_hello(const void *data, size_t len, struct buffer *hello_out, const char **reason_out)
{
    const uint8_t *bytes = data;
    struct buffer unhexed = {0};
    bool good = false;

    *reason_out = "it is neither a TLS record, nor a handshake message, nor hexadecimal text, nor a pcap file";
    if (len > CAPTURE_MAX)
        *reason_out = "it is larger than 16 MiB";
    else if (capture_is_packets(data, len))
        good = capture_packets(data, len, hello_out, reason_out);
    else if (len > 0 && (*bytes == RECORD_HANDSHAKE || *bytes == MESSAGE_CLIENT_HELLO))
        good = find_in_bytes(bytes, len, hello_out, reason_out);
    else if (capture_unhex(data, len, &unhexed))
        good = find_in_bytes((const uint8_t *)unhexed.data, unhexed.len, hello_out, reason_out);
    buffer_fini(&unhexed);
    return good;
}
