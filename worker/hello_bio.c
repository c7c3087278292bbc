/* The filter: records that libssl writes and reads, until the handshake is over. It never takes a byte from below that
 * is behind the record that it waits for, so that nothing of the connection's is left in it. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "common/log.h"
#include "worker/hello_parts.h"

#define HEADER_BYTES 5

static void copy_retry(BIO *bio, BIO *below)
{
    BIO_set_flags(bio, BIO_get_retry_flags(below));
    BIO_set_retry_reason(bio, BIO_get_retry_reason(below));
}

/* Hundreds of handshakes may wait for their servers at a time, and what each of them holds meanwhile is a hole in the
 * heap later, between what connections keep. */
static void release_if_empty(struct buffer *b)
{
    if (b->len == 0)
        buffer_fini(b);
}

/* Takes one ClientHello of libssl's; it stands whole in its record. */
static bool send_client_hello(struct hello *h, const uint8_t *record, size_t len)
{
    const uint8_t *message = record + HEADER_BYTES;
    size_t message_len = len - HEADER_BYTES;

    if (message_len < 4 + 2 + HELLO_RANDOM_BYTES ||
        4 + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]) != message_len)
        return hello_fail(h, SSL_R_LENGTH_TOO_LONG);
    hello_register(h, message + 6);
    size_t known = h->built.len;
    bool binders_only = known > 0 && known < message_len && memcmp(h->built.data, message, known) == 0;
    if (binders_only) {
        buffer_append(&h->built, message + known, message_len - known);
        buffer_append(&h->sent, message + known, message_len - known);
    } else if (!hello_render(h, message, message_len, message_len)) {
        return false;
    }
    if (h->bundled)
        hello_bundle_keep(&h->bundle);
    h->stats.hellos++;
    buffer_append(&h->to_wire, record, 3);
    hello_put16(&h->to_wire, (unsigned)h->sent.len);
    buffer_append(&h->to_wire, h->sent.data, h->sent.len);
    return true;
}

static bool send_record(struct hello *h, const uint8_t *record, size_t len)
{
    if (h->writing == PHASE_HELLO && record[0] == RECORD_HANDSHAKE && len > HEADER_BYTES &&
        record[HEADER_BYTES] == MESSAGE_CLIENT_HELLO)
        return send_client_hello(h, record, len);
    if (h->writing == PHASE_FLIGHT)
        return hello_send_flight(h, record, len);
    buffer_append(&h->to_wire, record, len);
    return true;
}

/* libssl's writes may cut records; whole ones are taken. */
static bool send_records(struct hello *h)
{
    size_t taken = 0;

    while (h->from_libssl.len - taken >= HEADER_BYTES) {
        const uint8_t *record = buffer_bytes(&h->from_libssl) + taken;
        size_t len = HEADER_BYTES + ((size_t)record[3] << 8 | record[4]);
        if (h->from_libssl.len - taken < len)
            break;
        if (!send_record(h, record, len))
            return false;
        taken += len;
    }
    buffer_consume(&h->from_libssl, taken);
    release_if_empty(&h->from_libssl);
    return true;
}

static int flush(BIO *bio, struct hello *h)
{
    while (h->to_wire.len > 0) {
        size_t n = 0;
        if (BIO_write_ex(h->below, h->to_wire.data, h->to_wire.len, &n) != 1 || n == 0) {
            copy_retry(bio, h->below);
            return 0;
        }
        buffer_consume(&h->to_wire, n);
    }
    release_if_empty(&h->to_wire);
    return 1;
}

static int on_write(BIO *bio, const char *data, size_t len, size_t *len_out)
{
    struct hello *h = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (!flush(bio, h))
        return 0;
    if (h->writing == PHASE_PASS && h->from_libssl.len == 0) {
        int n = BIO_write_ex(h->below, data, len, len_out);
        copy_retry(bio, h->below);
        return n;
    }
    buffer_append(&h->from_libssl, data, len);
    if (h->failed || !send_records(h))
        return 0;
    /* What the socket does not take now goes with the flush that follows. */
    flush(bio, h);
    BIO_clear_retry_flags(bio);
    *len_out = len;
    return 1;
}

/* How many bytes the record still needs that is not whole: of its header first. 0: what stands there is no record of
 * TLS. */
