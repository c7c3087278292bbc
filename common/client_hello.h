#pragma once
/* A TLS ClientHello cut into its fields (RFC 8446 4.1.2), and the hashes that tell clients apart by it: JA3, JA3N (its
 * extensions sorted) and JA4. Views borrow the message's bytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cursor.h"

#define CLIENT_HELLO_CODES_MAX      64
#define CLIENT_HELLO_EXTENSIONS_MAX 48

struct client_hello_list {
    uint16_t codes[CLIENT_HELLO_CODES_MAX];
    size_t count;
};

struct client_hello_extension {
    uint16_t type;
    const uint8_t *body;
    size_t len;
};

struct client_hello {
    uint16_t version;
    const uint8_t *random; /* 32 bytes */
    const uint8_t *session_id;
    size_t session_id_len;
    struct client_hello_list ciphers, groups, versions, signatures, shares; /* shares: their groups */
    struct client_hello_extension extensions[CLIENT_HELLO_EXTENSIONS_MAX];
    size_t extension_count;
};

/* Reads a whole handshake message, its 4-byte header included. False: it is no ClientHello, or is longer than the lists
 * here, which no client's is. */
bool client_hello_parse(const uint8_t *message, size_t len, struct client_hello *hello_out);
/* NULL: it has no extension of that type. */
const struct client_hello_extension *client_hello_find(const struct client_hello *hello, uint16_t type);
/* Takes padding (RFC 7685) out of the list: it comes and goes with the length of the host's name, so that hashes of the
 * same client are compared without it. */
void client_hello_drop_padding(struct client_hello *hello);
/* Whether a code is one of the reserved ones of RFC 8701. */
static inline bool client_hello_is_grease(uint16_t code)
{
    return (code & 0x0f0f) == 0x0a0a && code >> 8 == (code & 0xff);
}

#define JA3_SIZE 33
#define JA4_SIZE 37

/* The MD5 in hexadecimal of the JA3 text; `sorted`: JA3N. */
void ja3_hash(const struct client_hello *hello, bool sorted, char hash_out[JA3_SIZE]);
/* JA4 over TCP. */
void ja4_hash(const struct client_hello *hello, char hash_out[JA4_SIZE]);
