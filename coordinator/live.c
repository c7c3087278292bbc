/* Setting, reading and reloading options of a running fleet. */
#include "coordinator/live.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define STATUS_OK  200
#define STATUS_BAD 400

struct live {
    struct region *region;
    struct fleet *fleet;
    struct options *options;
    int argc;
    char **argv;
    void (*on_change)(void *user);
    void *user;
};

/* Workers look at the counter at each turn; those that sleep begin one. */
void live_publish(struct live *l)
{
    live_write(&l->region->header->live, l->options);
    for (unsigned w = 0; w < fleet_workers(l->fleet); w++)
        fleet_worker(l->fleet, w)->to_wake = fleet_worker(l->fleet, w)->pid != 0;
    fleet_wake(l->fleet);
    l->on_change(l->user);
}

static void put_value(const struct options *o, const struct option_row *row, struct buffer *out)
{
    options_format(o, row, out);
    /* What an automatic size came to. */
    if (row->type == OPTION_COUNT && o->auto_bound)
        buffer_printf(out, " (%lld, bound by %s)", (long long)options_number(o, row), o->auto_bound);
}

/* "idle_timeout: 60s -> 5s" */
static void put_change(const struct options *before, const struct options *after, const struct option_row *row,
                       struct buffer *out)
{
    buffer_printf(out, "%s: ", row->name);
    put_value(before, row, out);
    buffer_append_str(out, " -> ");
    put_value(after, row, out);
}

static void answer(struct admin_request *request, int status, struct buffer *text)
{
    admin_answer(request, status, ADMIN_TEXT, text->data ? text->data : "", text->len);
    buffer_fini(text);
}

static void refuse(struct admin_request *request, const struct options_error *error)
{
    struct buffer text = {0};

    buffer_printf(&text, "%s\nhotfleet: nothing was changed\n", error->message);
    answer(request, STATUS_BAD, &text);
}

/* --- set --- */

static void on_set(void *user, struct admin_request *request)
{
    struct live *l = user;
    struct span body = admin_body(request);
    bool *named = calloc(option_rows_count, sizeof *named);
    struct options before;
    struct options_error error;
    struct buffer text = {0};

    if (!named)
        die("out of memory: no room for a change of options");
    options_copy(&before, l->options);
    if (options_set_lines(l->options, body.data, body.len, named, &error)) {
        for (size_t i = 0; i < option_rows_count; i++) {
            if (!named[i])
                continue;
            size_t at = text.len;
            put_change(&before, l->options, &option_rows[i], &text);
            log_event(LOG_INFO, "option-set", "%.*s", (int)(text.len - at), text.data + at);
            buffer_append_char(&text, '\n');
        }
        live_publish(l);
        answer(request, STATUS_OK, &text);
    } else {
        refuse(request, &error);
    }
    options_fini(&before);
    free(named);
}

/* --- get --- */

static void on_get(void *user, struct admin_request *request)
{
    struct live *l = user;
    const char *key = admin_query(request, "key");
    const struct option_row *only = NULL;
    struct options_error error;
    struct buffer text = {0};

    if (key && !(only = options_row(key, strlen(key), &error))) {
        buffer_printf(&text, "%s\n", error.message);
        answer(request, STATUS_BAD, &text);
        return;
    }
    for (size_t i = 0; i < option_rows_count; i++) {
        if (!only || only == &option_rows[i])
            options_print_row(l->options, &option_rows[i], &text);
    }
    answer(request, STATUS_OK, &text);
}

/* --- reload --- */

/* What a reload did: texts, each empty when there is nothing to tell. */
struct reloaded {
    struct buffer changed; /* "idle_timeout: 60s -> 5s" lines */
    struct buffer restart; /* names, "workers, bind_ip" */
};

static bool differs(const struct options *a, const struct options *b, const struct option_row *row)
{
    struct buffer texts[2] = {{0}, {0}};

    options_format(a, row, &texts[0]);
    options_format(b, row, &texts[1]);
    bool same = texts[0].len == texts[1].len &&
                memcmp(texts[0].data ? texts[0].data : "", texts[1].data ? texts[1].data : "", texts[0].len) == 0;
    buffer_fini(&texts[0]);
    buffer_fini(&texts[1]);
    return !same;
}

static void tell_differences(const struct live *l, const struct options *before, const struct options *loaded,
                             struct reloaded *out)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (differs(before, l->options, row)) {
            put_change(before, l->options, row, &out->changed);
            buffer_append_char(&out->changed, '\n');
        }
        if (differs(l->options, loaded, row))
            buffer_printf(&out->restart, "%s%s", out->restart.len ? ", " : "", row->name);
    }
}

static bool reload(struct live *l, struct reloaded *out, struct options_error *error_out)
{
    struct options loaded = {0};
    struct options before;
    char **rest = NULL;
    size_t rest_count;

    *out = (struct reloaded){{0}, {0}};
    bool good = options_load(&loaded, l->argc, l->argv, &rest, &rest_count, error_out);
    free(rest);
    options_copy(&before, l->options);
    good = good && options_take_live(l->options, &loaded, error_out);
    if (good) {
        tell_differences(l, &before, &loaded, out);
        live_publish(l);
    }
    options_fini(&before);
    options_fini(&loaded);
    return good;
}

static void reloaded_fini(struct reloaded *r)
{
    buffer_fini(&r->changed);
    buffer_fini(&r->restart);
}

static void on_reload(void *user, struct admin_request *request)
{
    struct options_error error;
    struct reloaded told;
    struct buffer text = {0};

    if (!reload(user, &told, &error)) {
        refuse(request, &error);
        return;
    }
    buffer_append(&text, told.changed.data ? told.changed.data : "", told.changed.len);
    if (told.restart.len)
        buffer_printf(&text, "takes effect at the next start: %.*s\n", (int)told.restart.len, told.restart.data);
    if (!text.len)
        buffer_append_str(&text, "nothing has changed\n");
    reloaded_fini(&told);
    answer(request, STATUS_OK, &text);
}

void live_reload(struct live *l)
{
    struct options_error error;
    struct reloaded told;

    if (!reload(l, &told, &error)) {
        log_event(LOG_ERROR, "reload-failed", "error=\"%s\"; all options stay as they were", error.message);
        return;
    }
    for (size_t at = 0; at < told.changed.len;) {
        size_t len = strcspn(told.changed.data + at, "\n");
        log_event(LOG_INFO, "option-set", "%.*s", (int)len, told.changed.data + at);
        at += len + 1;
    }
    if (told.restart.len)
        log_event(LOG_WARN, "needs-restart", "options=\"%.*s\"; changed, and in force at the next start",
                  (int)told.restart.len, told.restart.data);
    log_event(LOG_INFO, "reloaded", "all layers were read");
    reloaded_fini(&told);
}

static const struct admin_action actions[] = {
    {"POST", "/set", on_set},
    {"GET", "/get", on_get},
    {"POST", "/reload", on_reload},
};

struct live *live_open(struct admin *admin, struct region *region, struct fleet *fleet, struct options *options,
                       int argc, char **argv, void (*on_change)(void *user), void *user)
{
    struct live *l = calloc(1, sizeof *l);

    if (!l)
        die("out of memory: no room for changes of options");
    *l = (struct live){region, fleet, options, argc, argv, on_change, user};
    live_write(&region->header->live, options);
    admin_add(admin, actions, sizeof actions / sizeof actions[0], l);
    return l;
}

void live_close(struct live *l)
{
    free(l);
}
