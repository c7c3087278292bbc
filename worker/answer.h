#pragma once
/* The answer of a fetch as it comes in: the few fields that records and decisions need, the body's size, cap and
 * digest. The fetch_on_* calls of fetch.h that take an answer's parts are here. */

#include "worker/fetch.h"

/* Before each attempt. */
void answer_reset(struct fetch *f);
/* The answer is a redirect that names a place to go (RFC 9110 15.4: 301, 302, 303, 307, 308 with Location). */
bool answer_redirects(const struct fetch *f);
struct span answer_location(const struct fetch *f);
