/* The subcommand `profiles`: the browser profiles that are compiled in, as a table, as JSON, or one in full. */
#include "tools/profiles.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/profile.h"
#include "tools/profiles_check.h"

static const char help[] =
    "usage: hotfleet profiles list [--json]\n"
    "       hotfleet profiles show NAME\n"
    "       hotfleet profiles check [--json] [NAME…]\n\n"
    "list prints a line for each profile; --json prints one JSON object a line instead.\n"
    "show prints one profile with all that it says, as JSON.\n"
    "check makes a connection to a listener of its own under each profile, and prints what it sent beside\n"
    "the browser's: exact, partial (this TLS library lacks a key exchange) or plain. Exit code 1: a profile\n"
    "is not what this TLS library can make of it.\n";

#define member(b, literal, text) json_member_string(b, literal, (text), strlen(text))

static void put_summary(struct buffer *b, const struct profile *p)
{
    member(b, "name", p->name);
    member(b, "browser", p->browser);
    member(b, "version", p->version);
    member(b, "platform", p->platform);
    member(b, "description", p->description);
    member(b, "user_agent", p->user_agent);
    json_member_bool(b, "recommended", p->recommended);
    json_member_bool(b, "safe", p->safe);
}

static void put_headers(struct buffer *b, const struct profile *p)
{
    json_key(b, "headers");
    buffer_append_char(b, '[');
    for (size_t i = 0; i < p->headers_count; i++) {
        struct buffer line = {0};
        buffer_printf(&line, "%s: %s", p->headers[i].name, p->headers[i].value);
        if (i)
            buffer_append_char(b, ',');
        json_put_string(b, line.data, line.len);
        buffer_fini(&line);
    }
    buffer_append_char(b, ']');
}

static void put_all(struct buffer *b, const struct profile *p)
{
    char http2[256];

    profile_http2_text(&p->http2, http2, sizeof http2);
    put_summary(b, p);
    put_headers(b, p);
    member(b, "http2", http2);
    member(b, "hello", p->hello->name);
    json_member_bool(b, "drawn", p->draw != PROFILE_FIXED);
    json_member_bool(b, "permuted", p->hello->permute);
    if (p->draw == PROFILE_FIXED) {
        member(b, "ja3", p->hello->ja3);
        member(b, "ja3n", p->hello->ja3n);
        member(b, "ja4", p->hello->ja4);
    }
}

static void put_row(struct buffer *b, const struct profile *p)
{
    buffer_printf(b, "%-22s %-10s %-7s %-8s %-11s %-4s %s\n", p->name, p->browser, *p->version ? p->version : "-",
                  p->platform, p->recommended ? "recommended" : "-", p->safe ? "safe" : "-", p->description);
}

static int finish(struct buffer *b)
{
    bool good = fwrite(b->data, 1, b->len, stdout) == b->len && fflush(stdout) == 0;

    buffer_fini(b);
    if (good)
        return EXIT_OK;
    log_event(LOG_ERROR, "output-failed", "standard output could not be written");
    return EXIT_OUTPUT;
}

static int list(bool json)
{
    struct buffer out = {0};

    for (size_t i = 0; i < profile_count(); i++) {
        if (!json) {
            put_row(&out, profile_at(i));
            continue;
        }
        json_open(&out);
        put_summary(&out, profile_at(i));
        json_close(&out);
        buffer_append_char(&out, '\n');
    }
    return finish(&out);
}

static int show(const char *name)
{
    const struct profile *p = profile_find(name);
    struct buffer out = {0};

    if (!p) {
        fprintf(stderr, "hotfleet: there is no profile \"%s\"; see hotfleet profiles list\n", name);
        return EXIT_USAGE;
    }
    json_open(&out);
    put_all(&out, p);
    json_close(&out);
    buffer_append_char(&out, '\n');
    return finish(&out);
}

int profiles_main(int argc, char **argv)
{
    const char *action = argc > 1 ? argv[1] : "";

    if (strcmp(action, "list") == 0 && argc == 2)
        return list(false);
    if (strcmp(action, "list") == 0 && argc == 3 && strcmp(argv[2], "--json") == 0)
        return list(true);
    if (strcmp(action, "show") == 0 && argc == 3)
        return show(argv[2]);
    if (strcmp(action, "check") == 0) {
        bool json = argc > 2 && strcmp(argv[2], "--json") == 0;
        return profiles_check(argv + 2 + json, (size_t)(argc - 2 - json), json);
    }
    bool asked = strcmp(action, "--help") == 0 || strcmp(action, "-h") == 0;
    fputs(help, asked ? stdout : stderr);
    return asked ? EXIT_OK : EXIT_USAGE;
}
