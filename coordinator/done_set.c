/* Bitmaps of lines, in chunks. */
#include "coordinator/done_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct chunk {
    uint8_t *bits; /* NULL: none is done yet, or all are */
    uint32_t count;
    bool changed; /* and stands in the list of those */
};

struct done_set {
    struct chunk *chunks; /* from `base` on */
    size_t count, room;
    uint64_t base, lines;
    uint64_t *changed; /* numbers of chunks */
    size_t changed_count, changed_room;
    uint8_t full[DONE_CHUNK_BYTES];
};

static void *must_have(void *memory)
{
    if (!memory)
        die("out of memory: no room for the numbers of lines that are done");
    return memory;
}

struct done_set *done_set_new(void)
{
    struct done_set *s = must_have(calloc(1, sizeof *s));

    memset(s->full, 0xff, sizeof s->full);
    return s;
}

void done_set_free(struct done_set *s)
{
    for (size_t i = 0; s && i < s->count; i++)
        free(s->chunks[i].bits);
    if (s) {
        free(s->chunks);
        free(s->changed);
    }
    free(s);
}

void done_set_start(struct done_set *s, uint64_t base)
{
    s->base = base;
    s->lines = base * DONE_CHUNK_LINES;
}

static struct chunk *chunk_at(struct done_set *s, uint64_t number)
{
    size_t index = (size_t)(number - s->base);

    if (index >= s->room) {
        size_t room = index + 1 > 2 * s->room ? index + 16 : 2 * s->room;
        s->chunks = must_have(reallocarray(s->chunks, room, sizeof *s->chunks));
        s->room = room;
    }
    while (s->count <= index)
        s->chunks[s->count++] = (struct chunk){0};
    return &s->chunks[index];
}

static void note_change(struct done_set *s, struct chunk *c, uint64_t number)
{
    if (c->changed)
        return;
    c->changed = true;
    if (s->changed_count == s->changed_room) {
        s->changed_room = s->changed_room ? 2 * s->changed_room : 64;
        s->changed = must_have(reallocarray(s->changed, s->changed_room, sizeof *s->changed));
    }
    s->changed[s->changed_count++] = number;
}

/* Chunks at the front that are all done are known by the base alone. */
static void raise_base(struct done_set *s)
{
    size_t done = 0;

    while (done < s->count && s->chunks[done].count == DONE_CHUNK_LINES)
        done++;
    if (done == 0)
        return;
    s->base += done;
    s->count -= done;
    memmove(s->chunks, s->chunks + done, s->count * sizeof *s->chunks);
}

static void settle(struct done_set *s, struct chunk *c)
{
    if (c->count < DONE_CHUNK_LINES)
        return;
    free(c->bits);
    c->bits = NULL;
    if (c == s->chunks)
        raise_base(s);
}

void done_set_add(struct done_set *s, uint64_t line)
{
    uint64_t number = (line - 1) / DONE_CHUNK_LINES;
    uint32_t bit = (uint32_t)((line - 1) % DONE_CHUNK_LINES);

    if (done_set_has(s, line))
        return;
    struct chunk *c = chunk_at(s, number);
    if (!c->bits)
        c->bits = must_have(calloc(1, DONE_CHUNK_BYTES));
    c->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
    c->count++;
    s->lines++;
    note_change(s, c, number);
    settle(s, c);
}

bool done_set_has(const struct done_set *s, uint64_t line)
{
    uint64_t number = (line - 1) / DONE_CHUNK_LINES;
    uint32_t bit = (uint32_t)((line - 1) % DONE_CHUNK_LINES);

    if (number < s->base)
        return true;
    if (number - s->base >= s->count)
        return false;
    const struct chunk *c = &s->chunks[number - s->base];
    return c->count == DONE_CHUNK_LINES || (c->bits && c->bits[bit / 8] >> bit % 8 & 1);
}

uint64_t done_set_count(const struct done_set *s)
{
    return s->lines;
}

uint64_t done_set_base(const struct done_set *s)
{
    return s->base;
}

void done_set_load(struct done_set *s, uint64_t number, const uint8_t *bits)
{
    uint32_t count = 0;

    for (size_t i = 0; i < DONE_CHUNK_BYTES; i++)
        count += (uint32_t)__builtin_popcount(bits[i]);
    if (number < s->base || count == 0)
        return;
    struct chunk *c = chunk_at(s, number);
    c->bits = must_have(malloc(DONE_CHUNK_BYTES));
    memcpy(c->bits, bits, DONE_CHUNK_BYTES);
    c->count = count;
    s->lines += count;
    settle(s, c);
}

bool done_set_take_changed(struct done_set *s, uint64_t *chunk_out, const uint8_t **bits_out)
{
    while (s->changed_count > 0) {
        uint64_t number = s->changed[--s->changed_count];
        /* What has become part of the base meanwhile is told by that. */
        if (number < s->base)
            continue;
        struct chunk *c = &s->chunks[number - s->base];
        c->changed = false;
        *chunk_out = number;
        *bits_out = c->bits ? c->bits : s->full;
        return true;
    }
    return false;
}

void done_set_touch(struct done_set *s, uint64_t number)
{
    if (number >= s->base && number - s->base < s->count)
        note_change(s, &s->chunks[number - s->base], number);
}
