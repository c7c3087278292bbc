/* The subcommand `ctl`: a table of verbs, each a request to the coordinator. */
#include "tools/ctl.h"

#include <stdio.h>
#include <string.h>

#include "common/buffer.h"
#include "common/log.h"
#include "tools/ask.h"
#include "tools/fleets.h"

struct verb {
    const char *name, *method, *target, *arguments, *help;
    /* Makes the target's query and the body of the arguments; false, with a message on stderr, when they are wrong.
     * NULL: there are none. */
    bool (*prepare)(int argc, char **argv, struct buffer *target, struct buffer *body);
    int operands;        /* words before the process number that may be numbers too */
    unsigned patience_s; /* 0: the answer comes at once */
};

static bool prepare_flush(int argc, char **argv, struct buffer *target, struct buffer *body)
{
    (void)body;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--idle") != 0) {
            fprintf(stderr, "hotfleet: ctl flush: \"%s\" is not --idle\n", argv[i]);
            return false;
        }
        ask_put_query(target, "idle", "1");
    }
    return true;
}

static bool prepare_set(int argc, char **argv, struct buffer *target, struct buffer *body)
{
    (void)target;
    for (int i = 0; i < argc; i++) {
        if (!strchr(argv[i], '=') || strchr(argv[i], '\n')) {
            fprintf(stderr, "hotfleet: ctl set: \"%s\" is not of the form KEY=VALUE\n", argv[i]);
            return false;
        }
        buffer_printf(body, "%s\n", argv[i]);
    }
    if (argc == 0)
        fprintf(stderr, "hotfleet: ctl set: name what to set, KEY=VALUE\n");
    return argc > 0;
}

static bool prepare_get(int argc, char **argv, struct buffer *target, struct buffer *body)
{
    (void)body;
    if (argc > 1)
        fprintf(stderr, "hotfleet: ctl get: one KEY is enough; without any, all are told\n");
    ask_put_query(target, "key", argc > 0 ? argv[0] : NULL);
    return argc <= 1;
}

static bool prepare_prewarm(int argc, char **argv, struct buffer *target, struct buffer *body)
{
    static const char *const keys[] = {"host", "n"};
    int count = 0;

    (void)body;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--wait") == 0) {
            ask_put_query(target, "wait", "1");
        } else if (*argv[i] == '-' || count == 2) {
            fprintf(stderr, "hotfleet: ctl prewarm: \"%s\" is not --wait\n", argv[i]);
            return false;
        } else {
            ask_put_query(target, keys[count++], argv[i]);
        }
    }
    if (count < 2)
        fprintf(stderr, "hotfleet: ctl prewarm: a host and a number of connections are needed\n");
    return count == 2;
}

static const struct verb verbs[] = {
    {"stats", "GET", "/stats", "", "the numbers, as JSON", NULL, 0, 0},
    {"metrics", "GET", "/metrics", "", "the numbers, as Prometheus reads them", NULL, 0, 0},
    {"health", "GET", "/health", "", "whether the fleet is healthy", NULL, 0, 0},
    {"ready", "GET", "/ready", "", "whether the fleet takes work", NULL, 0, 0},
    {"flush", "POST", "/flush", "[--idle]", "closes all open connections, or the idle ones", prepare_flush, 0, 0},
    {"get", "GET", "/get", "[KEY]", "the options in force", prepare_get, 0, 0},
    {"set", "POST", "/set", "KEY=VALUE...", "changes options at once, all of them or none", prepare_set, 0, 0},
    {"reload", "POST", "/reload", "", "reads files, environment and flags again; undoes set", NULL, 0, 0},
    {"prewarm", "POST", "/prewarm", "HOST N [--wait]", "makes N connections to HOST ahead of need", prepare_prewarm, 2,
     ASK_LONG_PATIENCE_S},
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

    buffer_append_str(&text, "usage: hotfleet ctl VERB [ARGUMENTS] [PID]\n\n"
                             "Asks a running fleet through its socket. Without PID: the only one that runs.\n\n");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        const struct verb *v = &verbs[i];
        int left = 24 - (int)strlen(v->name);
        buffer_printf(&text, "  %s %-*s  %s\n", v->name, left, v->arguments, v->help);
    }
    buffer_append_str(&text, "\nExit code 0: done, or yes; 1: no; 2: wrong usage, or no fleet that answers.\n");
    int code = fleets_print(text.data, text.len);
    buffer_fini(&text);
    return code;
}

static int run(const struct verb *verb, int argc, char **argv, long pid)
{
    struct buffer target = {0};
    struct buffer body = {0};
    char command[64];
    int code = EXIT_USAGE;

    snprintf(command, sizeof command, "ctl %s", verb->name);
    buffer_append_str(&target, verb->target);
    if (argc > 0 && !verb->prepare)
        fprintf(stderr, "hotfleet: %s: \"%s\" is no process number; see hotfleet ctl --help\n", command, argv[0]);
    else if (!verb->prepare || verb->prepare(argc, argv, &target, &body)) {
        buffer_append_char(&target, '\0');
        code = ask_fleet_patiently(command, pid, verb->method, target.data, body.data, body.len,
                                   verb->patience_s ? verb->patience_s : ASK_PATIENCE_S);
    }
    buffer_fini(&target);
    buffer_fini(&body);
    return code;
}

/* Words that are no flags. */
static int count_operands(int argc, char **argv)
{
    int count = 0;

    for (int i = 0; i < argc; i++)
        count += *argv[i] != '-';
    return count;
}

int ctl_main(int argc, char **argv)
{
    long pid = 0;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return print_help();
    const struct verb *verb = argc > 1 ? find(argv[1]) : NULL;
    if (!verb) {
        if (argc > 1)
            fprintf(stderr, "hotfleet: ctl: there is no verb \"%s\"; see hotfleet ctl --help\n", argv[1]);
        else
            fprintf(stderr, "hotfleet: ctl: a verb is missing; see hotfleet ctl --help\n");
        return EXIT_USAGE;
    }
    if (count_operands(argc - 2, argv + 2) > verb->operands)
        ask_take_pid(&argc, argv, &pid);
    return run(verb, argc - 2, argv + 2, pid);
}
