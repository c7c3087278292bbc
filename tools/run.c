/* The subcommand `run`: options, help, and the checks that belong before a fleet is started. */
#include "tools/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/options.h"
#include "coordinator/coordinator.h"

static int print_help(void)
{
    struct buffer text = {0};

    buffer_append_str(&text,
                      "usage: hotfleet run [FLAGS] < urls.txt > records.jsonl\n\n"
                      "Reads URLs or JSON lines ({\"url\":…}), one a line, and writes one JSON line for each.\n"
                      "Options also come from TOML files and the environment: hotfleet config print --origin\n\n");
    options_print_help(&text);
    bool good = fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    buffer_fini(&text);
    return good ? EXIT_OK : EXIT_OUTPUT;
}

/* What a fleet would only find out in its workers is said here, by one process and at once. */
static bool files_readable(const struct options *o)
{
    const char *data = *o->data == '@' ? o->data + 1 : "";
    const char *const files[][2] = {{"--cacert", o->cacert}, {"--data", data}};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (*files[i][1] && access(files[i][1], R_OK) != 0) {
            fprintf(stderr, "hotfleet: %s: \"%s\" can't be read: %s\n", files[i][0], files[i][1], strerror(errno));
            return false;
        }
    }
    return true;
}

int run_main(int argc, char **argv)
{
    struct options options;
    struct options_error error;
    char **rest = NULL;
    size_t rest_count = 0;
    int code = EXIT_USAGE;

    options_init(&options);
    if (!options_load(&options, argc, argv, &rest, &rest_count, &error)) {
        fprintf(stderr, "hotfleet: %s\n", error.message);
    } else if (options.help) {
        code = print_help();
    } else if (options.version) {
        printf("hotfleet " HOTFLEET_VERSION "\n");
        code = EXIT_OK;
    } else if (rest_count > 0) {
        fprintf(stderr, "hotfleet: \"%s\" is no flag; URLs are read from standard input or with -i FILE\n", rest[0]);
    } else if (files_readable(&options)) {
        log_open("hotfleet", options.verbose ? LOG_INFO : LOG_WARN);
        code = coordinator_run(&options, argc, argv);
    }
    free(rest);
    options_fini(&options);
    return code;
}
