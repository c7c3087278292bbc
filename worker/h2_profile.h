#pragma once
/* What a browser shows of itself when it opens an HTTP/2 connection, by its profile. */

#include <nghttp2/nghttp2.h>

#include "common/profile.h"

/* Queues the browser's SETTINGS, the growth of the connection's window, and its PRIORITY frames; streams begin behind
 * those that the latter name. */
void h2_profile_open(nghttp2_session *session, const struct profile_http2 *http2);
/* The priority that a request's HEADERS carry; NULL: none. `spec` is room for it. */
const nghttp2_priority_spec *h2_profile_priority(const struct profile *profile, nghttp2_priority_spec *spec);
