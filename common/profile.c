/* The profiles that are compiled in, read all at first use, and those of a user's folder; found by name. */
#include "common/profile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/log.h"
#include "common/profile_files.h"

#define PROFILES_MAX   128
#define LAYOUTS_MAX    128
#define FILE_BYTES_MAX 65536

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

/* What is wrong with a file; false, for its reader to return. */
__attribute__((format(printf, 2, 3))) static bool fail(char *fault_out, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(fault_out, PROFILE_FAULT_MAX, format, arguments);
    va_end(arguments);
    return false;
}

static bool read_file(const char *path, struct buffer *text, char *fault_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && text->len <= FILE_BYTES_MAX) {
        buffer_reserve(text, 16384);
        n = read(fd, text->data + text->len, 16384);
        text->len += n > 0 ? (size_t)n : 0;
    }
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return fail(fault_out, "\"%s\" can't be read: %s", path, strerror(reason));
    return text->len <= FILE_BYTES_MAX || fail(fault_out, "\"%s\" is larger than 64 KiB, which no profile is", path);
}

/* Its place among the profiles, which are in the order of their names, numbers by their size. */
static bool put_profile(const char *path, const struct profile *p, char *fault_out)
{
    size_t at = 0;

    while (at < profiles_read && strverscmp(profiles[at].name, p->name) < 0)
        at++;
    if (at == profiles_read || strcmp(profiles[at].name, p->name) != 0) {
        if (profiles_read == PROFILES_MAX)
            return fail(fault_out, "\"%s\" is one profile too many: %d can be had at a time", path, PROFILES_MAX);
        memmove(&profiles[at + 1], &profiles[at], (profiles_read - at) * sizeof *profiles);
        profiles_read++;
    }
    profiles[at] = *p;
    return true;
}

static bool take_text(const char *path, const struct buffer *text, char *fault_out)
{
    struct hello_layout *layout = &layouts[layouts_read];
    struct toml_error error;
    struct profile p;

    if (layouts_read == LAYOUTS_MAX)
        return fail(fault_out, "\"%s\" is one profile too many", path);
    if (!profile_parse_own(text->data ? text->data : "", text->len, &p, layout, &error))
        return fail(fault_out, "\"%s\", line %u, column %u: %s", path, error.line, error.column, error.message);
    p.hello = layout_named(p.hello_name);
    if (layout->cipher_count) {
        snprintf(layout->name, sizeof layout->name, "%.*s", (int)sizeof layout->name - 1, p.name);
        p.hello = layout;
        layouts_read++;
    }
    if (!p.hello)
        return fail(fault_out, "\"%s\": there is no hello \"%s\" among those compiled in", path, p.hello_name);
    if (strcmp(p.name, "none") == 0)
        return fail(fault_out, "\"%s\": a profile can't have the name none", path);
    return put_profile(path, &p, fault_out);
}

static int is_profile_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".toml") == 0;
}

bool profile_dir_read(const char *dir, char fault_out[PROFILE_FAULT_MAX])
{
    static bool was_read;
    struct dirent **entries = NULL;
    bool good = true;

    if (was_read)
        return true;
    profile_count();
    int count = scandir(dir, &entries, is_profile_file, alphasort);
    if (count < 0)
        return fail(fault_out, "\"%s\" can't be read: %s", dir, strerror(errno));
    for (int i = 0; i < count; i++) {
        struct buffer path = {0};
        struct buffer text = {0};
        buffer_printf(&path, "%s/%s", dir, entries[i]->d_name);
        buffer_append_char(&path, '\0');
        good = good && read_file(path.data, &text, fault_out) && take_text(path.data, &text, fault_out);
        buffer_fini(&text);
        buffer_fini(&path);
        free(entries[i]);
    }
    free(entries);
    was_read = good;
    return good;
}
