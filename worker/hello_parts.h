#pragma once
/* What the files of the ClientHello engine share; nobody else includes this. A struct hello is one handshake: it
 * belongs to its BIO, and is found by its client random from the digests, which libssl gives no SSL to. */

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include "common/buffer.h"
#include "common/cursor.h"
#include "worker/hello.h"

#define HELLO_RANDOM_BYTES    32
#define HELLO_SECRET_MAX      64
#define HELLO_RECORD_MAX      16384 /* plaintext (RFC 8446 5.1) */
#define HELLO_RECORD_WIRE_MAX (5 + 16384 + 256)
#define HELLO_BUNDLE_GROUP    0xfe5a /* of the private range; never on the wire */
#define HELLO_BUNDLE_BYTES    97     /* X25519 and P-256 */
#define HELLO_BUNDLE_NAME     "hotfleet-bundle"
#define HELLO_PROPERTIES      "?provider=hotfleet"
#define HELLO_ECH_MAX         320

enum { GROUP_P256 = 0x0017, GROUP_X25519 = 0x001d, GROUP_MLKEM = 0x11ec, GROUP_KYBER_DRAFT = 0x6399 };
enum { CIPHER_AES128 = 0x1301, CIPHER_AES256 = 0x1302, CIPHER_CHACHA20 = 0x1303 };
enum {
    MESSAGE_CLIENT_HELLO = 1,
    MESSAGE_SERVER_HELLO = 2,
    MESSAGE_ENCRYPTED_EXTENSIONS = 8,
    MESSAGE_CERTIFICATE = 11,
    MESSAGE_FINISHED = 20,
    MESSAGE_COMPRESSED_CERTIFICATE = 25,
    MESSAGE_HASH = 254
};
enum { RECORD_CCS = 20, RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_APPLICATION = 23 };
enum {
    EXTENSION_SNI = 0,
    EXTENSION_GROUPS = 10,
    EXTENSION_ALPN = 16,
    EXTENSION_SCT = 18,
    EXTENSION_PADDING = 21,
    EXTENSION_COMPRESS = 27,
    EXTENSION_RECORD_LIMIT = 28,
    EXTENSION_PSK = 41,
    EXTENSION_COOKIE = 44,
    EXTENSION_KEY_SHARE = 51,
    EXTENSION_ALPS_OLD = 17513,
    EXTENSION_ALPS = 17613
};

/* The one engine. */
struct hello_engine {
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *standard, *own;
    EVP_MD *sha256, *sha384;
    EVP_CIPHER *aes128, *aes256, *chacha20;
    EC_GROUP *p256;
    BN_CTX *numbers;
    EVP_PKEY_CTX *x25519; /* that makes keys */
    int ssl_index;        /* where an SSL keeps its hello */
    bool many_shares;     /* libssl 3.5: it sends several key shares */
    bool has_mlkem;       /* and has X25519MLKEM768, unless it was built without ML-KEM */
    void (*on_keylog)(const SSL *ssl, const char *line);
};
extern struct hello_engine hello_engine;

/* What is drawn once for a connection: a second hello of it shows the same. */
struct hello_draw {
    uint8_t grease[5];
    uint8_t order[HELLO_EXTENSIONS_MAX], ciphers[HELLO_CIPHERS_MAX]; /* indices into the layout */
    size_t order_count, cipher_count;
    uint8_t ech[HELLO_ECH_MAX];
    size_t ech_len;
};

/* Traffic keys of one direction (RFC 8446 7.3). */
struct hello_keys {
    uint8_t secret[HELLO_SECRET_MAX];
    size_t secret_len;
    uint8_t iv[12];
    uint64_t opened, sealed; /* records so far, for the nonces */
    EVP_CIPHER_CTX *open, *seal;
};

/* A message that libssl sees, and the one on the wire that stands for it in the transcript. */
struct hello_swap {
    struct hello_swap *next;
    struct buffer seen, wire;
};

/* Reading: the hello, then the encrypted flight, then nothing is looked at. Writing: the hello, the flight after the
 * server's Finished when it is to be changed, then nothing. */
enum hello_phase { PHASE_HELLO, PHASE_FLIGHT, PHASE_PASS };

/* With ALPS the client's EncryptedExtensions stand between the server's Finished and all else of the client's. */
enum hello_turn { TURN_SERVER, TURN_EXTENSIONS, TURN_CLIENT, TURN_DONE };

struct hello {
    const struct hello_context *context;
    SSL *ssl;
    BIO *below;
    struct hello *bucket_next;
    bool registered, failed;
    uint8_t random[HELLO_RANDOM_BYTES];
    struct buffer built, sent; /* the current ClientHello as libssl made it and as it is sent; up to the binders until
                                  they are known */
    struct hello_draw draw;
    struct draw *draw_by;         /* NULL: the system's randomness */
    struct bundle *bundle;        /* libssl's, of the current hello */
    bool drawn, retried, bundled; /* bundled: the current one's key share is the bundle */
    uint16_t retry_group;         /* that a HelloRetryRequest named; 0: none did */
    uint16_t cipher;
    enum hello_phase reading, writing;
    struct buffer in, out;  /* records from below, and what libssl is to read */
    struct buffer messages; /* the server's handshake messages, decrypted and not yet whole */
    struct buffer from_libssl, to_wire;
    struct hello_keys server, client;
    struct hello_swap *swaps;
    enum hello_turn turn;
    uint16_t settings; /* the ALPS extension that the server answered; 0: none */
    bool extensions_sent;
    struct buffer client_extensions, client_finished;
    struct hello_stats stats;
};

