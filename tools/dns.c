/* The subcommand `dns`: shows the names of a map, from the map alone, and has a running fleet ask for them anew. */
#include "tools/dns.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/prewarm_entry.h"
#include "shm/store.h"
#include "tools/ask.h"
#include "tools/fleets.h"

static const char help[] =
    "usage: hotfleet dns show [HOST] [--state DIR] [PID]   what the map knows of all names, or of one\n"
    "       hotfleet dns refresh [HOST] [PID]              asks name servers now: for all names in use, or for one\n\n"
    "One JSON line for each. Without PID: of the only fleet that runs; with --state no fleet need run.\n"
    "Exit code 0: done; 1: the map does not know HOST; 2: wrong usage, no map, or no fleet that answers.\n";

struct arguments {
    const char *host, *state;
    long pid;
};

struct shower {
    struct buffer out;
    const char *name; /* NULL: all */
    size_t name_len;
    uint64_t now_wall_us;
};

static void put_addresses(struct buffer *out, const struct store_dns *dns)
{
    char text[ADDRESS_TEXT_MAX];

    buffer_append_char(out, '[');
    for (uint32_t i = 0; i < dns->count; i++) {
        if (i > 0)
            buffer_append_char(out, ',');
        address_format(&dns->addresses[i], text);
        json_put_string(out, text, strlen(text));
    }
    buffer_append_char(out, ']');
}

/* A fleet that asks for one family keeps its answers apart, under the name with "/4" or "/6" behind it. */
static size_t cut_family(const char *key, size_t len, const char **families_out)
{
    *families_out = "both";
    if (len > 2 && key[len - 2] == '/' && (key[len - 1] == '4' || key[len - 1] == '6')) {
        *families_out = key[len - 1] == '4' ? "ipv4" : "ipv6";
        return len - 2;
    }
    return len;
}

static bool on_name(void *user, const char *key, size_t key_len, const struct store_dns *dns)
{
    struct shower *s = user;
    const char *families;
    size_t len = cut_family(key, key_len, &families);
    const char *code = dns->outcome == OUTCOME_OK ? "ok" : outcome_name(dns->outcome);
    char expires[CLOCK_RFC3339_LEN];

    if (s->name && (len != s->name_len || memcmp(key, s->name, len) != 0))
        return true;
    clock_rfc3339(dns->expires_wall_us, expires);
    json_open(&s->out);
    json_member_string(&s->out, "name", key, len);
    json_member_string(&s->out, "families", families, strlen(families));
    json_key(&s->out, "addresses");
    put_addresses(&s->out, dns);
    json_member_string(&s->out, "outcome", code, strlen(code));
    json_member_string(&s->out, "expires", expires, sizeof expires);
    json_member_int(&s->out, "ttl_left_s", ((int64_t)dns->expires_wall_us - (int64_t)s->now_wall_us) / 1000000);
    json_close(&s->out);
    buffer_append_char(&s->out, '\n');
    return true;
}

static int show_map(const char *dir, struct shower *s)
{
    const char *reason = "";
    struct store *store;

    if (store_open(&store, dir, true, &reason) != OUTCOME_OK) {
        fprintf(stderr, "hotfleet: dns show: %s\n", reason);
        return EXIT_USAGE;
    }
    s->now_wall_us = clock_wall_us();
    store_dns_each(store, on_name, s);
    store_close(store);
    int code = fleets_print(s->out.len ? s->out.data : "", s->out.len);
    return code == EXIT_OK && s->name && s->out.len == 0 ? EXIT_NO : code;
}

/* The directory that a running fleet keeps its map in: its socket is there. */
static bool find_state(long pid, char dir[REGION_PATH_MAX])
{
    struct region region;

    if (!fleets_open(pid, &region))
        return false;
    bool found = region_admin_path(&region, dir);
    region_close(&region);
    char *slash = found ? strrchr(dir, '/') : NULL;
    if (slash)
        *slash = '\0';
    else
        fprintf(stderr, "hotfleet: dns show: the fleet has not opened its map yet; try again\n");
    return slash != NULL;
}

static int show(const struct arguments *a)
{
    struct shower s = {0};
    struct buffer text = {0};
    struct url url;
    const char *reason = "";
    char dir[REGION_PATH_MAX];
    int code = EXIT_USAGE;

    if (a->host && prewarm_host_parse(a->host, strlen(a->host), &text, &url, &reason) != OUTCOME_OK) {
        fprintf(stderr, "hotfleet: dns show: \"%s\": %s\n", a->host, reason);
    } else if (a->state || find_state(a->pid, dir)) {
        if (a->host) {
            s.name = url.text + url.host_offset;
            s.name_len = url.host_len;
        }
        code = show_map(a->state ? a->state : dir, &s);
        if (code == EXIT_NO)
            fprintf(stderr, "hotfleet: dns show: the map does not know \"%s\"\n", a->host);
    }
    buffer_fini(&text);
    buffer_fini(&s.out);
    return code;
}

static int refresh(const struct arguments *a)
{
    struct buffer target = {0};

    buffer_append_str(&target, "/dns/refresh");
    ask_put_query(&target, "host", a->host);
    buffer_append_char(&target, '\0');
    int code = ask_fleet_patiently("dns refresh", a->pid, "POST", target.data, NULL, 0, ASK_LONG_PATIENCE_S);
    buffer_fini(&target);
    return code;
}

static bool read_arguments(int argc, char **argv, bool is_show, struct arguments *out)
{
    ask_take_pid(&argc, argv, &out->pid);
    for (int i = 2; i < argc; i++) {
        if (is_show && strncmp(argv[i], "--state=", 8) == 0) {
            out->state = argv[i] + 8;
        } else if (is_show && strcmp(argv[i], "--state") == 0 && i + 1 < argc) {
            out->state = argv[++i];
        } else if (*argv[i] == '-' || out->host) {
            fprintf(stderr, "hotfleet: dns %s: \"%s\" is not understood; see hotfleet dns --help\n", argv[1], argv[i]);
            return false;
        } else {
            out->host = argv[i];
        }
    }
    return true;
}

int dns_main(int argc, char **argv)
{
    struct arguments arguments = {0};

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return fleets_print(help, sizeof help - 1);
    bool is_show = argc > 1 && strcmp(argv[1], "show") == 0;
    if (argc < 2 || (!is_show && strcmp(argv[1], "refresh") != 0)) {
        if (argc < 2)
            fputs(help, stderr);
        else
            fprintf(stderr, "hotfleet: dns: there is no verb \"%s\"; see hotfleet dns --help\n", argv[1]);
        return EXIT_USAGE;
    }
    if (!read_arguments(argc, argv, is_show, &arguments))
        return EXIT_USAGE;
    return is_show ? show(&arguments) : refresh(&arguments);
}
