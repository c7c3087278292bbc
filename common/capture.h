#pragma once
/* Finds the ClientHello in what somebody captured of a browser: a raw TLS record or handshake message, either as
 * hexadecimal text, or a pcap or pcapng file. All of it is hostile: lengths are checked and sizes capped. Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"

#define CAPTURE_MAX       (16u << 20) /* bytes of a file that its reader should take */
#define CAPTURE_HELLO_MAX 16384       /* bytes of a ClientHello */

enum capture_state { CAPTURE_WHOLE, CAPTURE_PART, CAPTURE_BAD };

/* Appends the first ClientHello's handshake message, its 4-byte header included. False: *reason_out says why there is
 * none, a constant. */
bool capture_find_hello(const void *data, size_t len, struct buffer *hello_out, const char **reason_out);
/* Appends the bytes of hexadecimal text, in which blanks, line ends and colons may stand between bytes. False: it is
 * something else, or holds no byte. */
bool capture_unhex(const void *text, size_t len, struct buffer *out);

/* For capture_packets.c: the ClientHello at the beginning of a stream of TLS records. *hello_out has it when whole. */
enum capture_state capture_records(const void *data, size_t len, struct buffer *hello_out);
/* Whether the bytes begin as a pcap or pcapng file does. */
bool capture_is_packets(const void *data, size_t len);
bool capture_packets(const void *data, size_t len, struct buffer *hello_out, const char **reason_out);
