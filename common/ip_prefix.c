/* Reading prefixes and files of them, and their order. */
#include "common/ip_prefix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define FILE_ENTRIES_MAX 4000000 /* more would be a mistake, or somebody's attempt at this process' memory */

static bool length_parse(const char *text, size_t len, unsigned max, uint8_t *out)
{
    unsigned value = 0;

    if (len == 0 || len > 3 || (len > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *out = (uint8_t)value;
    return value <= max;
}

static void clear_behind(struct address *a, unsigned bits)
{
    for (unsigned i = 0; i < sizeof a->bytes; i++) {
        if (i * 8 >= bits)
            a->bytes[i] = 0;
        else if (bits - i * 8 < 8)
            a->bytes[i] &= (uint8_t)(0xff00 >> (bits - i * 8));
    }
}

struct ip_prefix ip_prefix_of(const struct address *a, uint8_t len)
{
    struct ip_prefix p = {.address = *a, .len = len};

    clear_behind(&p.address, len);
    return p;
}

const char *ip_prefix_parse(const char *text, size_t len, struct ip_prefix *out)
{
    const char *slash = memchr(text, '/', len);
    size_t address_len = slash ? (size_t)(slash - text) : len;
    struct address a;

    if (len == 0 || text[0] == '[' || !address_parse(text, address_len, &a))
        return "is neither an address nor a range; write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32";
    uint8_t bits = ip_prefix_bits(a.family);
    if (slash && !length_parse(slash + 1, len - address_len - 1, bits, &bits))
        return "has a prefix length out of range; it must be 0..32 for IPv4, 0..128 for IPv6";
    *out = ip_prefix_of(&a, bits);
    if (!address_equal(&out->address, &a))
        return "has bits set behind its prefix; write the first address of the range, or the one address without /";
    return NULL;
}

size_t ip_prefix_format(const struct ip_prefix *p, char out[IP_PREFIX_TEXT_MAX])
{
    char text[ADDRESS_TEXT_MAX];

    address_format(&p->address, text);
    int n = p->len == ip_prefix_bits(p->address.family)
                ? snprintf(out, IP_PREFIX_TEXT_MAX, "%s", text)
                : snprintf(out, IP_PREFIX_TEXT_MAX, "%s/%u", text, (unsigned)p->len);
    return (size_t)n;
}

int ip_prefix_compare(const void *left, const void *right)
{
    const struct ip_prefix *a = left;
    const struct ip_prefix *b = right;

    if (a->address.family != b->address.family)
        return a->address.family < b->address.family ? -1 : 1;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return memcmp(a->address.bytes, b->address.bytes, sizeof a->address.bytes);
}

static void append(struct ip_prefix_list *list, const struct ip_prefix *prefix)
{
    if (list->count == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 16;
        list->items = reallocarray(list->items, list->cap, sizeof *list->items);
        if (!list->items)
            die("out of memory: no room for %zu addresses of a list", list->cap);
    }
    list->items[list->count++] = *prefix;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A line without comment and blanks around; returns its length. */
static size_t strip(const char **line, size_t len)
{
    const char *hash = memchr(*line, '#', len);
    const char *end = hash ? hash : *line + len;

    while (*line < end && is_blank(**line))
        ++*line;
    while (end > *line && is_blank(end[-1]))
        end--;
    return (size_t)(end - *line);
}

static bool read_lines(struct ip_prefix_list *list, FILE *file, const char *path, char fault_out[IP_FAULT_MAX])
{
    struct ip_prefix prefix;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    const char *fault = NULL;

    for (unsigned long number = 1; !fault && (n = getline(&line, &room, file)) >= 0; number++) {
        const char *text = line;
        size_t len = strip(&text, (size_t)n);
        if (len == 0)
            continue;
        fault = list->count < FILE_ENTRIES_MAX ? ip_prefix_parse(text, len, &prefix) : "is one too many";
        if (fault)
            snprintf(fault_out, IP_FAULT_MAX, "\"%.100s\" line %lu: \"%.*s\" %s", path, number,
                     (int)(len < 60 ? len : 60), text, fault);
        else
            append(list, &prefix);
    }
    if (!fault && ferror(file)) {
        fault = "";
        snprintf(fault_out, IP_FAULT_MAX, "\"%.100s\" cannot be read: %s", path, strerror(errno));
    }
    free(line);
    return !fault;
}

bool ip_prefix_list_add(struct ip_prefix_list *list, const char *entry, char fault_out[IP_FAULT_MAX])
{
    struct ip_prefix prefix;

    if (entry[0] == '@') {
        FILE *file = fopen(entry + 1, "re");
        if (!file) {
            snprintf(fault_out, IP_FAULT_MAX, "\"%.100s\" cannot be opened: %s", entry + 1, strerror(errno));
            return false;
        }
        bool good = read_lines(list, file, entry + 1, fault_out);
        fclose(file);
        return good;
    }
    const char *fault = ip_prefix_parse(entry, strlen(entry), &prefix);
    if (fault) {
        snprintf(fault_out, IP_FAULT_MAX, "\"%.100s\" %s", entry, fault);
        return false;
    }
    append(list, &prefix);
    return true;
}

void ip_prefix_list_sort(struct ip_prefix_list *list)
{
    size_t kept = 0;

    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, ip_prefix_compare);
    for (size_t i = 0; i < list->count; i++) {
        if (kept == 0 || ip_prefix_compare(&list->items[kept - 1], &list->items[i]) != 0)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

bool ip_prefix_list_has(const struct ip_prefix_list *list, const struct ip_prefix *prefix)
{
    return list->count && bsearch(prefix, list->items, list->count, sizeof *list->items, ip_prefix_compare);
}

void ip_prefix_list_free(struct ip_prefix_list *list)
{
    free(list->items);
    *list = (struct ip_prefix_list){0};
}
