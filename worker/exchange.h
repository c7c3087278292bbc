#pragma once
/* The face that HTTP/1.1 and HTTP/2 share: what a connection needs of a protocol. An exchange never closes its
 * connection; it says what it found and the connection acts. */

#include <stdbool.h>
#include <stddef.h>

#include "common/outcome.h"

struct conn;
struct fetch;

struct exchange {
    const char *version; /* as in records: "1.1", "2" */
    /* Protocol state of a new connection, and its end. */
    void (*open)(struct conn *conn);
    void (*close)(struct conn *conn);
    /* Sends a request; the fetch is already on the connection. */
    void (*start)(struct conn *conn, struct fetch *f);
    /* Takes plaintext bytes. OUTCOME_OK, or why the connection can't go on, with *detail_out. */
    enum outcome (*input)(struct conn *conn, const char *data, size_t len, const char **detail_out);
    /* All bytes of this turn were taken: finish what was completed. */
    void (*input_done)(struct conn *conn);
    /* The peer closed; `clean`: in order. Answers that end with the connection are finished. */
    void (*input_end)(struct conn *conn, bool clean);
    /* Gathers output that is due and sends it. NULL: none ever is. */
    enum outcome (*flush)(struct conn *conn, const char **detail_out);
    /* The fetch gives up (its time is over); the exchange forgets it. True: the connection stays usable. */
    bool (*cancel)(struct conn *conn, struct fetch *f);
    /* The connection is dead: every fetch on it ends with `outcome`. */
    void (*cancel_all)(struct conn *conn, enum outcome outcome, const char *detail);
    /* The options have changed: the connection's capacity follows. NULL: it has nothing to do with them. */
    void (*follow_options)(struct conn *conn);
    /* Asks for a sign of life, told to probe_on_pong(). NULL: the protocol has no word for it. */
    void (*ping)(struct conn *conn);
    /* The connection has been idle for a while: gives back memory that only requests need. NULL: there is none. */
    void (*slim)(struct conn *conn);
    /* Says good-bye if the protocol has a word for it. NULL: it has none. */
    void (*shutdown)(struct conn *conn);
};

extern const struct exchange exchange_h1;
extern const struct exchange exchange_h2;
