#pragma once
/* "HOST=N" as the option `prewarm` and the command `ctl prewarm` name it: an origin and how many connections to make
 * to it ahead of need. */

#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/url.h"

#define PREWARM_COUNT_MAX 1000000

/* Reads a host: a name, or an origin as http(s)://NAME[:PORT]; https without a scheme. Writes its URL into `out`
 * (cleared first), which *url_out borrows from. OUTCOME_OK; else *reason_out is a clause that says what is wrong. */
must_check enum outcome prewarm_host_parse(const char *text, size_t len, struct buffer *out, struct url *url_out,
                                           const char **reason_out);
/* Reads a number of connections, 1..PREWARM_COUNT_MAX. */
must_check enum outcome prewarm_count_parse(const char *text, uint32_t *count_out, const char **reason_out);
/* Reads "HOST=N". */
must_check enum outcome prewarm_entry_parse(const char *text, struct buffer *out, struct url *url_out,
                                            uint32_t *count_out, const char **reason_out);
