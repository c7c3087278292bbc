/* Slots of whole pages in reserved ranges of addresses. The slot given back last is the next one handed out: its
 * pages are there already. */
#include "worker/slots.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLOT_BYTES     24576 /* libssl's largest buffer, that of a handshake's messages, takes 21,848 */
#define SLOT_BYTES_MIN 16384 /* smaller ones are malloc()'s */
#define SLOTS_MAX      65536 /* further ones are malloc()'s too */
#define SPARE_WARM     16    /* spare slots that keep their pages */
#define TRIM_MAX       4096  /* slots that one call gives back */
#define TABLE_BYTES    4096  /* nghttp2's table of a session's streams, as it is made: one page */

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED false
#endif

struct arena {
    char *base; /* NULL when there is none: then all is malloc()'s */
    bool tried;
    uint32_t used;        /* slots ever handed out */
    uint32_t *spare;      /* stack of those given back */
    uint32_t spare_count; /* those at the bottom are the longest there */
    uint32_t spare_blank; /* the lowest so many have no pages */
};

/* Apart from each other: a frame buffer stays as long as its connection, and is to have no pages that a handshake has
 * touched. */
static struct arena openssl_arena, nghttp2_arena;

static void arena_open(struct arena *a)
{
    size_t bytes = (size_t)SLOTS_MAX * SLOT_BYTES;

    a->tried = true;
    a->spare = malloc(SLOTS_MAX * sizeof *a->spare);
    if (!a->spare)
        return;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return;
    /* One huge page would be the memory of many slots at once. */
    (void)madvise(base, bytes, MADV_NOHUGEPAGE);
    a->base = base;
}

static char *slot_at(const struct arena *a, uint32_t index)
{
    return a->base + (size_t)index * SLOT_BYTES;
}

static bool is_slot(const struct arena *a, const void *memory)
{
    uintptr_t base = (uintptr_t)a->base;

    return base && (uintptr_t)memory - base < (size_t)SLOTS_MAX * SLOT_BYTES;
}

static void *slot_take(struct arena *a)
{
    if (a->spare_count) {
        uint32_t index = a->spare[--a->spare_count];
        if (a->spare_blank > a->spare_count)
            a->spare_blank = a->spare_count;
        return slot_at(a, index);
    }
    return a->used < SLOTS_MAX ? slot_at(a, a->used++) : NULL;
}

/* NULL: there is none left. */
static void *slot_of(struct arena *a)
{
    if (!a->tried)
        arena_open(a);
    return a->base ? slot_take(a) : NULL;
}

static void *take(struct arena *a, size_t size)
{
    void *slot = size >= SLOT_BYTES_MIN && size <= SLOT_BYTES ? slot_of(a) : NULL;

    return slot ? slot : malloc(size);
}

static void give(struct arena *a, void *memory)
{
    if (is_slot(a, memory))
        a->spare[a->spare_count++] = (uint32_t)((size_t)((char *)memory - a->base) / SLOT_BYTES);
    else
        free(memory);
}

static void *change(struct arena *a, void *memory, size_t size)
{
    if (!memory)
        return take(a, size);
    if (!is_slot(a, memory))
        return realloc(memory, size);
    if (size <= SLOT_BYTES)
        return memory;
    void *larger = malloc(size);
    if (!larger)
        return NULL;
    memcpy(larger, memory, SLOT_BYTES);
    give(a, memory);
    return larger;
}

static void arena_trim(struct arena *a)
{
    for (int n = 0; n < TRIM_MAX && a->spare_blank + SPARE_WARM < a->spare_count; n++)
        (void)madvise(slot_at(a, a->spare[a->spare_blank++]), SLOT_BYTES, MADV_DONTNEED);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return take(&openssl_arena, size);
}

static void *openssl_realloc(void *memory, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return change(&openssl_arena, memory, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    give(&openssl_arena, memory);
}

void slots_serve_openssl(void)
{
    /* AddressSanitizer sees a byte too far only in what it has allocated itself. */
    if (!SANITIZED)
        (void)CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

static void *nghttp2_take(size_t size, void *user)
{
    (void)user;
    return take(&nghttp2_arena, size);
}

static void *nghttp2_take_zeroed(size_t count, size_t size, void *user)
{
    void **table = user;
    void *slot = count <= TABLE_BYTES && count * size == TABLE_BYTES ? slot_of(&nghttp2_arena) : NULL;

    if (!slot)
        return calloc(count, size);
    *table = slot;
    return memset(slot, 0, TABLE_BYTES);
}

static void *nghttp2_change(void *memory, size_t size, void *user)
{
    (void)user;
    return change(&nghttp2_arena, memory, size);
}

static void nghttp2_give(void *memory, void *user)
{
    void **table = user;

    if (memory && memory == *table)
        *table = NULL;
    give(&nghttp2_arena, memory);
}

nghttp2_mem slots_for_nghttp2(void **table)
{
    return (nghttp2_mem){table, nghttp2_take, nghttp2_give, nghttp2_take_zeroed, nghttp2_change};
}

void slots_drop_blank(void *table)
{
    static const char blank[TABLE_BYTES];

    /* A page that the system makes anew reads as zeros too. */
    if (table && memcmp(table, blank, TABLE_BYTES) == 0)
        (void)madvise(table, TABLE_BYTES, MADV_DONTNEED);
}

void slots_trim(void)
{
    arena_trim(&openssl_arena);
    arena_trim(&nghttp2_arena);
}
