#pragma once
/* The grammar of an answer's lines (RFC 9112 sections 4 to 7, RFC 9110 section 5): pure functions over one line without
 * its line end, or over one field's value. Private to the HTTP/1.1 response parser. What breaks the grammar is an
 * OUTCOME_PROTOCOL_ERROR and *reason_out is set to a constant clause; on success *reason_out is left alone. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/outcome.h"

/* Borrowed bytes. */
struct h1_span {
    const char *data;
    size_t len;
};

struct h1_field {
    struct h1_span name;
    struct h1_span value; /* trimmed of OWS; no control bytes but HTAB */
};

/* `HTTP/1.0` or `HTTP/1.1`, a status of 100-999, a reason phrase (RFC 9112 4). The space before an absent reason phrase
 * may be missing: many servers leave it out and nothing else can be meant. */
must_check enum outcome h1_head_parse_status(struct h1_span line, unsigned *status_out, bool *is_http10_out,
                                             const char **reason_out);
/* A field line (RFC 9112 5.1, RFC 9110 5.5); the line is not empty. */
must_check enum outcome h1_head_parse_field(struct h1_span line, struct h1_field *field_out, const char **reason_out);
/* A Content-Length value, or a list of them (RFC 9110 8.6). *length is the value known so far, -1 for none; a value
 * that differs from it is refused. */
must_check enum outcome h1_head_merge_length(struct h1_span value, int64_t *length, const char **reason_out);
/* A chunk-size line (RFC 9112 7.1). *size_out is at most INT64_MAX; *extension_len_out is the length of all after it.
 */
must_check enum outcome h1_head_parse_chunk(struct h1_span line, uint64_t *size_out, size_t *extension_len_out,
                                            const char **reason_out);
/* Whether a comma-separated value has `word` as one of its elements; `word` is in lower case, the comparison is not. */
bool h1_head_list_has(struct h1_span value, const char *word);

/* Whether the span is `word` but for case. `word` is in lower case letters and hyphens. The span must have passed
 * h1_head_parse_field(): setting bit 5 would make a CR a hyphen. */
static inline bool h1_head_word_is(struct h1_span span, const char *word)
{
    size_t i = 0;

    while (i < span.len && word[i] != '\0' && (span.data[i] | 0x20) == word[i])
        i++;
    return i == span.len && word[i] == '\0';
}
