/* The profiles that are compiled in: read all at first use, found by name. */
#include "common/profile.h"

#include <string.h>

#include "common/log.h"
#include "common/profile_files.h"

#define PROFILES_MAX 64
#define LAYOUTS_MAX  40

static struct profile profiles[PROFILES_MAX];
static struct hello_layout layouts[LAYOUTS_MAX];
static size_t profiles_read, layouts_read;

static const struct hello_layout *layout_named(const char *name)
{
    for (size_t i = 0; i < layouts_read; i++) {
        if (strcmp(layouts[i].name, name) == 0)
            return &layouts[i];
    }
    return NULL;
}

/* What is compiled in was read by the tests; that it does not read here is a broken build. */
static void read_all(void)
{
    struct toml_error error = {.message = "there are too many of them"};

    for (const struct profile_file *f = profile_layout_files; f->name; f++) {
        if (layouts_read == LAYOUTS_MAX ||
            !hello_layout_parse(f->text, f->len, f->name, &layouts[layouts_read], &error))
            die("the layout %s that was compiled in is broken in line %u: %s", f->name, error.line, error.message);
        layouts_read++;
    }
    for (const struct profile_file *f = profile_files; f->name; f++) {
        struct profile *p = &profiles[profiles_read];
        if (profiles_read == PROFILES_MAX || !profile_parse(f->text, f->len, p, &error))
            die("the profile %s that was compiled in is broken in line %u: %s", f->name, error.line, error.message);
        p->hello = layout_named(p->hello_name);
        if (!p->hello || strcmp(p->name, f->name) != 0)
            die("the profile %s that was compiled in has another name, or a layout that is not there", f->name);
        profiles_read++;
    }
}

size_t profile_count(void)
{
    if (profiles_read == 0)
        read_all();
    return profiles_read;
}

const struct profile *profile_at(size_t index)
{
    return index < profile_count() ? &profiles[index] : NULL;
}

const struct profile *profile_find(const char *name)
{
    for (size_t i = 0; i < profile_count(); i++) {
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    }
    return NULL;
}
