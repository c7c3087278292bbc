#pragma once
/* The outbox: results on their way into the record ring. Messages are shown to the coordinator once a turn, and it is
 * woken only when it sleeps, or dozes while this worker has nothing left to do. */

#include "worker/fetch.h"

/* Sends f->result with `len` bytes of payload, or keeps both in the fetch until there is room; the fetch is spare, or
 * unsent, after this. */
void outbox_put(struct fetch *f, const void *payload, size_t len);
/* Sends a message that belongs to no fetch, and may be lost: false, and nothing is sent, when half of the ring is
 * taken. */
bool outbox_offer(struct worker *w, struct result_message *m, const void *payload, size_t len);
/* Sends what waited for room; true when nothing is left. */
bool outbox_retry(struct worker *w);
/* Shows this turn's messages. */
void outbox_publish(struct worker *w, bool starving);
/* Wakes the coordinator if it sleeps deeper than `at_least` says. */
void outbox_wake_coordinator(struct worker *w, enum region_sleep at_least);