static size_t missing(const struct hello *h)
{
    struct cursor c = cursor_of(h->in.data, h->in.len);

    for (;;) {
        if (c.left < HEADER_BYTES)
            return HEADER_BYTES - c.left;
        uint8_t type = cursor_u8(&c);
        uint8_t major = cursor_u8(&c);
        cursor_u8(&c);
        size_t len = cursor_u16(&c);
        if (type < RECORD_CCS || type > RECORD_APPLICATION || major != 3 || len > HELLO_RECORD_WIRE_MAX + 1792)
            return 0;
        if (c.left < len)
            return len - c.left;
        cursor_take(&c, len);
    }
}

static void pass_all(struct hello *h)
{
    buffer_append(&h->out, h->in.data, h->in.len);
    buffer_clear(&h->in);
}

/* Moves what can be moved from `in` to `out`; STEP_MORE: nothing, for want of bytes. */
static enum hello_step take_records(struct hello *h)
{
    if (h->reading == PHASE_HELLO)
        return hello_take_server_hello(h);
    struct cursor c = cursor_of(h->in.data, h->in.len);
    cursor_take(&c, 3);
    struct cursor body = cursor_vector(&c, 2);
    if (body.bad)
        return STEP_MORE;
    size_t len = HEADER_BYTES + body.left;
    if (!hello_take_flight(h, buffer_bytes(&h->in), len))
        return STEP_FAILED;
    buffer_consume(&h->in, len);
    return STEP_DONE;
}

/* One read from below, of no more than the record needs. */
static bool read_more(BIO *bio, struct hello *h)
{
    size_t want = missing(h);
    size_t n = 0;

    if (want == 0) {
        /* Not TLS at all, or its record is too long: libssl has words for that. */
        h->reading = PHASE_PASS;
        h->writing = PHASE_PASS;
        return true;
    }
    buffer_reserve(&h->in, want);
    if (BIO_read_ex(h->below, h->in.data + h->in.len, want, &n) != 1) {
        copy_retry(bio, h->below);
        release_if_empty(&h->in);
        return false;
    }
    h->in.len += n;
    return true;
}

static int on_read(BIO *bio, char *out, size_t size, size_t *len_out)
{
    struct hello *h = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    *len_out = 0;
    while (h->out.len == 0) {
        if (h->failed)
            return 0;
        if (h->reading == PHASE_PASS && h->in.len == 0) {
            int n = BIO_read_ex(h->below, out, size, len_out);
            copy_retry(bio, h->below);
            return n;
        }
        if (h->reading == PHASE_PASS) {
            pass_all(h);
            break;
        }
        enum hello_step step = h->in.len < HEADER_BYTES ? STEP_MORE : take_records(h);
        if (step == STEP_FAILED || (step == STEP_MORE && !read_more(bio, h)))
            return 0;
    }
    size_t n = h->out.len < size ? h->out.len : size;
    memcpy(out, h->out.data, n);
    buffer_consume(&h->out, n);
    *len_out = n;
    return 1;
}

static long on_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct hello *h = BIO_get_data(bio);

    if (!h)
        return 0;
    switch (command) {
    case BIO_CTRL_FLUSH:
        BIO_clear_retry_flags(bio);
        return flush(bio, h) ? BIO_ctrl(h->below, command, number, pointer) : 0;
    case BIO_CTRL_EOF:
        return h->out.len == 0 && h->in.len == 0 && !h->failed ? BIO_ctrl(h->below, command, number, pointer) : 0;
    case BIO_CTRL_PENDING:
        return (long)h->out.len;
    case BIO_CTRL_PUSH:
    case BIO_CTRL_POP:
    case BIO_CTRL_DUP:
        return 0;
    default:
        return BIO_ctrl(h->below, command, number, pointer);
    }
}

static int on_destroy(BIO *bio)
{
    struct hello *h = BIO_get_data(bio);

    if (h)
        hello_free(h);
    BIO_set_data(bio, NULL);
    return 1;
}

BIO *hello_bio_new(struct hello *h)
{
    static BIO_METHOD *method;

    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hello");
        if (!method || !BIO_meth_set_write_ex(method, on_write) || !BIO_meth_set_read_ex(method, on_read) ||
            !BIO_meth_set_ctrl(method, on_ctrl) || !BIO_meth_set_destroy(method, on_destroy))
            die("out of memory: libssl has no room for a BIO method");
    }
    BIO *bio = BIO_new(method);
    if (bio) {
        BIO_set_data(bio, h);
        BIO_set_init(bio, 1);
    }
    return bio;
}
