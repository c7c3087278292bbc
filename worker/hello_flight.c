/* The encrypted flight of TLS 1.3: the server's messages as libssl can take them, and the client's answer to ALPS,
 * which libssl does not know of (draft-vvv-tls-alps), put before its Finished. */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <stdlib.h>
#include <string.h>

#include "worker/hello_parts.h"

#define MESSAGE_MAX      (128u << 10)
#define SEND_LIMIT_MIN   512 /* libssl makes no smaller records */
#define RECORD_LIMIT_MIN 64  /* RFC 8449 4 */

void hello_swap_add(struct hello *h, const uint8_t *seen, size_t seen_len, const uint8_t *wire, size_t wire_len)
{
    struct hello_swap *swap = calloc(1, sizeof *swap);

    if (!swap)
        abort();
    buffer_append(&swap->seen, seen, seen_len);
    buffer_append(&swap->wire, wire, wire_len);
    swap->next = h->swaps;
    h->swaps = swap;
}

bool hello_limit_records(struct hello *h, struct cursor body, unsigned overhead)
{
    if (!hello_layout_find(h->context->profile->hello, EXTENSION_RECORD_LIMIT))
        return true;
    unsigned limit = cursor_u16(&body);
    if (!cursor_done(&body) || limit < RECORD_LIMIT_MIN || limit < SEND_LIMIT_MIN + overhead)
        return hello_fail(h, SSL_R_BAD_EXTENSION);
    unsigned most = limit - overhead;
    return SSL_set_max_send_fragment(h->ssl, most < HELLO_RECORD_MAX ? most : HELLO_RECORD_MAX) == 1;
}

/* What the client answers ALPS with: the same extension, empty, in an EncryptedExtensions of its own. */
static void answer_settings(struct hello *h, unsigned type)
{
    buffer_clear(&h->client_extensions);
    buffer_append(&h->client_extensions, "\x8\0\0\x6\0\4", 6);
    hello_put16(&h->client_extensions, type);
    hello_put16(&h->client_extensions, 0);
    h->settings = (uint16_t)type;
    h->stats.settings++;
}

/* libssl passes over extensions that it does not know: ours to see are ALPS and record_size_limit. */
static bool look_at_extensions(struct hello *h, const uint8_t *message, size_t len)
{
    struct cursor c = cursor_of(message, len);

    cursor_take(&c, 4);
    struct cursor all = cursor_vector(&c, 2);
    while (!all.bad && all.left > 0) {
        unsigned type = cursor_u16(&all);
        struct cursor body = cursor_vector(&all, 2);
        if (body.bad)
            break;
        bool alps = type == EXTENSION_ALPS || type == EXTENSION_ALPS_OLD;
        if (alps && (h->settings || !hello_layout_find(h->context->profile->hello, (uint16_t)type)))
            return hello_fail(h, SSL_R_UNSOLICITED_EXTENSION);
        if (alps)
            answer_settings(h, type);
        if (type == EXTENSION_RECORD_LIMIT && !hello_limit_records(h, body, 1))
            return false;
    }
    return (cursor_done(&all) && cursor_done(&c)) || hello_fail(h, SSL_R_LENGTH_MISMATCH);
}

static bool take_compressed(struct hello *h, const uint8_t *message, size_t len)
{
    struct buffer seen = {0};
    long configured = SSL_get_max_cert_list(h->ssl);
    size_t max = configured > 0 && configured < (long)MESSAGE_MAX ? (size_t)configured : MESSAGE_MAX;

    bool good = h->stats.certificates == 0 && hello_unpack(h->context->profile->hello, message, len, max, &seen) &&
                hello_record_seal(&h->server, RECORD_HANDSHAKE, buffer_bytes(&seen), seen.len, &h->out);
    if (good) {
        hello_swap_add(h, buffer_bytes(&seen), seen.len, message, len);
        h->stats.certificates++;
    }
    buffer_fini(&seen);
    return good || hello_fail(h, SSL_R_BAD_DECOMPRESSION);
}

