#pragma once
/* Selections of browser profiles, by what a user writes: a profile's name, browser=B, platform=P, random, recommended,
 * safe or none. All that there are stand in one table, so that a byte names one, in messages too. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/draw.h"
#include "common/profile.h"

#define PROFILE_MEMBERS_MAX  64
#define PROFILE_NONE         63 /* in a selection: connections without a profile */
#define PROFILE_ANY          UINT64_MAX
#define PROFILE_SET_NAME_MAX 48

struct profile_set {
    char name[PROFILE_SET_NAME_MAX];
    uint64_t members; /* bit i: the profile profile_at(i), or PROFILE_NONE; never empty */
};

/* The selection's number, from 1; 0: there is none of that name. */
uint8_t profile_set_find(const char *name, size_t len);
/* NULL: there is none of that number. */
const struct profile_set *profile_set_at(uint8_t number);
/* The name most like a misspelt one, which lives until the next call; NULL: none is like it. */
const char *profile_set_nearest(const char *name);
/* One of the members, each as likely. */
unsigned profile_set_draw(uint64_t members, struct draw *draw);
