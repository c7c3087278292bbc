#pragma once
/* What connections that show the same browser have in common: header fields, and the context of their hellos. Made
 * when the first of them is dialed, kept until the worker ends. Connections without a profile have one, too. */

#include <stdbool.h>
#include <stdint.h>

#include "common/draw.h"
#include "common/profile_set.h"
#include "worker/request.h"

struct hello_context;
struct worker;

struct browser {
    const struct profile *profile; /* NULL: none */
    uint64_t member;               /* its bit in selections */
    const struct request_defaults *defaults;
    struct request_defaults own; /* that `defaults` points to, with a profile */
    struct hello_context *hello; /* NULL: the hello is the library's own */
};

/* After the options were read: which profiles connections draw from, and with which seed. Warns when the hellos of the
 * option's profiles can't be had. */
void browsers_open(struct worker *w);
/* No connection may be left. */
void browsers_close(struct worker *w);
/* One of `members`; never NULL. */
const struct browser *browser_draw(struct worker *w, uint64_t members, struct draw *draw);
