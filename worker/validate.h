#pragma once
/* Tests of connections (option validate, "validate" of a line): a HEAD of the URL, on the connection that then serves
 * it. One whose answer has a status in healthy_status passes and is kept for the fetch; one that fails gets no further
 * request, and another one is tried. */

#include "worker/fetch.h"

/* The next request of `f` must be a test. */
bool validate_is_due(const struct fetch *f);
/* It would be one too many: every connection that passed was closed before it could serve. */
bool validate_is_lost(const struct fetch *f);
/* `f` is on a connection for its test, and off it again for a reason of the connection's age: then it does not count.
 */
void validate_begin(struct fetch *f);
void validate_undo(struct fetch *f);
/* The test was answered, or failed; `f` is off `conn` already. It waits for its connection after this call, for another
 * one, or is gone. */
void validate_on_answer(struct fetch *f, struct conn *conn);
void validate_on_failure(struct fetch *f, struct conn *conn, enum outcome outcome, const char *detail);
