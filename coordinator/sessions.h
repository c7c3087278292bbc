#pragma once
/* TLS sessions that workers tell of, kept in the map for all of them and for the next run. The coordinator alone writes
 * there; workers look a session up by themselves when they have none for a host (worker/session.h). A cache: what is
 * lost costs a full handshake. */

#include <stdbool.h>
#include <stdint.h>

#include "common/timers.h"
#include "shm/region.h"
#include "shm/store.h"
#include "shm/task.h"

struct sessions;

/* Tells workers started later where the map is, the directory `dir`. Everything is borrowed; its timers run in
 * `timers`. */
struct sessions *sessions_open(struct store *store, struct region *region, struct timers *timers, const char *dir);
/* Before the store is closed; NULL is fine. */
void sessions_close(struct sessions *s);
/* From results: a message of kind RESULT_SESSION with m->len bytes at `bytes`; false when it makes no sense. */
bool sessions_on_message(struct sessions *s, const struct result_message *m, const char *bytes);
/* A worker is dead: what it was reading is given up. */
void sessions_on_death(struct sessions *s);
