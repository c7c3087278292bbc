/* `hotfleet config print | check | markdown`. */
#include "tools/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/options.h"
#include "common/options_rows.h"

static const char usage[] =
    "usage: hotfleet config print [--origin] [FLAG…]   the options in force, as TOML; where each comes from\n"
    "       hotfleet config check [FLAG…]              checks all files, variables and flags as a run would read them\n"
    "       hotfleet config check FILE… [FLAG…]        checks these files alone\n"
    "       hotfleet config markdown                   the table of all options\n"
    "FLAG is any flag of hotfleet run; see hotfleet run --help.\n";

static int complain(const char *message)
{
    fprintf(stderr, "hotfleet: %s\n", message);
    return EXIT_USAGE;
}

static int text_write(const char *text, size_t len)
{
    if (fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0)
        return EXIT_OK;
    fprintf(stderr, "hotfleet: stdout cannot be written\n");
    return EXIT_OUTPUT;
}

static int buffer_write(struct buffer *b)
{
    int code = text_write(b->data, b->len);

    buffer_fini(b);
    return code;
}

static int general_write(const struct options *o)
{
    static const char version[] = "hotfleet " HOTFLEET_VERSION "\n";

    return o->help ? text_write(usage, sizeof usage - 1) : text_write(version, sizeof version - 1);
}

/* Takes --origin out of the arguments, since it is no option of a run. */
static bool take_origin(int *argc, char **argv)
{
    bool found = false;
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--origin") == 0)
            found = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return found;
}

static int print_main(int argc, char **argv)
{
    struct options o = {0};
    struct options_error error;
    struct buffer out = {0};
    char **rest;
    size_t rest_count;
    bool origins = take_origin(&argc, argv);
    int code;

    if (!options_load(&o, argc, argv, &rest, &rest_count, &error)) {
        code = complain(error.message);
    } else if (o.help || o.version) {
        code = general_write(&o);
    } else if (rest_count) {
        options_fail(&error, "unexpected argument \"%s\"; hotfleet config print takes only flags", rest[0]);
        code = complain(error.message);
    } else {
        options_print_toml(&o, origins, &out);
        code = buffer_write(&out);
    }
    free(rest);
    options_fini(&o);
    return code;
}

/* Reads one file and the flags over nothing but the defaults. */
static bool file_check(const char *path, int argc, char **argv, struct options_error *error_out)
{
    struct options o = {0};
    char **rest = NULL;
    size_t rest_count;

    bool good = options_read_file(&o, path, true, error_out);
    if (good) {
        good = options_read_flags(&o, argc, argv, &rest, &rest_count, error_out) && options_finish(&o, error_out);
        if (!good)
            options_fail_at(error_out, "%s", path);
    }
    free(rest);
    options_fini(&o);
    return good;
}

static int files_check(int argc, char **argv, char **files, size_t count)
{
    struct options_error error;
    struct buffer out = {0};
    int code = EXIT_OK;

    for (size_t i = 0; i < count; i++) {
        if (file_check(files[i], argc, argv, &error))
            buffer_printf(&out, "%s: ok\n", files[i]);
        else
            code = complain(error.message);
    }
    int written = buffer_write(&out);
    return code == EXIT_OK ? written : code;
}

static int layers_check(int argc, char **argv)
{
    static const char ok[] = "ok\n";
    struct options o = {0};
    struct options_error error;
    char **rest;
    size_t rest_count;

    bool good = options_load(&o, argc, argv, &rest, &rest_count, &error);
    free(rest);
    options_fini(&o);
    return good ? text_write(ok, sizeof ok - 1) : complain(error.message);
}

static int check_main(int argc, char **argv)
{
    struct options o = {0};
    struct options_error error;
    const char *config;
    char **rest = NULL;
    size_t rest_count;
    int code;

    if (!options_scan_flags(&o, argc, argv, &config, &rest, &rest_count, &error))
        code = complain(error.message);
    else if (o.help || o.version)
        code = general_write(&o);
    else if (rest_count && config)
        code = complain("--config adds a layer, but files named alone are checked alone; leave out one of the two");
    else
        code = rest_count ? files_check(argc, argv, rest, rest_count) : layers_check(argc, argv);
    free(rest);
    options_fini(&o);
    return code;
}

static int markdown_main(int argc, char **argv)
{
    struct buffer out = {0};

    if (argc > 1) {
        struct options_error error;
        options_fail(&error, "unexpected argument \"%s\"; hotfleet config markdown takes none", argv[1]);
        return complain(error.message);
    }
    options_print_markdown(&out);
    return buffer_write(&out);
}

int config_main(int argc, char **argv)
{
    const char *action = argc > 1 ? argv[1] : "";

    if (strcmp(action, "print") == 0)
        return print_main(argc - 1, argv + 1);
    if (strcmp(action, "check") == 0)
        return check_main(argc - 1, argv + 1);
    if (strcmp(action, "markdown") == 0)
        return markdown_main(argc - 1, argv + 1);
    if (strcmp(action, "--help") == 0 || strcmp(action, "-h") == 0)
        return text_write(usage, sizeof usage - 1);
    fputs(usage, stderr);
    return EXIT_USAGE;
}
