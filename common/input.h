#pragma once
/* One input line: a plain URL, or a JSON object {"url":…, "method", "headers", "body", "ip", "tag",
 * "validate", "profile"} (F1). Reads text only; URLs are judged by common/url. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/outcome.h"

/* What a line asks for. Spans borrow from the line (plain URL) or from `hold` (JSON). Absent: NULL and 0. */
struct input_line {
    const char *url;
    size_t url_len;
    const char *method; /* a token of RFC 9110 5.6.2, kept as written */
    size_t method_len;
    const char *headers; /* "Name: value\r\n"… without the empty line; names and values already checked */
    size_t headers_len;
    const char *body;
    size_t body_len;
    const char *ip; /* "addr[,addr…]", already checked to be IP addresses */
    size_t ip_len;
    const char *tag; /* compact JSON text of any type, to be echoed as it is */
    size_t tag_len;
    bool validate;      /* test the connection first */
    uint8_t profile;    /* number of the selection (common/profile_set.h) that its connection is to be of; 0: any */
    struct buffer hold; /* owned; reused from line to line; input_line_fini() frees it */
};

/* Reads one line (without its newline; a trailing CR is dropped). A line whose first byte other than space is '{' is
 * JSON. Returns OUTCOME_OK, or OUTCOME_INVALID_URL with *reason_out a clause for people that lives until the next call
 * (e.g. `invalid JSON at column 14: '}' expected near end of file`, `unknown key "metod"`, `"headers": a value has a
 * newline`). An empty line is invalid: "the line is empty". */
must_check enum outcome input_line_parse(const char *line, size_t len, struct input_line *io, const char **reason_out);
void input_line_fini(struct input_line *line);
