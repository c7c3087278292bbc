/* Counting of a pre-warm's tries by address. */
#include "coordinator/prewarm_tally.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"

#define TEXT_ADDRESSES_MAX 16

static struct prewarm_count *find(struct prewarm_tally *t, uint32_t ip)
{
    for (size_t i = 1; i <= t->count; i++) {
        size_t at = (t->last + i) % t->count;
        if (t->counts[at].ip == ip) {
            t->last = at;
            return &t->counts[at];
        }
    }
    return NULL;
}

static struct prewarm_count *make(struct prewarm_tally *t, const struct iptable *table, uint32_t ip)
{
    if (t->count == t->max) {
        t->max = t->max ? 2 * t->max : 16;
        t->counts = realloc(t->counts, t->max * sizeof *t->counts);
        if (!t->counts)
            die("out of memory: no room for the addresses of a pre-warm");
    }
    t->last = t->count++;
    t->counts[t->last] = (struct prewarm_count){.ip = ip, .address = table->ips[ip]};
    return &t->counts[t->last];
}

void prewarm_tally_add(struct prewarm_tally *t, const struct iptable *table, uint32_t ip, bool warmed)
{
    if (ip >= table->ips_max)
        return;
    struct prewarm_count *count = find(t, ip);
    if (!count)
        count = make(t, table, ip);
    count->warmed += warmed;
    count->failed += !warmed;
}

void prewarm_tally_put_json(const struct prewarm_tally *t, struct buffer *out)
{
    char text[ADDRESS_TEXT_MAX];

    buffer_append_char(out, '[');
    for (size_t i = 0; i < t->count; i++) {
        if (i > 0)
            buffer_append_char(out, ',');
        address_format(&t->counts[i].address, text);
        json_open(out);
        json_member_string(out, "address", text, strlen(text));
        json_member_uint(out, "warmed", t->counts[i].warmed);
        json_member_uint(out, "failed", t->counts[i].failed);
        json_close(out);
    }
    buffer_append_char(out, ']');
}

void prewarm_tally_put_text(const struct prewarm_tally *t, struct buffer *out)
{
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < t->count && i < TEXT_ADDRESSES_MAX; i++) {
        address_format(&t->counts[i].address, text);
        buffer_printf(out, "%s%s %u/%u", i ? ", " : "", text, t->counts[i].warmed, t->counts[i].failed);
    }
    if (t->count > TEXT_ADDRESSES_MAX)
        buffer_printf(out, " and %zu more", t->count - TEXT_ADDRESSES_MAX);
}

void prewarm_tally_fini(struct prewarm_tally *t)
{
    free(t->counts);
    *t = (struct prewarm_tally){0};
}
