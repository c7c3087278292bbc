/* Names to addresses, sorted once and then searched by halving. */
#include "coordinator/address_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "shm/store.h"

struct entry {
    char *name; /* owned, lower case, NUL-terminated */
    uint16_t port;
    uint32_t generation;
    size_t order; /* of adding */
    struct address address;
};

struct group {
    const char *name; /* of its first entry */
    uint16_t port;
    uint32_t first, count; /* into addresses */
};

struct address_table {
    struct entry *entries;
    size_t count, cap;
    struct group *groups;
    size_t groups_count;
    struct address *addresses;
    bool sealed;
};

static void *must_have(void *memory)
{
    if (!memory)
        die("out of memory: no room for the table of fixed addresses");
    return memory;
}

struct address_table *address_table_new(void)
{
    return must_have(calloc(1, sizeof(struct address_table)));
}

void address_table_free(struct address_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        free(t->entries[i].name);
    free(t->entries);
    free(t->groups);
    free(t->addresses);
    free(t);
}

static size_t without_dot(const char *name, size_t len)
{
    return len > 1 && name[len - 1] == '.' ? len - 1 : len;
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

void address_table_add(struct address_table *t, const char *name, size_t name_len, uint16_t port, uint32_t generation,
                       const struct address *address)
{
    size_t len = without_dot(name, name_len);

    assert(!t->sealed);
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->entries = must_have(realloc(t->entries, t->cap * sizeof t->entries[0]));
    }
    struct entry *e = &t->entries[t->count];
    *e = (struct entry){.port = port, .generation = generation, .order = t->count, .address = *address};
    e->name = must_have(malloc(len + 1));
    for (size_t i = 0; i < len; i++)
        e->name[i] = (char)lower(name[i]);
    e->name[len] = '\0';
    t->count++;
}

/* The latest generation first, so that the rest of a group can be passed over. */
static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    int names = strcmp(a->name, b->name);

    if (names != 0)
        return names;
    if (a->port != b->port)
        return a->port < b->port ? -1 : 1;
    if (a->generation != b->generation)
        return a->generation > b->generation ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static bool is_in_group(const struct address_table *t, const struct group *g, const struct address *address)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (address_equal(&t->addresses[g->first + i], address))
            return true;
    }
    return false;
}

void address_table_seal(struct address_table *t)
{
    const struct entry *head = NULL;
    struct group *g = NULL;
    uint32_t used = 0;

    t->sealed = true;
    if (t->count == 0)
        return;
    qsort(t->entries, t->count, sizeof t->entries[0], compare_entries);
    t->groups = must_have(calloc(t->count, sizeof t->groups[0]));
    t->addresses = must_have(calloc(t->count, sizeof t->addresses[0]));
    for (size_t i = 0; i < t->count; i++) {
        const struct entry *e = &t->entries[i];
        if (!head || strcmp(head->name, e->name) != 0 || head->port != e->port) {
            head = e;
            g = &t->groups[t->groups_count++];
            *g = (struct group){.name = e->name, .port = e->port, .first = used};
        }
        if (e->generation != head->generation || g->count == STORE_ADDRESSES_MAX || is_in_group(t, g, &e->address))
            continue;
        t->addresses[used++] = e->address;
        g->count++;
    }
}

static int compare_to_group(const char *name, size_t len, uint16_t port, const struct group *g)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char a = lower(name[i]);
        unsigned char b = (unsigned char)g->name[i];
        if (a != b)
            return a < b ? -1 : 1;
        if (b == '\0')
            return 1; /* a NUL in the name sought: nothing is called so */
    }
    if (g->name[len] != '\0')
        return -1;
    return port == g->port ? 0 : port < g->port ? -1 : 1;
}

bool address_table_find(const struct address_table *t, const char *name, size_t name_len, uint16_t port,
                        const struct address **addresses_out, uint32_t *count_out)
{
    size_t len = without_dot(name, name_len);
    size_t low = 0;
    size_t high = t->groups_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct group *g = &t->groups[middle];
        int order = compare_to_group(name, len, port, g);
        if (order == 0) {
            *addresses_out = &t->addresses[g->first];
            *count_out = g->count;
            return true;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}
