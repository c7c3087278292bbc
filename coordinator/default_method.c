/* From options to the method in force. */
#include "coordinator/default_method.h"

#include "common/log.h"

bool default_method_find(struct default_method *d, const struct options *o)
{
    const char *method = *o->method ? o->method : *o->data ? "POST" : "GET";
    const char *reason;

    *d = (struct default_method){.method = {method, strlen(method)}};
    if (!*o->raw_request)
        return true;
    if (!raw_request_read(&d->raw, o->raw_request, &reason)) {
        log_event(LOG_ERROR, "no-raw-request", "file=\"%s\" error=\"%s\"", o->raw_request, reason);
        return false;
    }
    buffer_fini(&d->raw.bytes);
    d->method = d->raw.method_len ? (struct span){d->raw.method, d->raw.method_len} : (struct span){0};
    return true;
}
