#pragma once
/* What the tests of options share: one struct options, a directory of their own as home and working directory, and ways
 * to read flags, variables and files from literals. Included once by each test executable. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/options.h"
#include "common/options_rows.h"

static struct options o;
static struct options_error error;
static char **rest;
static size_t rest_count;
static char directory[] = "/tmp/hotfleet-options-XXXXXX";

static inline int setup(void **state)
{
    (void)state;
    options_init(&o);
    rest = NULL;
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    options_fini(&o);
    free(rest);
    unlink("config.toml");
    unlink("other.toml");
    unlink("hotfleet/config.toml");
    return 0;
}

/* All tests stand in an empty directory, which is also the home of the user's configuration, with a bare environment.
 */
static inline int group_setup(void **state)
{
    (void)state;
    /* The form of the test's own report is a variable too, read when the first result is told. */
    const char *form = getenv("CMOCKA_MESSAGE_OUTPUT");
    if (form && strcmp(form, "TAP") == 0)
        cmocka_set_message_output(CM_OUTPUT_TAP);
    if (!mkdtemp(directory) || chdir(directory) || mkdir("hotfleet", 0700) || clearenv())
        return -1;
    return setenv("XDG_CONFIG_HOME", directory, 1);
}

static inline int group_teardown(void **state)
{
    (void)state;
    return rmdir("hotfleet") || chdir("/") || rmdir(directory);
}

static inline void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void assert_error(const char *wanted)
{
    assert_string_equal(error.message, wanted);
}

static inline void assert_error_has(const char *part)
{
    if (!strstr(error.message, part))
        fail_msg("\"%s\" has no \"%s\"", error.message, part);
}

/* Runs options_read_flags over "run" and up to seven arguments. */
#define read_flags(...) read_flags_of((const char *[8]){__VA_ARGS__})
static inline bool read_flags_of(const char *const flags[8])
{
    static char copies[9][256];
    char *argv[10] = {copies[0]};
    int argc = 1;

    snprintf(copies[0], sizeof copies[0], "run");
    for (; argc < 9 && flags[argc - 1]; argc++) {
        snprintf(copies[argc], sizeof copies[argc], "%s", flags[argc - 1]);
        argv[argc] = copies[argc];
    }
    free(rest);
    return options_read_flags(&o, argc, argv, &rest, &rest_count, &error);
}

#define load(...) load_of((char *[8]){"run", __VA_ARGS__})
static inline bool load_of(char *argv[8])
{
    int argc = 0;

    while (argc < 8 && argv[argc])
        argc++;
    options_fini(&o);
    free(rest);
    return options_load(&o, argc, argv, &rest, &rest_count, &error);
}

#define read_environment(...) options_read_environment(&o, (char *[]){__VA_ARGS__, NULL}, &error)

static inline bool read_toml(const char *text)
{
    write_file("config.toml", text);
    return options_read_file(&o, "config.toml", true, &error);
}

static inline void assert_value(const char *name, const char *wanted)
{
    const struct option_row *row = option_find(name, strlen(name));
    struct buffer text = {0};

    assert_non_null(row);
    options_format(&o, row, &text);
    buffer_append_char(&text, '\0');
    assert_string_equal(text.data, wanted);
    buffer_fini(&text);
}

static inline const char *origin_of(const char *name)
{
    return o.origins[option_index(option_find(name, strlen(name)))];
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
