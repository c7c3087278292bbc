/* The subcommand `conn`: what connections a running fleet has, one JSON line each. */
#include "tools/conn.h"

#include <stdio.h>
#include <string.h>

#include "common/address.h"
#include "common/buffer.h"
#include "common/log.h"
#include "tools/ask.h"
#include "tools/fleets.h"

#define PATIENCE_S 30 /* a worker may be busy, and thousands of lines take their time */

static const char help[] =
    "usage: hotfleet conn list [--host NAME] [PID]   all connections of a running fleet, or those to a host\n"
    "       hotfleet conn show IP [PID]              the connections to one address\n\n"
    "One JSON line for each. Without PID: of the only fleet that runs.\n"
    "Exit code 0: there are some; 1: there is none; 2: wrong usage, or no fleet that answers.\n";

static int ask(const char *command, const char *key, const char *value, long pid)
{
    struct buffer target = {0};

    buffer_append_str(&target, "/connections");
    ask_put_query(&target, key, value);
    buffer_append_char(&target, '\0');
    int code = ask_fleet_patiently(command, pid, "GET", target.data, NULL, 0, PATIENCE_S);
    buffer_fini(&target);
    if (code == EXIT_NO)
        fprintf(stderr, "hotfleet: %s: there is no connection%s%s\n", command, value ? " to " : "", value ? value : "");
    return code;
}

static int list(int argc, char **argv, long pid)
{
    const char *host = NULL;

    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--host=", 7) == 0) {
            host = argv[i] + 7;
        } else if (strcmp(argv[i], "--host") == 0 && i + 1 < argc) {
            host = argv[++i];
        } else {
            fprintf(stderr, "hotfleet: conn list: \"%s\" is %s; see hotfleet conn --help\n", argv[i],
                    strcmp(argv[i], "--host") == 0 ? "without a name" : "not --host NAME");
            return EXIT_USAGE;
        }
    }
    return ask("conn list", "host", host, pid);
}

static int show(int argc, char **argv, long pid)
{
    struct address address;

    if (argc != 1 || !address_parse(argv[0], strlen(argv[0]), &address)) {
        fprintf(stderr, "hotfleet: conn show: %s%s%s; see hotfleet conn --help\n", argc == 1 ? "\"" : "",
                argc == 1 ? argv[0] : "one IP address is needed", argc == 1 ? "\" is no IP address" : "");
        return EXIT_USAGE;
    }
    return ask("conn show", "ip", argv[0], pid);
}

int conn_main(int argc, char **argv)
{
    long pid = 0;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return fleets_print(help, sizeof help - 1);
    if (argc > 1 && strcmp(argv[1], "list") != 0 && strcmp(argv[1], "show") != 0) {
        fprintf(stderr, "hotfleet: conn: there is no verb \"%s\"; see hotfleet conn --help\n", argv[1]);
        return EXIT_USAGE;
    }
    if (argc < 2) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    bool is_list = strcmp(argv[1], "list") == 0;
    ask_take_pid(&argc, argv, &pid);
    return is_list ? list(argc - 2, argv + 2, pid) : show(argc - 2, argv + 2, pid);
}
