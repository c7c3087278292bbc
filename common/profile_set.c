/* The table of selections, made at first use of what the profiles say of themselves. */
#include "common/profile_set.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/options_rows.h"

#define SETS_MAX           128
#define EXTENSION_VERSIONS 43 /* RFC 8446 4.2.1; who sends none speaks TLS 1.2 alone */

static struct profile_set sets[SETS_MAX];
static unsigned sets_made;

/* Adds the member, and makes the selection of that name if need be. */
static void add(const char *word, const char *value, unsigned member)
{
    char name[PROFILE_SET_NAME_MAX];
    unsigned i = 0;

    snprintf(name, sizeof name, "%s%s", word, value);
    while (i < sets_made && strcmp(sets[i].name, name) != 0)
        i++;
    if (i == SETS_MAX)
        die("there are too many profiles for one table of selections");
    if (i == sets_made)
        memcpy(sets[sets_made++].name, name, sizeof name);
    sets[i].members |= UINT64_C(1) << member;
}

static void make_all(void)
{
    size_t count = profile_count();

    if (count > PROFILE_NONE)
        die("there are too many profiles for one selection");
    add("none", "", PROFILE_NONE);
    for (unsigned i = 0; i < count; i++) {
        const struct profile *p = profile_at(i);
        add(p->name, "", i);
        add("browser=", p->browser, i);
        add("platform=", p->platform, i);
        if (p->draw == PROFILE_FIXED && hello_layout_find(p->hello, EXTENSION_VERSIONS))
            add("random", "", i);
        if (p->recommended)
            add("recommended", "", i);
        if (p->safe)
            add("safe", "", i);
    }
}

uint8_t profile_set_find(const char *name, size_t len)
{
    if (sets_made == 0)
        make_all();
    for (unsigned i = 0; i < sets_made; i++) {
        if (strlen(sets[i].name) == len && memcmp(sets[i].name, name, len) == 0)
            return (uint8_t)(i + 1);
    }
    return 0;
}

const struct profile_set *profile_set_at(uint8_t number)
{
    if (sets_made == 0)
        make_all();
    return number && number <= sets_made ? &sets[number - 1] : NULL;
}

const char *profile_set_nearest(const char *name)
{
    static struct nearest nearest;

    nearest = (struct nearest){.wanted = name};
    for (unsigned i = 1; profile_set_at((uint8_t)i); i++)
        nearest_offer(&nearest, sets[i - 1].name);
    return nearest_is_likely(&nearest) ? nearest.best : NULL;
}

unsigned profile_set_draw(uint64_t members, struct draw *draw)
{
    uint32_t count = 0;

    for (uint64_t left = members; left; left &= left - 1)
        count++;
    for (uint32_t skip = draw_below(draw, count); skip > 0; skip--)
        members &= members - 1;
    unsigned member = 0;
    while (!(members >> member & 1))
        member++;
    return member;
}
