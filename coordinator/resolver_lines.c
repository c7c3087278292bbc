/* c-ares on the coordinator's loop: its channels, their sockets and their timeouts. */
#include <stdlib.h>

#include "coordinator/resolver_core.h"

static void on_socket(evutil_socket_t fd, short what, void *user)
{
    struct watcher *w = user;
    struct line *line = w->line;

    /* The watcher may be gone when this returns. */
    ares_process_fd(line->channel, what & EV_READ ? fd : ARES_SOCKET_BAD, what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    /* A free line may serve the next question. */
    if (line != &line->resolver->udp && line->questions == 0)
        resolver_wake(line->resolver);
}

static void unwatch(struct resolver *r, int fd)
{
    for (struct watcher **at = &r->watchers; *at; at = &(*at)->next) {
        struct watcher *w = *at;
        if (w->fd != fd)
            continue;
        *at = w->next;
        event_free(w->event);
        free(w);
        return;
    }
}

/* c-ares tells which of its sockets to watch, and for what; nothing means that it closes the socket. */
static void on_socket_state(void *user, ares_socket_t fd, int readable, int writable)
{
    struct line *line = user;
    struct resolver *r = line->resolver;
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0) | EV_PERSIST);

    unwatch(r, fd);
    if (!readable && !writable)
        return;
    struct watcher *w = resolver_must_have(calloc(1, sizeof *w));
    w->line = line;
    w->fd = fd;
    w->event = resolver_must_have(event_new(r->base, fd, what, on_socket, w));
    event_add(w->event, NULL);
    w->next = r->watchers;
    r->watchers = w;
}

enum outcome resolver_lines_open(struct resolver *r, const char **reason_out)
{
    enum outcome outcome;

    r->udp.resolver = r;
    outcome = resolver_channel_open(&r->udp.channel, r->options, false, on_socket_state, &r->udp, reason_out);
    for (int i = 0; i < RESOLVER_TCP_LINES && outcome == OUTCOME_OK; i++) {
        r->tcp[i].resolver = r;
        outcome = resolver_channel_open(&r->tcp[i].channel, r->options, true, on_socket_state, &r->tcp[i], reason_out);
    }
    if (outcome != OUTCOME_OK)
        resolver_lines_close(r);
    return outcome;
}

static void line_close(struct line *line)
{
    if (line->channel)
        resolver_channel_close(line->channel);
    line->channel = NULL;
}

void resolver_lines_close(struct resolver *r)
{
    line_close(&r->udp);
    for (int i = 0; i < RESOLVER_TCP_LINES; i++)
        line_close(&r->tcp[i]);
}

void resolver_lines_tick(struct resolver *r)
{
    if (r->udp.questions > 0)
        ares_process_fd(r->udp.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    for (int i = 0; i < RESOLVER_TCP_LINES; i++) {
        if (r->tcp[i].questions > 0)
            ares_process_fd(r->tcp[i].channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
}
