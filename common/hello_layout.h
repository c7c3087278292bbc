#pragma once
/* The layout of a browser's TLS ClientHello (RFC 8446 4.1.2): its cipher suites and extensions in order, as data. Read
 * from a TOML document of
 *   permute     the browser shuffles its extensions per connection; GREASE, padding and pre_shared_key keep their
 * places ciphers     "GREASE" or four hexadecimal digits each extensions  "grease first", "grease last", or "TYPE PART
 * …" where PART is: raw HEX, the body as it is; copy, the body is the TLS library's; groups, shares or versions, a
 * list; ech, a GREASE body of that extension; padding, up to 512 bytes ja3, ja3n, ja4  what the browser's own hello
 * gives A layout is immutable once read. pre_shared_key is no part of it: it stands last whenever a session is resumed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/toml.h"

#define HELLO_GREASE         0 /* in lists: one of the reserved values of RFC 8701, drawn per connection */
#define HELLO_CIPHERS_MAX    32
#define HELLO_EXTENSIONS_MAX 24
#define HELLO_BODY_MAX       64
#define HELLO_LIST_MAX       8

enum hello_part {
    HELLO_RAW,
    HELLO_COPY,
    HELLO_GREASE_FIRST,
    HELLO_GREASE_LAST,
    HELLO_GROUPS,
    HELLO_SHARES,
    HELLO_VERSIONS,
    HELLO_ECH,
    HELLO_PADDING
};

struct hello_extension {
    uint16_t type; /* of GREASE: 0 */
    uint8_t part;  /* enum hello_part */
    uint8_t body_len, list_count;
    uint8_t body[HELLO_BODY_MAX];
    uint16_t list[HELLO_LIST_MAX];
};

struct hello_layout {
    char name[24];
    bool permute;
    uint8_t cipher_count, extension_count;
    uint16_t ciphers[HELLO_CIPHERS_MAX];
    struct hello_extension extensions[HELLO_EXTENSIONS_MAX];
    char ja3[33], ja3n[33], ja4[37];
};

/* Reads a layout. False: *error_out says what is wrong and where. */
bool hello_layout_parse(const char *text, size_t len, const char *name, struct hello_layout *layout_out,
                        struct toml_error *error_out);
/* Takes one key of a layout that stands as a table in another document. NULL, or what is wrong with it. */
const char *hello_layout_take(struct hello_layout *layout, const char *key, const struct toml_value *value);
/* What keeps a layout that nobody has tried from being rendered; NULL: nothing does. */
const char *hello_layout_fault(const struct hello_layout *layout);
/* The extension of that type, GREASE aside; NULL: the browser sends none. */
const struct hello_extension *hello_layout_find(const struct hello_layout *layout, uint16_t type);