static inline const uint8_t *buffer_bytes(const struct buffer *b)
{
    return (const uint8_t *)b->data;
}

void hello_put16(struct buffer *out, unsigned n);
/* Overwrites a number of `size` bytes at `offset`. */
void hello_set_number(struct buffer *b, size_t offset, size_t size, size_t n);

/* hello.c: frees it, when its BIO is. */
void hello_free(struct hello *h);
/* Which handshake has this random; NULL: none of ours. */
struct hello *hello_find(const uint8_t random[HELLO_RANDOM_BYTES]);
/* Makes the handshake known by its random. */
void hello_register(struct hello *h, const uint8_t random[HELLO_RANDOM_BYTES]);
/* Puts `reason` (SSL_R_…) where libssl puts its own errors, and ends the handshake. Returns false. */
bool hello_fail(struct hello *h, int reason);

/* hello_bio.c */
BIO *hello_bio_new(struct hello *h);

/* hello_draw.c */
bool hello_draw(struct hello *h);

/* hello_render.c: renders `built`, of which `len` bytes of `full` are known, into h->sent. */
must_check bool hello_render(struct hello *h, const uint8_t *built, size_t len, size_t full);
/* The bytes that went, or will go, to the server for these of libssl's; NULL: they can't be rendered. */
const uint8_t *hello_sent_for(struct hello *h, const uint8_t *built, size_t len, size_t full, size_t *len_out);

/* hello_digest.c, hello_bundle.c: what the provider offers. */
extern const OSSL_ALGORITHM hello_digests[], hello_key_managers[], hello_kems[];
int hello_bundle_capabilities(void *provider, const char *capability, OSSL_CALLBACK *callback, void *arg);

/* Remembers the bundle of the hello that libssl has just built, if it is a new one, for its keys to be dropped: libssl
 * itself keeps them as long as the connection, about 2.7 KB. */
void hello_bundle_keep(struct bundle **at);
/* Drops the keys of the bundle that was kept, if it is still there, and forgets it. */
void hello_bundle_release(struct bundle **at);

/* hello_keys.c */
must_check bool hello_keys_ready(struct hello *h, struct hello_keys *keys);
void hello_keys_fini(struct hello_keys *keys);
/* Decrypts a record: its plaintext is appended to `out`, its inner type given. False: it does not verify. */
must_check bool hello_record_open(struct hello_keys *keys, const uint8_t *record, size_t len, struct buffer *out,
                                  uint8_t *type_out);
/* Appends records that hold `data` to `out`. */
must_check bool hello_record_seal(struct hello_keys *keys, uint8_t type, const uint8_t *data, size_t len,
                                  struct buffer *out);
/* The verify_data of a Finished over `transcript` (RFC 8446 4.4.4). */
must_check bool hello_verify_data(struct hello *h, const EVP_MD_CTX *transcript, uint8_t out[EVP_MAX_MD_SIZE],
                                  size_t *len_out);
const EVP_MD *hello_cipher_md(uint16_t cipher);
/* Has libssl tell the handshake's next secret in its key log: the server's before it reads the ServerHello, the
 * client's before it answers the server's Finished. It derives them in the same call of SSL_do_handshake(). Asked for
 * one by one, since libssl writes a line of its log by 80 calls of sprintf(), more work than the hello itself. */
void hello_ask_secret(struct hello *h);
void hello_on_keylog(const SSL *ssl, const char *line);

/* hello_server.c: takes the ServerHello out of h->in. */
enum hello_step { STEP_MORE, STEP_DONE, STEP_FAILED };
enum hello_step hello_take_server_hello(struct hello *h);
/* hello_flight.c: takes one whole record of the encrypted flight. */
must_check bool hello_take_flight(struct hello *h, const uint8_t *record, size_t len);
/* Takes one whole record that libssl writes after the server's Finished. */
must_check bool hello_send_flight(struct hello *h, const uint8_t *record, size_t len);
/* Looks at an extension that both ServerHello and EncryptedExtensions may hold: record_size_limit (RFC 8449). */
must_check bool hello_limit_records(struct hello *h, struct cursor body, unsigned overhead);
void hello_swap_add(struct hello *h, const uint8_t *seen, size_t seen_len, const uint8_t *wire, size_t wire_len);
/* hello_unpack.c: a Certificate message out of a CompressedCertificate; false: it is broken, too large, or in a form
 * that was not offered. */
must_check bool hello_unpack(const struct hello_layout *layout, const uint8_t *message, size_t len, size_t max,
                             struct buffer *out);
