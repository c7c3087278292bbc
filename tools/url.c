/* The subcommand `url`: the parser, seen from outside. */
#include "tools/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/url.h"

static const char help[] =
    "usage: hotfleet url < urls.txt\n\n"
    "Prints the canonical form of each line, or \"error<TAB>reason\": one output line per input line.\n";

static void print_one(const char *line, size_t len, struct buffer *text)
{
    const char *reason = NULL;
    struct url url;

    enum outcome outcome = url_parse(line, len, NULL, text, &url, &reason);
    if (outcome == OUTCOME_OK)
        printf("%.*s\n", (int)url.len, url.text);
    else
        printf("error\t%s\n", reason);
}

int url_main(int argc, char **argv)
{
    struct buffer text = {0};
    char *line = NULL;
    size_t size = 0;
    ssize_t n;

    if (argc > 1) {
        bool asked = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        fputs(help, asked ? stdout : stderr);
        return asked ? EXIT_OK : EXIT_USAGE;
    }
    while ((n = getline(&line, &size, stdin)) >= 0) {
        size_t len = (size_t)n;
        if (len && line[len - 1] == '\n')
            len--;
        if (len && line[len - 1] == '\r')
            len--;
        print_one(line, len, &text);
        if (ferror(stdout))
            break;
    }
    free(line);
    buffer_fini(&text);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        log_event(LOG_ERROR, "output-failed", "standard output could not be written");
        return EXIT_OUTPUT;
    }
    return EXIT_OK;
}
