/* Reading of "HOST=N". The host goes through the URL parser, so that it is the same host as that of the input's URLs.
 */
#include "common/prewarm_entry.h"

#include <ctype.h>
#include <stdlib.h>

enum outcome prewarm_host_parse(const char *text, size_t len, struct buffer *out, struct url *url_out,
                                const char **reason_out)
{
    struct buffer full = {0};

    if (len == 0 || len > URL_LEN_MAX || memchr(text, '#', len)) {
        *reason_out = len == 0 ? "it names no host" : "it is no host; write a name or https://name:port";
        return OUTCOME_INVALID_HOST;
    }
    if (!memmem(text, len, "://", 3))
        buffer_append_str(&full, "https://");
    buffer_append(&full, text, len);
    enum outcome outcome = url_parse(full.data, full.len, NULL, out, url_out, reason_out);
    buffer_fini(&full);
    if (outcome == OUTCOME_OK && (url_out->has_credentials || url_out->len != url_out->path_offset + 1u)) {
        *reason_out = "it is more than a host; leave out path, query and user";
        return OUTCOME_INVALID_HOST;
    }
    return outcome;
}

enum outcome prewarm_count_parse(const char *text, uint32_t *count_out, const char **reason_out)
{
    char *end;
    unsigned long count = isdigit((unsigned char)*text) ? strtoul(text, &end, 10) : 0;

    if (count < 1 || count > PREWARM_COUNT_MAX || *end) {
        *reason_out = "it needs a number of connections from 1 to 1000000";
        return OUTCOME_INVALID_HOST;
    }
    *count_out = (uint32_t)count;
    return OUTCOME_OK;
}

enum outcome prewarm_entry_parse(const char *text, struct buffer *out, struct url *url_out, uint32_t *count_out,
                                 const char **reason_out)
{
    const char *equals = strrchr(text, '=');

    if (!equals) {
        *reason_out = "it is not of the form HOST=N";
        return OUTCOME_INVALID_HOST;
    }
    enum outcome outcome = prewarm_count_parse(equals + 1, count_out, reason_out);
    if (outcome != OUTCOME_OK)
        return outcome;
    return prewarm_host_parse(text, (size_t)(equals - text), out, url_out, reason_out);
}
