#pragma once
/* Memory for the large buffers that come and go with connections: TLS records, handshake messages, HTTP/2 frames. From
 * malloc() they would leave holes between what connections keep, more memory than the connections themselves, and be
 * touched from end to end where only the beginning is used. Here each has whole pages of its own: pages never touched
 * cost nothing, and those of slots that nobody needs are given back. All other sizes are malloc()'s. One for the
 * process, which has a single thread; libssl and nghttp2 allocate through it. */

#include <nghttp2/nghttp2.h>

/* Makes libcrypto and libssl allocate here. Without effect once they have allocated anything: called first of all. */
void slots_serve_openssl(void);
/* For one nghttp2_session_client_new3(). `*table`, NULL before, lives as long as the session and is set by it: its
 * table of streams, or NULL. */
nghttp2_mem slots_for_nghttp2(void **table);
/* Gives back a table's page if there is nothing but zeros in it, as in that of a session without streams; its content
 * stays what it is. NULL: nothing. */
void slots_drop_blank(void *table);
/* Gives back the pages of slots that are not in use, but for the few that are handed out next; a bounded number in one
 * call. */
void slots_trim(void);
