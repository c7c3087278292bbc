#pragma once
/* The documents that the build makes of common/profiles (embed_profiles.py); for profile.c. */

#include <stddef.h>

struct profile_file {
    const char *name; /* without .toml; NULL ends the list, which is in the order of the names */
    const char *text;
    size_t len;
};

extern const struct profile_file profile_files[];
extern const struct profile_file profile_layout_files[];
