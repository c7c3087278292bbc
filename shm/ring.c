/* The two ends of a ring. Every number the other side can write is read once, checked, and only then used; a side's own
 * position is in its handle, where nothing the other side scribbles can move it. */
#include "shm/ring.h"

#include <assert.h>
#include <stddef.h>

/* A message is a header word, the payload, and padding to 8 bytes. The word holds the length, and a mark mixed with the
 * position: what an earlier lap left behind is never taken for a message. */
#define HEADER_BYTES 8u
#define MARK_MESSAGE 0x6d736721u
#define MARK_SKIP    0x736b6970u

static uint64_t header_word(uint32_t mark, uint64_t position, uint32_t len)
{
    return (uint64_t)(mark ^ (uint32_t)position) << 32 | len;
}

static _Atomic uint64_t *header_at(const struct ring *ring, uint64_t position)
{
    return (_Atomic uint64_t *)(void *)(ring->bytes + (position & ring->mask));
}

static uint64_t message_extent(uint32_t len)
{
    return HEADER_BYTES + (((uint64_t)len + 7) & ~UINT64_C(7));
}

static bool is_aligned(uint64_t position)
{
    return (position & 7) == 0;
}

size_t ring_bytes(uint32_t capacity)
{
    return sizeof(struct ring_header) + capacity;
}

void ring_init(void *memory, uint32_t capacity)
{
    struct ring_header *shared = memory;

    assert(capacity >= 4096 && (capacity & (capacity - 1)) == 0);
    shared->capacity = capacity;
    atomic_store_explicit(&shared->head, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->tail, 0, memory_order_release);
}

static void attach(struct ring *ring, void *memory, uint32_t capacity, uint64_t position)
{
    assert(capacity >= 4096 && (capacity & (capacity - 1)) == 0);
    *ring = (struct ring){
        .shared = memory,
        .bytes = (uint8_t *)memory + sizeof(struct ring_header),
        .mask = capacity - 1,
        .position = position,
        .published = position,
        .other = position,
        .reserved_at = position,
        .open_end = position,
    };
}

void ring_attach_producer(struct ring *ring, void *memory, uint32_t capacity)
{
    struct ring_header *shared = memory;
    uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire);

    attach(ring, memory, capacity, atomic_load_explicit(&shared->tail, memory_order_relaxed) & ~UINT64_C(7));
    ring->is_producer = true;
    ring->other = ring->position - head <= capacity && is_aligned(head) ? head : ring->position - capacity;
}

void ring_attach_consumer(struct ring *ring, void *memory, uint32_t capacity)
{
    struct ring_header *shared = memory;

    attach(ring, memory, capacity, atomic_load_explicit(&shared->head, memory_order_relaxed) & ~UINT64_C(7));
}

static uint64_t free_bytes(const struct ring *ring)
{
    return ring->mask + 1 - (ring->position - ring->other);
}

/* A sane head lies between the one seen before and what the consumer was shown. Any other is left unheard: the ring
 * stays as full as it was. */
static void refresh_head(struct ring *ring)
{
    uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_acquire);

    if (head - ring->other <= ring->published - ring->other && is_aligned(head))
        ring->other = head;
    else
        ring->broken = true;
}

void *ring_reserve(struct ring *ring, uint32_t len)
{
    uint64_t capacity = ring->mask + 1;
    uint64_t need = message_extent(len);
    uint64_t to_end = capacity - (ring->position & ring->mask);
    uint64_t skip = need > to_end ? to_end : 0;

    ring->reserved_at = ring->open_end = ring->position;
    if (len > RING_MESSAGE_MAX(capacity))
        return NULL;
    if (free_bytes(ring) < skip + need)
        refresh_head(ring);
    if (free_bytes(ring) < skip + need)
        return NULL;
    ring->reserved_at += skip;
    ring->open_end = ring->reserved_at + need;
    return ring->bytes + (ring->reserved_at & ring->mask) + HEADER_BYTES;
}

void ring_commit(struct ring *ring, uint32_t len)
{
    uint64_t start = ring->reserved_at;
    uint64_t end = start + message_extent(len);

    assert(end <= ring->open_end);
    if (start != ring->position) {
        uint32_t skipped = (uint32_t)(start - ring->position) - HEADER_BYTES;
        atomic_store_explicit(header_at(ring, ring->position), header_word(MARK_SKIP, ring->position, skipped),
                              memory_order_relaxed);
    }
    atomic_store_explicit(header_at(ring, start), header_word(MARK_MESSAGE, start, len), memory_order_relaxed);
    ring->position = ring->reserved_at = ring->open_end = end;
}

void ring_publish(struct ring *ring)
{
    if (ring->published == ring->position)
        return;
    ring->published = ring->position;
    atomic_store_explicit(&ring->shared->tail, ring->published, memory_order_release);
}

uint64_t ring_taken_to(struct ring *ring)
{
    refresh_head(ring);
    return ring->other;
}

bool ring_is_broken(const struct ring *ring)
{
    return ring->broken;
}

bool ring_is_intact(const struct ring *ring)
{
    const _Atomic uint64_t *own = ring->is_producer ? &ring->shared->tail : &ring->shared->head;

    return atomic_load_explicit(own, memory_order_relaxed) == ring->published;
}

uint64_t ring_room(struct ring *ring)
{
    if (free_bytes(ring) <= ring->mask / 2)
        refresh_head(ring);
    return free_bytes(ring);
}

/* False when the tail went back, or shows more than the ring holds. */
static bool refresh_tail(struct ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_acquire);
    uint64_t used = tail - ring->published;

    if (used > ring->mask + 1 || used < ring->other - ring->published || !is_aligned(tail))
        return false;
    ring->other = tail;
    return true;
}

enum outcome ring_peek(struct ring *ring, const void **message_out, uint32_t *len_out)
{
    uint64_t capacity = ring->mask + 1;
    uint64_t start = ring->position;

    if (start == ring->other && !refresh_tail(ring))
        return OUTCOME_CORRUPT;
    if (start == ring->other)
        return OUTCOME_AGAIN;
    uint64_t word = atomic_load_explicit(header_at(ring, start), memory_order_relaxed);
    uint64_t to_end = capacity - (start & ring->mask);
    if (word == header_word(MARK_SKIP, start, (uint32_t)(to_end - HEADER_BYTES))) {
        /* A skip is committed together with the message after it, never alone. */
        if (ring->other - start <= to_end)
            return OUTCOME_CORRUPT;
        start += to_end;
        to_end = capacity;
        word = atomic_load_explicit(header_at(ring, start), memory_order_relaxed);
    }
    uint32_t len = (uint32_t)word;
    uint64_t extent = message_extent(len);
    if (word != header_word(MARK_MESSAGE, start, len) || len > RING_MESSAGE_MAX(capacity) ||
        extent > ring->other - start || extent > to_end)
        return OUTCOME_CORRUPT;
    ring->open_end = start + extent;
    *message_out = ring->bytes + (start & ring->mask) + HEADER_BYTES;
    *len_out = len;
    return OUTCOME_OK;
}

void ring_advance(struct ring *ring)
{
    ring->position = ring->open_end;
}

void ring_release(struct ring *ring)
{
    if (ring->published == ring->position)
        return;
    ring->published = ring->position;
    atomic_store_explicit(&ring->shared->head, ring->published, memory_order_release);
}

bool ring_has_message(struct ring *ring)
{
    if (ring->is_producer)
        return atomic_load_explicit(&ring->shared->head, memory_order_acquire) != ring->published;
    return atomic_load_explicit(&ring->shared->tail, memory_order_acquire) != ring->position;
}
