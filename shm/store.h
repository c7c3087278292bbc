#pragma once
/* The LMDB map: facts that outlive a request. The coordinator alone writes, in one transaction a tick; anybody reads.
 * Each record starts with a type byte and a version byte; one of another version is treated as absent. Values are
 * copied before use: LMDB does not align them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buffer.h"
#include "common/outcome.h"

struct store;

#define STORE_ADDRESSES_MAX 4096
#define STORE_LOCK_NAME     "hotfleet.lock" /* whoever writes the map holds a flock() on it, and its pid stands in it */

/* What is known of a name. */
struct store_dns {
    uint64_t expires_wall_us; /* 0 when absent */
    enum outcome outcome;     /* OUTCOME_OK, or the DNS failure that is cached */
    uint32_t count;
    struct address addresses[]; /* count of them */
};

/* Opens (and makes, unless read_only) the map in `dir`. A damaged or foreign map is moved aside to "<name>.bad-<time>"
 * with a warning and a new one is made. maxreaders is set; descriptors are close-on-exec when this returns.
 * OUTCOME_SYSTEM: *reason_out says what failed (constant or until the next call). */
must_check enum outcome store_open(struct store **store_out, const char *dir, bool read_only, const char **reason_out);
/* Commits what is pending and closes. */
void store_close(struct store *s);
/* After another process that had the map open was killed: what its reading held on to is given up. */
void store_drop_dead_readers(struct store *s);

/* The answer kept for `name`, copied to memory that the caller frees; OUTCOME_NOT_FOUND when absent or expired at
 * `now_wall_us`. Sees this process's own pending writes. */
must_check enum outcome store_dns_get(struct store *s, const char *name, size_t name_len, uint64_t now_wall_us,
                                      struct store_dns **dns_out);
/* Queues an answer; written by the next store_commit(). Copies. */
void store_dns_put(struct store *s, const char *name, size_t name_len, const struct store_dns *dns);
#define STORE_ANSWER_KEY_BYTES 32
#define STORE_ANSWER_MAX       16384 /* bytes of a kept answer */

/* Makes the table of kept answers ready, and forgets those from before `oldest_wall_us`. Before the first of the calls
 * below, with nothing pending. OUTCOME_SYSTEM: it can't be used (logged). */
must_check enum outcome store_answer_open(struct store *s, uint64_t oldest_wall_us);
/* Queues an answer, `len` bytes at most STORE_ANSWER_MAX, in place of the one under the same key. OUTCOME_FULL: there
 * are `max` others; OUTCOME_SYSTEM: the map takes no more (logged). */
must_check enum outcome store_answer_put(struct store *s, const uint8_t key[STORE_ANSWER_KEY_BYTES], uint64_t wall_us,
                                         const char *text, size_t len, uint64_t max);
/* Copies the answer under `key` into `text_out` (cleared first) and says when it was kept; OUTCOME_NOT_FOUND when there
 * is none, or none that is not from before `oldest_wall_us`. */
must_check enum outcome store_answer_get(struct store *s, const uint8_t key[STORE_ANSWER_KEY_BYTES],
                                         uint64_t oldest_wall_us, struct buffer *text_out, uint64_t *wall_us_out);
/* One write transaction for everything queued; does nothing when nothing is. A full disk or map is logged once, kept
 * going without: the map is a cache here. */
void store_commit(struct store *s);
/* Something waits for store_commit(). */
bool store_is_pending(const struct store *s);
/* Calls `each` for all names, in order; stops when it returns false. `each` must not call the store. */
void store_dns_each(struct store *s,
                    bool (*each)(void *user, const char *name, size_t name_len, const struct store_dns *dns),
                    void *user);
