#pragma once
/* Content codings (RFC 9110 8.4.1): gzip, deflate, br and zstd, alone or one over the other, decoded as the bytes come.
 * A decoder belongs to one answer. Nothing of the server's is trusted: memory is bounded by the codings' windows, and
 * what expands too far ends. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/outcome.h"

#define DECODE_LAYERS_MAX      3
#define DECODE_FREE_BYTES      (1u << 20) /* that any body may expand to, whatever its ratio */
#define DECODE_ACCEPT_ENCODING "gzip, deflate, br, zstd"

struct decoder;

/* Takes decoded bytes; false: enough, no more is wanted. */
typedef bool (*decode_sink)(void *user, const char *data, size_t len);

/* Reads the value of Content-Encoding. *decoder_out: a decoder, or NULL when the bytes are to be taken as they are: no
 * coding, only `identity`, or one that is not known. OUTCOME_PROTOCOL_ERROR: more codings than DECODE_LAYERS_MAX.
 * OUTCOME_RESOURCE_EXHAUSTED: no memory. `ratio_max`: how many times larger than its coded bytes a body above
 * DECODE_FREE_BYTES may be. */
must_check enum outcome decoder_new(struct decoder **decoder_out, const char *codings, size_t len, unsigned ratio_max);
void decoder_free(struct decoder *d);

/* Decodes further bytes. OUTCOME_OK (also when the sink had enough); OUTCOME_PROTOCOL_ERROR: they are not what the
 * coding says; OUTCOME_TOO_LARGE: the ratio. *reason_out: a clause; constant. */
must_check enum outcome decoder_feed(struct decoder *d, const char *data, size_t len, decode_sink sink, void *user,
                                     const char **reason_out);
/* All bytes were fed. OUTCOME_PROTOCOL_ERROR: the coded data is not at its end. A body without any byte is whole. */
must_check enum outcome decoder_end(const struct decoder *d, const char **reason_out);
