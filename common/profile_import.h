#pragma once
/* Makes the layout of a profile out of a ClientHello that a browser sent: what is drawn for each connection, or is the
 * TLS library's to give (session id, random, key shares, tickets, ECH), is named and not copied. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/client_hello.h"

#define PROFILE_IMPORT_REASON 128

/* Appends the keys of a layout as common/hello_layout.h has them. False: reason_out says what of the hello a layout
 * can't hold. */
bool profile_import_hello(const uint8_t *message, size_t len, struct buffer *toml_out,
                          char reason_out[PROFILE_IMPORT_REASON]);
/* Appends a basic string of TOML. */
void profile_import_string(struct buffer *out, const char *text, size_t len);
