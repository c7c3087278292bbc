#pragma once
/* A ring of messages in shared memory: one producer process, one consumer process, no lock. Messages are contiguous,
 * 8-byte aligned and visible only once committed, so a producer killed at any moment leaves nothing half-written.
 * Neither side trusts the other's numbers: each keeps its own position privately and checks what it reads. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/outcome.h"

/* In shared memory, followed by `capacity` bytes. Positions are running byte counts, never reduced. */
struct ring_header {
    _Alignas(64) _Atomic uint64_t tail; /* written by the producer: end of what is committed */
    _Alignas(64) _Atomic uint64_t head; /* written by the consumer: start of what is not yet released */
    _Alignas(64) uint32_t capacity;     /* bytes, a power of two; written once at init */
    uint32_t reserved[15];
};
_Static_assert(sizeof(struct ring_header) == 192, "struct ring_header is part of the shared layout");

#define RING_MESSAGE_MAX(capacity) ((capacity) / 2 - 16)

/* One side's handle, private to its process. */
struct ring {
    struct ring_header *shared;
    uint8_t *bytes;
    uint64_t mask;
    uint64_t position;    /* own: tail of a producer, head of a consumer */
    uint64_t published;   /* what the other side was last told */
    uint64_t other;       /* last seen of the other side's position */
    uint64_t reserved_at; /* producer: start of the open reservation */
    uint64_t open_end;    /* producer: end of the open reservation; consumer: end of the message last peeked */
    bool is_producer;
    bool broken; /* producer: ring_is_broken() */
};

/* Bytes that a ring of `capacity` (a power of two >= 4096) takes in the region. */
size_t ring_bytes(uint32_t capacity);
/* Makes an empty ring at `memory` (64-byte aligned). Both sides must attach anew. */
void ring_init(void *memory, uint32_t capacity);
/* Attach one side. `capacity` is what the region's owner made, not what the memory says. */
void ring_attach_producer(struct ring *ring, void *memory, uint32_t capacity);
void ring_attach_consumer(struct ring *ring, void *memory, uint32_t capacity);

/* Producer. Room for a message of up to `len` bytes, contiguous, 8-byte aligned; NULL when full for now (or len above
 * RING_MESSAGE_MAX). A consumer whose numbers make no sense is a full ring. At most one reservation is open; a further
 * ring_reserve() drops it. Before waiting for room, publish: nobody can release what nobody was shown. */
void *ring_reserve(struct ring *ring, uint32_t len);
/* Ends the reservation with its final length (<= the reserved one). Not seen by the consumer until ring_publish(). */
void ring_commit(struct ring *ring, uint32_t len);
/* Shows all committed messages to the consumer: one release store. */
void ring_publish(struct ring *ring);
/* Producer: up to which of its own positions the consumer has given room back. */
uint64_t ring_taken_to(struct ring *ring);
/* Producer: whether the consumer's position has ever made no sense when it was asked for. What it says is left unheard,
 * so such a ring may stay full for ever. */
bool ring_is_broken(const struct ring *ring);
/* Either side: its own position in shared memory is still what it last stored there. Else the other side misses
 * messages, or room. */
bool ring_is_intact(const struct ring *ring);
/* Bytes free for further messages, as last known (asked anew once less than half is free). A message of `len` bytes is
 * sure to fit when 2 * (len + 16) are free: it may have to skip the ring's end. */
uint64_t ring_room(struct ring *ring);

/* Consumer. The oldest message not yet passed: OUTCOME_OK with its place and length, OUTCOME_AGAIN when there is none,
 * OUTCOME_CORRUPT when the producer's numbers make no sense (the ring is not to be used further). The message stays
 * valid until ring_release(). A broken producer can still change its bytes meanwhile: copy what is checked before it is
 * used. */
must_check enum outcome ring_peek(struct ring *ring, const void **message_out, uint32_t *len_out);
/* Passes the message last peeked; its room is given back by the next ring_release(). */
void ring_advance(struct ring *ring);
/* Gives all passed room back to the producer: one release store. */
void ring_release(struct ring *ring);
/* True if a published message waits (one acquire load). Either side may ask; the consumer's answer does not count what
 * it has passed, the producer's does until the release.
 * Sleeping without a lost wake-up takes a full barrier on both sides (an atomic_exchange, or a seq_cst fence before the
 * load), since a plain load of `asleep` may overtake the store of the tail. Consumer: exchange(asleep, 1), then
 * ring_has_message(), then sleep. Producer: ring_publish(), then wake if exchange(asleep, 0) gave 1. */
bool ring_has_message(struct ring *ring);
