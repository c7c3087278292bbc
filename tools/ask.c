/* Finding the fleet, asking it, and telling what it said. */
#include "tools/ask.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tools/admin_client.h"
#include "tools/fleets.h"

#define STATUS_OK 200
#define STATUS_NO 503

void ask_take_pid(int *argc_io, char **argv, long *pid_out)
{
    const char *last = *argc_io > 1 ? argv[*argc_io - 1] : "";

    *pid_out = 0;
    if (!*last || strspn(last, "0123456789") != strlen(last))
        return;
    *pid_out = strtol(last, NULL, 10);
    --*argc_io;
}

void ask_put_query(struct buffer *target, const char *key, const char *value)
{
    if (!value)
        return;
    bool first = !target->len || !memchr(target->data, '?', target->len);
    buffer_printf(target, "%c%s=", first ? '?' : '&', key);
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (isalnum(c) || strchr("-._~", c))
            buffer_append_char(target, (char)c);
        else
            buffer_printf(target, "%%%02X", c);
    }
}

static int tell(const char *command, const struct admin_answer *answer)
{
    const char *text = answer->text.data + answer->body;

    if (answer->status == STATUS_OK || answer->status == STATUS_NO) {
        int code = fleets_print(text, answer->length);
        return code == EXIT_OK && answer->status == STATUS_NO ? EXIT_NO : code;
    }
    fprintf(stderr, "hotfleet: %s: %.*s%s", command, (int)answer->length, text,
            answer->length && text[answer->length - 1] == '\n' ? "" : "\n");
    return EXIT_USAGE;
}

static int ask(const char *command, const struct region *region, const char *method, const char *target,
               const char *body, size_t len, unsigned patience_s)
{
    char path[REGION_PATH_MAX];
    struct admin_answer answer;

    if (!region_admin_path(region, path)) {
        fprintf(stderr, "hotfleet: %s: the fleet has not opened its socket yet; try again\n", command);
        return EXIT_USAGE;
    }
    int code = EXIT_USAGE;
    enum outcome outcome = admin_ask(path, method, target, body, len, patience_s, &answer);
    if (outcome == OUTCOME_OK)
        code = tell(command, &answer);
    else
        fprintf(stderr, "hotfleet: %s: \"%s\": %s\n", command, path,
                outcome == OUTCOME_SYSTEM ? strerror(errno) : outcome_row(outcome)->text);
    admin_answer_fini(&answer);
    return code;
}

int ask_fleet(const char *command, long pid, const char *method, const char *target, const char *body, size_t len)
{
    return ask_fleet_patiently(command, pid, method, target, body, len, ASK_PATIENCE_S);
}

int ask_fleet_patiently(const char *command, long pid, const char *method, const char *target, const char *body,
                        size_t len, unsigned patience_s)
{
    struct region region;

    if (!fleets_open(pid, &region))
        return EXIT_USAGE;
    int code = ask(command, &region, method, target, body, len, patience_s);
    region_close(&region);
    return code;
}
