/* Browsers, made at first use, and the draw of one for a connection. */
#include "worker/browser.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/hello.h"
#include "worker/tls.h"
#include "worker/worker.h"

static struct browser *make(struct worker *w, unsigned member)
{
    struct browser *b = calloc(1, sizeof *b);

    if (!b)
        die("out of memory: no room for a browser's header fields");
    b->member = UINT64_C(1) << member;
    b->profile = profile_at(member);
    b->defaults = &w->defaults;
    if (b->profile) {
        request_defaults_for(&b->own, &w->defaults, &w->options, b->profile);
        b->defaults = &b->own;
        b->hello = tls_hello_new(w, b->profile);
    }
    return b;
}

const struct browser *browser_draw(struct worker *w, uint64_t members, struct draw *draw)
{
    unsigned member = profile_set_draw(members, draw);

    if (!w->browsers[member])
        w->browsers[member] = make(w, member);
    return w->browsers[member];
}

void browsers_open(struct worker *w)
{
    const char *name = w->options.profile;
    const struct profile_set *set = profile_set_at(profile_set_find(name, strlen(name)));

    if (!set)
        die_usage("profile \"%s\" is none that there is", name);
    w->profiles = set->members;
    w->seed = (uint64_t)w->options.seed;
    if (!w->seed && getrandom(&w->seed, sizeof w->seed, GRND_NONBLOCK) != sizeof w->seed)
        w->seed = w->now_us ^ (uint64_t)getpid() << 40;
    if (w->profiles != UINT64_C(1) << PROFILE_NONE)
        tls_open_hellos(w);
}

void browsers_close(struct worker *w)
{
    for (unsigned i = 0; i < PROFILE_MEMBERS_MAX; i++) {
        struct browser *b = w->browsers[i];
        if (!b)
            continue;
        hello_context_free(b->hello);
        if (b->profile)
            request_defaults_fini(&b->own);
        free(b);
        w->browsers[i] = NULL;
    }
    tls_close_hellos(w);
}
