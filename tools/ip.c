/* The subcommand `ip`: rules go to the fleet over its socket, the list is read from its map. */
#include "tools/ip.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/ip_prefix.h"
#include "common/log.h"
#include "common/options.h"
#include "shm/iptable.h"
#include "shm/store_access.h"
#include "tools/ask.h"
#include "tools/fleets.h"

#define BODY_BYTES_MAX 1000000 /* in one request */
#define PRINT_BYTES    65536

struct arguments {
    const char *verb;
    enum access_state state; /* ACCESS_UNKNOWN: not given */
    const char *host, *reason, *expires, *state_dir;
    struct ip_prefix_list list;
    long pid;
};

static const char usage[] =
    "usage: hotfleet ip list   [--white|--black] [--host HOST] [--state DIR] [PID]\n"
    "       hotfleet ip add    --white|--black [--host HOST] [--reason TEXT] [--expires TIME] ADDRESS... [PID]\n"
    "       hotfleet ip remove [--host HOST] ADDRESS... [PID]\n\n"
    "ADDRESS is an address, a range such as 192.0.2.0/24, or @FILE with one of them a line; @- reads standard input.\n"
    "`list` prints a JSON line for each that is known to be good (white) or blocked (black); with --state it needs no\n"
    "running fleet. `add` makes a rule, for all hosts or for one by name, that goes before what the fleet has "
    "learned;\n"
    "it holds at once and in later runs with the same --state, until it expires (such as 90s, 30m, 12h). `remove` "
    "takes\n"
    "rules back and forgets what was learned of these addresses. Without PID: the only fleet that runs.\n";

static bool fail(const struct arguments *a, const char *what, const char *value)
{
    fprintf(stderr, "hotfleet: ip %s: %s%s%s%s; see hotfleet ip --help\n", a->verb, what, value ? " \"" : "",
            value ? value : "", value ? "\"" : "");
    return false;
}

/* The flags with a value; NULL for others. */
static const char **place_of(struct arguments *a, const char *flag)
{
    bool adds = strcmp(a->verb, "add") == 0;

    if (strcmp(flag, "--host") == 0)
        return &a->host;
    if (strcmp(flag, "--reason") == 0 && adds)
        return &a->reason;
    if (strcmp(flag, "--expires") == 0 && adds)
        return &a->expires;
    return strcmp(flag, "--state") == 0 && strcmp(a->verb, "list") == 0 ? &a->state_dir : NULL;
}

static bool read_state(struct arguments *a, const char *flag)
{
    enum access_state state = strcmp(flag, "--white") == 0 ? ACCESS_WHITE : ACCESS_BLACK;

    if (strcmp(a->verb, "remove") == 0)
        return fail(a, "there is no flag", flag);
    if (a->state != ACCESS_UNKNOWN && a->state != state)
        return fail(a, "--white and --black exclude each other", NULL);
    a->state = state;
    return true;
}

static bool read_address(struct arguments *a, const char *text)
{
    char fault[IP_FAULT_MAX];

    if (strcmp(a->verb, "list") == 0)
        return fail(a, "it takes no address:", text);
    if (ip_prefix_list_add(&a->list, strcmp(text, "@-") == 0 ? "@/dev/stdin" : text, fault))
        return true;
    fprintf(stderr, "hotfleet: ip %s: %s\n", a->verb, fault);
    return false;
}

static bool read_arguments(struct arguments *a, int argc, char **argv)
{
    ask_take_pid(&argc, argv, &a->pid);
    for (int i = 2; i < argc; i++) {
        const char **place = place_of(a, argv[i]);
        bool good;
        if (place && i + 1 == argc)
            return fail(a, "a value is missing after", argv[i]);
        if (place) {
            *place = argv[++i];
            good = **place || fail(a, "an empty value is given to", argv[i - 1]);
        } else if (strcmp(argv[i], "--white") == 0 || strcmp(argv[i], "--black") == 0) {
            good = read_state(a, argv[i]);
        } else if (argv[i][0] == '-') {
            good = fail(a, "there is no flag", argv[i]);
        } else {
            good = read_address(a, argv[i]);
        }
        if (!good)
            return false;
    }
    ip_prefix_list_sort(&a->list);
    return true;
}

/* --- add and remove --- */

/* A time as options take it, in milliseconds. */
static bool put_expiry(const struct arguments *a, struct buffer *target)
{
    struct options o = {0};
    struct options_error error;
    char text[32];

    /* Any option of a day's range at least would do: the reading is the same for all. */
    bool good = options_set(&o, "max_lifetime", a->expires, "", &error);
    if (good) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)o.max_lifetime);
        ask_put_query(target, "expires_ms", text);
    }
    options_fini(&o);
    return good || fail(a, "--expires must be a time up to 168h, such as 90s, 30m or 12h, and is not", a->expires);
}

static int send_some(const struct arguments *a, const char *target, size_t first, size_t *next_out)
{
    struct buffer body = {0};
    char command[32];
    char text[IP_PREFIX_TEXT_MAX];
    size_t i = first;

    for (; i < a->list.count && body.len < BODY_BYTES_MAX; i++) {
        ip_prefix_format(&a->list.items[i], text);
        buffer_printf(&body, "%s\n", text);
    }
    *next_out = i;
    snprintf(command, sizeof command, "ip %s", a->verb);
    int code = ask_fleet(command, a->pid, "POST", target, body.data, body.len);
    buffer_fini(&body);
    return code;
}

