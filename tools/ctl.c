/* The subcommand `ctl`: a table of verbs, each a request to the coordinator. */
#include "tools/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "tools/admin_client.h"
#include "tools/fleets.h"

#define EXIT_NO   1
#define STATUS_OK 200
#define STATUS_NO 503 /* the answer is whole and says no */

static const struct verb {
    const char *name, *method, *target, *help;
} verbs[] = {
    {"stats", "GET", "/stats", "the numbers, as JSON"},
    {"metrics", "GET", "/metrics", "the numbers, as Prometheus reads them"},
    {"health", "GET", "/health", "whether the fleet is healthy"},
    {"ready", "GET", "/ready", "whether the fleet takes work"},
};

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int print_help(void)
{
    struct buffer text = {0};

    buffer_append_str(&text, "usage: hotfleet ctl VERB [PID]\n\n"
                             "Asks a running fleet through its socket. Without PID: the only one that runs.\n\n");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        buffer_printf(&text, "  %-8s  %s\n", verbs[i].name, verbs[i].help);
    buffer_append_str(&text, "\nExit code 0: done, or yes; 1: no; 2: wrong usage, or no fleet that answers.\n");
    int code = fleets_print(text.data, text.len);
    buffer_fini(&text);
    return code;
}

static int show(const struct verb *verb, const struct admin_answer *answer)
{
    if (answer->status != STATUS_OK && answer->status != STATUS_NO) {
        fprintf(stderr, "hotfleet: ctl %s: the fleet answers with status %d\n", verb->name, answer->status);
        return EXIT_USAGE;
    }
    int code = fleets_print(answer->text.data + answer->body, answer->length);
    return code == EXIT_OK && answer->status == STATUS_NO ? EXIT_NO : code;
}

static int ask(const struct verb *verb, const struct region *region)
{
    char path[REGION_PATH_MAX];
    struct admin_answer answer;

    if (!region_admin_path(region, path)) {
        fprintf(stderr, "hotfleet: ctl %s: the fleet has not opened its socket yet; try again\n", verb->name);
        return EXIT_USAGE;
    }
    int code = EXIT_USAGE;
    enum outcome outcome = admin_ask(path, verb->method, verb->target, &answer);
    if (outcome == OUTCOME_OK)
        code = show(verb, &answer);
    else
        fprintf(stderr, "hotfleet: ctl %s: \"%s\": %s\n", verb->name, path,
                outcome == OUTCOME_SYSTEM ? strerror(errno) : outcome_row(outcome)->text);
    admin_answer_fini(&answer);
    return code;
}

int ctl_main(int argc, char **argv)
{
    struct region region;
    long pid = 0;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return print_help();
    const struct verb *verb = argc > 1 ? find(argv[1]) : NULL;
    if (!verb || argc > 3) {
        fprintf(stderr, "hotfleet: ctl: %s%s%s; see hotfleet ctl --help\n",
                verb       ? "one PID is enough"
                : argc > 1 ? "there is no verb \""
                           : "a verb is missing",
                !verb && argc > 1 ? argv[1] : "", !verb && argc > 1 ? "\"" : "");
        return EXIT_USAGE;
    }
    if (argc == 3 && !fleets_parse_pid("ctl", argv[2], &pid))
        return EXIT_USAGE;
    if (!fleets_open(pid, &region))
        return EXIT_USAGE;
    int code = ask(verb, &region);
    region_close(&region);
    return code;
}
