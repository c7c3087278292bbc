/* The subcommand `profiles`: the browser profiles that there are, as a table, as JSON, or one in full. */
#include "tools/profiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/options.h"
#include "common/profile.h"
#include "tools/profiles_check.h"
#include "tools/profiles_import.h"

static const char help[] =
    "usage: hotfleet profiles list [--json] [--profiles DIR]\n"
    "       hotfleet profiles show NAME [--profiles DIR]\n"
    "       hotfleet profiles check [--json] [NAME…] [--profiles DIR]\n"
    "       hotfleet profiles import FILE [--http2 FILE] [--name NAME]\n\n"
    "list prints a line for each profile; --json prints one JSON object a line instead.\n"
    "show prints one profile with all that it says, as JSON.\n"
    "check makes a connection to a listener of its own under each profile, and prints what it sent beside\n"
    "the browser's: exact, partial (this TLS library lacks a key exchange) or plain. Exit code 1: a profile\n"
    "is not what this TLS library can make of it.\n"
    "import prints a profile for a folder DIR, made of a ClientHello that was captured: FILE is a TLS record,\n"
    "hexadecimal text, or a pcap or pcapng file. --http2 takes the bytes that the browser sent inside TLS, raw\n"
    "or in hexadecimal: its HTTP/2 preface and, if it is there, its first request.\n";

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

/* Takes --json out of the arguments, since it is no option of a run. */
static bool take_json(int *argc, char **argv)
{
    bool found = false;
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            found = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return found;
}

static int act(const char *action, const struct options *o, char **names, size_t count, bool json)
{
    if (strcmp(action, "list") == 0 && count == 0)
        return list(json);
    if (strcmp(action, "show") == 0 && count == 1)
        return show(names[0]);
    if (strcmp(action, "check") == 0)
        return profiles_check(o->profiles, names, count, json);
    fputs(help, stderr);
    return EXIT_USAGE;
}

/* Options are read as by a run, since they name the folder of the user's own profiles. */
static int main_with_options(int argc, char **argv)
{
    const char *action = argv[0];
    struct options options = {0};
    struct options_error error;
    char **rest = NULL;
    size_t rest_count = 0;
    int code = EXIT_USAGE;

    bool json = take_json(&argc, argv);
    if (!options_load(&options, argc, argv, &rest, &rest_count, &error))
        fprintf(stderr, "hotfleet: %s\n", error.message);
    else if (options.help)
        code = fputs(help, stdout) < 0 ? EXIT_OUTPUT : EXIT_OK;
    else
        code = act(action, &options, rest, rest_count, json);
    free(rest);
    options_fini(&options);
    return code;
}

int profiles_main(int argc, char **argv)
{
    const char *action = argc > 1 ? argv[1] : "";

    if (strcmp(action, "list") == 0 || strcmp(action, "show") == 0 || strcmp(action, "check") == 0)
        return main_with_options(argc - 1, argv + 1);
    if (strcmp(action, "import") == 0)
        return profiles_import(argc - 1, argv + 1);
    bool asked = strcmp(action, "--help") == 0 || strcmp(action, "-h") == 0;
    fputs(help, asked ? stdout : stderr);
    return asked ? EXIT_OK : EXIT_USAGE;
}