static int change(const struct arguments *a)
{
    struct buffer target = {0};
    bool adds = strcmp(a->verb, "add") == 0;
    int code = EXIT_USAGE;

    buffer_printf(&target, "/ip/%s", a->verb);
    if (adds)
        ask_put_query(&target, "state", a->state == ACCESS_WHITE ? "white" : "black");
    ask_put_query(&target, "host", a->host);
    ask_put_query(&target, "reason", a->reason);
    bool good = !a->expires || put_expiry(a, &target);
    buffer_append_char(&target, '\0');
    if (good) {
        code = EXIT_OK;
        for (size_t next = 0; next < a->list.count && code == EXIT_OK;)
            code = send_some(a, target.data, next, &next);
    }
    buffer_fini(&target);
    return code;
}

static int change_main(struct arguments *a)
{
    bool adds = strcmp(a->verb, "add") == 0;
    bool good = true;

    if (adds && a->state == ACCESS_UNKNOWN)
        good = fail(a, "--white or --black is missing", NULL);
    else if (a->list.count == 0)
        good = fail(a, "no address is given", NULL);
    return good ? change(a) : EXIT_USAGE;
}

/* --- list --- */

struct listing {
    const struct arguments *arguments;
    struct buffer text;
    uint64_t now_wall_us;
    int code;
};

/* A rule for all hosts is one for this host too. */
static bool is_of_host(const struct store_access_key *key, const char *host)
{
    const char *name = key->host;
    size_t len = key->host_len;

    if (!host || len == 0)
        return true;
    if (key->source == STORE_LEARNED) {
        const char *slashes = memmem(name, len, "://", 3);
        const char *colon = memrchr(name, ':', len);
        bool whole = len == strlen(host) && strncasecmp(name, host, len) == 0;
        if (whole || !slashes || colon <= slashes)
            return whole;
        len = (size_t)(colon - slashes) - 3;
        name = slashes + 3;
    }
    return len == strlen(host) && strncasecmp(name, host, len) == 0;
}

static bool print_one(void *user, const struct store_access_key *key, const struct store_access *record)
{
    struct listing *l = user;
    const struct arguments *a = l->arguments;

    if ((a->state != ACCESS_UNKNOWN && record->state != (uint8_t)a->state) || !is_of_host(key, a->host) ||
        (record->expires_wall_us && record->expires_wall_us <= l->now_wall_us))
        return true;
    store_access_print(&l->text, key, record);
    if (l->text.len >= PRINT_BYTES) {
        l->code = fleets_print(l->text.data, l->text.len);
        buffer_clear(&l->text);
    }
    return l->code == EXIT_OK;
}

/* The directory of the fleet's socket is that of its map. */
static bool find_directory(const struct arguments *a, char out[REGION_PATH_MAX])
{
    struct region region;

    if (!fleets_open(a->pid, &region))
        return false;
    bool found = region_admin_path(&region, out);
    char *slash = found ? strrchr(out, '/') : NULL;
    region_close(&region);
    if (!slash)
        return fail(a, "the fleet is only starting; try again", NULL);
    *slash = '\0';
    return true;
}

static int list_main(struct arguments *a)
{
    struct listing listing = {.arguments = a, .now_wall_us = clock_wall_us(), .code = EXIT_OK};
    char found[REGION_PATH_MAX];
    const char *dir = a->state_dir;
    const char *reason;
    struct store *store;

    if (dir && a->pid) {
        fail(a, "--state and a PID exclude each other", NULL);
        return EXIT_USAGE;
    }
    if (!dir && !find_directory(a, found))
        return EXIT_USAGE;
    dir = dir ? dir : found;
    if (store_open(&store, dir, true, &reason) != OUTCOME_OK) {
        fprintf(stderr, "hotfleet: ip list: %s\n", reason);
        return EXIT_USAGE;
    }
    store_access_each(store, print_one, &listing);
    if (listing.code == EXIT_OK)
        listing.code = fleets_print(listing.text.data ? listing.text.data : "", listing.text.len);
    buffer_fini(&listing.text);
    store_close(store);
    return listing.code;
}

int ip_main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*main)(struct arguments *a);
    } verbs[] = {{"list", list_main}, {"add", change_main}, {"remove", change_main}};
    struct arguments a = {.verb = argc > 1 ? argv[1] : ""};

    if (strcmp(a.verb, "--help") == 0 || strcmp(a.verb, "-h") == 0)
        return fleets_print(usage, sizeof usage - 1);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(a.verb, verbs[i].name) != 0)
            continue;
        int code = read_arguments(&a, argc, argv) ? verbs[i].main(&a) : EXIT_USAGE;
        ip_prefix_list_free(&a.list);
        return code;
    }
    fprintf(stderr, "hotfleet: ip: %s%s%s; see hotfleet ip --help\n",
            *a.verb ? "there is no verb \"" : "a verb is missing", a.verb, *a.verb ? "\"" : "");
    return EXIT_USAGE;
}
