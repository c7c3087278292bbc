#pragma once
/* What the map keeps of addresses: what answers have taught (learned), what people have said at run time (manual), and
 * what the lists of the last run's options said. Access states are those of shm/iptable.h: white and black alone. The
 * coordinator writes, anybody reads. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/ip_prefix.h"
#include "shm/store.h"

#define STORE_ORIGIN_MAX 288 /* bytes of "scheme://name:port", or of a host's name */
#define STORE_REASON_MAX 256
#define STORE_PATH_MAX   1024

enum store_access_source { STORE_LEARNED, STORE_MANUAL, STORE_LIST };

/* Whom a record is about. */
struct store_access_key {
    enum store_access_source source;
    const char *host; /* learned: the origin "scheme://name:port"; manual: a name, in lower case; "" for all hosts */
    size_t host_len;
    struct ip_prefix prefix; /* learned: one address */
};

struct store_access {
    uint8_t state;               /* ACCESS_WHITE or ACCESS_BLACK */
    uint32_t tries;              /* checks since it was blocked */
    uint64_t since_wall_us;      /* when it became so */
    uint64_t next_check_wall_us; /* learned and black: when it is looked at again; 0 never */
    uint64_t expires_wall_us;    /* manual; 0 never */
    uint16_t reason_len, path_len;
    char reason[STORE_REASON_MAX]; /* not NUL-terminated */
    char path[STORE_PATH_MAX];     /* learned and black: path and query that were refused */
};

/* Copies a record; false when there is none that can be read. Sees this process's own pending writes. */
bool store_access_get(struct store *s, const struct store_access_key *key, struct store_access *out);
/* Queues a record; written by the next store_commit(). A reason or path that is too long is cut. */
void store_access_put(struct store *s, const struct store_access_key *key, const struct store_access *record);
/* Sets reason or path, cut to their room. */
void store_access_set_reason(struct store_access *record, const char *text, size_t len);

/* Calls `each` for all records, in the order of source, host and prefix, or for those of one source and host alone
 * (`host` NULL: all of the source); stops when it returns false. `each` must not call the store; key and record are
 * good for the call. */
typedef bool (*store_access_on_record)(void *user, const struct store_access_key *key,
                                       const struct store_access *record);
void store_access_each(struct store *s, store_access_on_record each, void *user);
void store_access_each_of(struct store *s, enum store_access_source source, const char *host, size_t host_len,
                          store_access_on_record each, void *user);
/* Removes the records for which `wanted` returns true; returns how many. `wanted` must not call the store. */
size_t store_access_remove_if(struct store *s, store_access_on_record wanted, void *user);

/* Appends a record as a JSON line: address or cidr, host, state, source, reason, since, expires, next_check. */
void store_access_print(struct buffer *out, const struct store_access_key *key, const struct store_access *record);
