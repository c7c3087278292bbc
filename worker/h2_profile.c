/* HTTP/2 as a browser opens it. */
#include "worker/h2_profile.h"

#include "common/log.h"

#define WINDOW_AT_FIRST 65535 /* RFC 9113 6.9.2 */

void h2_profile_open(nghttp2_session *session, const struct profile_http2 *h)
{
    nghttp2_settings_entry settings[PROFILE_SETTINGS_MAX];
    uint32_t next = 1;
    bool good;

    for (size_t i = 0; i < h->settings_count; i++)
        settings[i] = (nghttp2_settings_entry){h->settings[i].id, h->settings[i].value};
    good = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, h->settings_count) == 0 &&
           nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                                 WINDOW_AT_FIRST + (int32_t)h->window_update) == 0;
    for (size_t i = 0; i < h->priorities_count; i++) {
        const struct profile_priority *p = &h->priorities[i];
        nghttp2_priority_spec spec;
        nghttp2_priority_spec_init(&spec, (int32_t)p->depends_on, p->weight, p->exclusive);
        good &= nghttp2_submit_priority(session, NGHTTP2_FLAG_NONE, (int32_t)p->stream_id, &spec) == 0;
        if (p->stream_id >= next)
            next = p->stream_id + 2;
    }
    if (!good || (next > 1 && nghttp2_session_set_next_stream_id(session, (int32_t)next) != 0))
        die("out of memory: no room for an HTTP/2 session's first frames");
}

const nghttp2_priority_spec *h2_profile_priority(const struct profile *profile, nghttp2_priority_spec *spec)
{
    if (!profile || profile->http2.request.weight == 0)
        return NULL;
    nghttp2_priority_spec_init(spec, (int32_t)profile->http2.request.depends_on, profile->http2.request.weight,
                               profile->http2.request.exclusive);
    return spec;
}
