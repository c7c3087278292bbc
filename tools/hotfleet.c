/* The front door: a table of subcommands. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "tools/config.h"
#include "tools/conn.h"
#include "tools/ctl.h"
#include "tools/dns.h"
#include "tools/healthz.h"
#include "tools/ip.h"
#include "tools/job.h"
#include "tools/profiles.h"
#include "tools/run.h"
#include "tools/stats.h"
#include "tools/url.h"

static int version_main(int argc, char **argv);
static int help_main(int argc, char **argv);

static const struct command {
    const char *name;
    int (*main)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
    const char *help;
} commands[] = {
    {"run", run_main, "crawl the URLs of standard input, one JSON line out for every line in"},
    {"url", url_main, "print the canonical form of each URL on standard input"},
    {"config", config_main, "print or check the options in force"},
    {"profiles", profiles_main, "list the browser profiles, show, check or import one"},
    {"job", job_main, "tell what a job has done and what is left of it"},
    {"stats", stats_main, "show the numbers of a running fleet"},
    {"healthz", healthz_main, "tell by the exit code whether a running fleet is healthy"},
    {"conn", conn_main, "show the connections of a running fleet"},
    {"ctl", ctl_main, "ask a running fleet through its socket"},
    {"ip", ip_main, "list the addresses that are good or blocked, and make rules about them"},
    {"dns", dns_main, "show what a fleet knows of names, or ask for them anew"},
    {"version", version_main, "print the version"},
    {"help", help_main, "print this, or the help of a command"},
};

static void print_help(FILE *out)
{
    fprintf(out, "hotfleet " HOTFLEET_VERSION ": a fleet of crawler workers with hot connections\n\n"
                 "usage: hotfleet COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  %-8s  %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nexample: hotfleet run < urls.txt > records.jsonl\n"
                 "help of a command: hotfleet COMMAND --help\n");
}

static int finish(FILE *out)
{
    if (fflush(out) == 0 && !ferror(out))
        return EXIT_OK;
    log_event(LOG_ERROR, "output-failed", "standard output could not be written");
    return EXIT_OUTPUT;
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("hotfleet " HOTFLEET_VERSION "\n");
    return finish(stdout);
}

static int help_main(int argc, char **argv)
{
    const struct command *command = argc > 1 ? find(argv[1]) : NULL;

    if (command && command->main != help_main && command->main != version_main) {
        char *help[] = {argv[1], "--help", NULL};
        return command->main(2, help);
    }
    if (argc > 1 && !command) {
        fprintf(stderr, "hotfleet: there is no command \"%s\"; see hotfleet help\n", argv[1]);
        return EXIT_USAGE;
    }
    print_help(stdout);
    return finish(stdout);
}

/* Descriptors 0, 1 and 2 that the caller closed must not become our sockets or maps. */
static void fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help_main(1, argv + 1);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return version_main(1, argv + 1);
    const struct command *command = find(argv[1]);
    if (!command) {
        fprintf(stderr, "hotfleet: there is no command \"%s\"; see hotfleet help\n", argv[1]);
        return EXIT_USAGE;
    }
    return command->main(argc - 1, argv + 1);
}
