#pragma once
/* One HTTP request to a fleet's Unix socket, and its whole answer. */

#include "common/buffer.h"
#include "common/outcome.h"

struct admin_answer {
    int status;
    struct buffer text;  /* owned: head and body */
    size_t body, length; /* where the body starts, and its bytes */
};

/* Asks the socket at `path` (any length) with `len` bytes of `body`. OUTCOME_SYSTEM with errno: it can't be reached;
 * OUTCOME_REQUEST_TIMEOUT: no answer for `patience_s` seconds; OUTCOME_PROTOCOL_ERROR: an answer that is torn or none.
 * admin_answer_fini() in every case. */
must_check enum outcome admin_ask(const char *path, const char *method, const char *target, const char *body,
                                  size_t len, unsigned patience_s, struct admin_answer *answer_out);
void admin_answer_fini(struct admin_answer *answer);