static bool take_message(struct hello *h, const uint8_t *message, size_t len)
{
    switch (message[0]) {
    case MESSAGE_ENCRYPTED_EXTENSIONS:
        if (!look_at_extensions(h, message, len))
            return false;
        break;
    case MESSAGE_COMPRESSED_CERTIFICATE:
        return take_compressed(h, message, len);
    case MESSAGE_FINISHED:
        h->reading = PHASE_PASS;
        h->writing = h->settings ? PHASE_FLIGHT : PHASE_PASS;
        if (h->settings)
            hello_ask_secret(h);
        break;
    default:
        break;
    }
    return hello_record_seal(&h->server, RECORD_HANDSHAKE, message, len, &h->out) || hello_fail(h, SSL_R_BAD_LENGTH);
}

static bool take_messages(struct hello *h)
{
    size_t taken = 0;

    while (h->reading == PHASE_FLIGHT && h->messages.len - taken >= 4) {
        const uint8_t *m = buffer_bytes(&h->messages) + taken;
        size_t len = 4 + ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]);
        if (len > MESSAGE_MAX)
            return hello_fail(h, SSL_R_EXCESSIVE_MESSAGE_SIZE);
        if (h->messages.len - taken < len)
            break;
        if (!take_message(h, m, len))
            return false;
        taken += len;
    }
    buffer_consume(&h->messages, taken);
    /* Behind the Finished the keys change. */
    return h->reading == PHASE_FLIGHT || h->messages.len == 0 || hello_fail(h, SSL_R_NOT_ON_RECORD_BOUNDARY);
}

bool hello_take_flight(struct hello *h, const uint8_t *record, size_t len)
{
    uint8_t type = 0;

    if (record[0] != RECORD_APPLICATION) {
        /* A change_cipher_spec for the middle boxes, an alert, or what libssl will refuse. */
        buffer_append(&h->out, record, len);
        return true;
    }
    if (!hello_keys_ready(h, &h->server))
        return hello_fail(h, SSL_R_UNEXPECTED_RECORD);
    size_t before = h->messages.len;
    ERR_set_mark();
    if (!hello_record_open(&h->server, record, len, &h->messages, &type)) {
        /* It does not verify for libssl either, which tells the server so. */
        ERR_pop_to_mark();
        h->reading = PHASE_PASS;
        h->messages.len = 0;
        buffer_append(&h->out, record, len);
        return true;
    }
    ERR_pop_to_mark();
    if (type == RECORD_HANDSHAKE)
        return h->messages.len > before ? take_messages(h) : hello_fail(h, SSL_R_BAD_LENGTH);
    if (before > 0)
        return hello_fail(h, SSL_R_UNEXPECTED_RECORD);
    bool good = hello_record_seal(&h->server, type, buffer_bytes(&h->messages), h->messages.len, &h->out);
    buffer_clear(&h->messages);
    return good || hello_fail(h, SSL_R_UNEXPECTED_RECORD);
}

static bool send_message(struct hello *h, uint8_t type, const struct buffer *plain)
{
    const struct buffer *send = plain;

    if (!h->extensions_sent) {
        h->extensions_sent = true;
        if (!hello_record_seal(&h->client, RECORD_HANDSHAKE, buffer_bytes(&h->client_extensions),
                               h->client_extensions.len, &h->to_wire))
            return false;
    }
    if (type == RECORD_HANDSHAKE && plain->len > 0 && plain->data[0] == MESSAGE_FINISHED) {
        if (h->turn != TURN_DONE)
            return false;
        send = &h->client_finished;
        h->writing = PHASE_PASS;
    }
    return hello_record_seal(&h->client, type, buffer_bytes(send), send->len, &h->to_wire);
}

bool hello_send_flight(struct hello *h, const uint8_t *record, size_t len)
{
    struct buffer plain = {0};
    uint8_t type = 0;

    if (record[0] != RECORD_APPLICATION) {
        buffer_append(&h->to_wire, record, len);
        return true;
    }
    bool good = hello_keys_ready(h, &h->client) && hello_record_open(&h->client, record, len, &plain, &type) &&
                send_message(h, type, &plain);
    buffer_fini(&plain);
    return good || hello_fail(h, SSL_R_BAD_RECORD_TYPE);
}
