#pragma once
/* The answer of a fetch as it comes in: the few fields that records and decisions need, the body's size, cap and
 * digest. The fetch_on_* calls of fetch.h that take an answer's parts are here. */

#include "worker/fetch.h"

/* Before each attempt. */
void answer_reset(struct fetch *f);
/* The body is over. OUTCOME_OK, or why it is not to be had: OUTCOME_PROTOCOL_ERROR, OUTCOME_TOO_LARGE or
 * OUTCOME_RESOURCE_EXHAUSTED, with a clause or NULL in *detail_out. */
must_check enum outcome answer_end_body(struct fetch *f, const char **detail_out);
/* The answer is a redirect that names a place to go (RFC 9110 15.4: 301, 302, 303, 307, 308 with Location). */
bool answer_redirects(const struct fetch *f);
struct span answer_location(const struct fetch *f);
