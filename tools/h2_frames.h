#pragma once
/* What a client's first bytes of HTTP/2 tell of it, in the notation of fingerprints. The holder owns the buffers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

#define H2_PREFACE_LEN 24

struct h2_frames {
    struct buffer settings;    /* id:value;… */
    struct buffer priorities;  /* stream:exclusive:depends_on:weight,… */
    struct buffer pseudo;      /* m,a,s,p in the order of the first request */
    struct buffer fields;      /* its other fields, a line each: name: value */
    uint32_t window_update;    /* of the connection */
    char request_priority[32]; /* depends_on:exclusive:weight; weight 0: it has none */
    bool has_request;
};

/* Takes the frames that are whole, up to the first request; false: that is not among them. `out` is all zero before. */
bool h2_frames_read(const void *data, size_t len, struct h2_frames *out);
void h2_frames_fini(struct h2_frames *frames);
