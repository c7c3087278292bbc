/* Checking what workers tell, and writing it in small transactions: soon, since another worker may be about to ask. */
#include "coordinator/sessions.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/profile_set.h"
#include "common/url.h"
#include "shm/store_session.h"

#define COMMIT_AFTER_US   20000
#define PENDING_MAX       64 /* a transaction holds its pages in memory */
#define PURGE_INTERVAL_US 5000000
/* The largest number there can be is gone through once a minute. */
#define PURGE_LOOKS (STORE_SESSIONS_MAX / 12 + 1)

struct sessions {
    struct store *store;
    struct region *region;
    struct timers *timers;
    struct timer commit, purge;
    unsigned pending;
    bool purging; /* the timer is set */
};

static void commit(struct sessions *s)
{
    store_commit(s->store);
    s->pending = 0;
    timer_stop(&s->commit);
}

static void on_commit(struct timer *timer, void *user)
{
    (void)user;
    commit((struct sessions *)(void *)((char *)timer - offsetof(struct sessions, commit)));
}

/* A map without sessions is not looked at. */
static void plan_purge(struct sessions *s)
{
    s->purging = store_session_count(s->store) > 0;
    if (s->purging)
        timer_set(s->timers, &s->purge, clock_us() + PURGE_INTERVAL_US);
}

static void on_purge(struct timer *timer, void *user)
{
    struct sessions *s = (struct sessions *)(void *)((char *)timer - offsetof(struct sessions, purge));

    (void)user;
    (void)store_session_purge(s->store, clock_wall_us(), PURGE_LOOKS);
    commit(s);
    plan_purge(s);
}

struct sessions *sessions_open(struct store *store, struct region *region, struct timers *timers, const char *dir)
{
    char real[PATH_MAX];
    struct sessions *s = calloc(1, sizeof *s);

    if (!s)
        die("out of memory: no room for the sessions");
    s->store = store;
    s->region = region;
    s->timers = timers;
    timer_init(&s->commit, on_commit);
    timer_init(&s->purge, on_purge);
    if (!realpath(dir, real) || !region_set_state_dir(region, real))
        log_event(LOG_WARN, "sessions-not-shared", "dir=\"%s\" reason=\"its path is too long\"", dir);
    plan_purge(s);
    return s;
}

void sessions_close(struct sessions *s)
{
    if (!s)
        return;
    timer_remove(s->timers, &s->commit);
    timer_remove(s->timers, &s->purge);
    free(s);
}

bool sessions_on_message(struct sessions *s, const struct result_message *m, const char *bytes)
{
    struct store_session session;
    char key[STORE_SESSION_KEY_MAX];

    const struct profile_set *profile = m->status <= UINT8_MAX ? profile_set_at((uint8_t)m->status) : NULL;
    if (m->host >= s->region->layout.hosts_max || (m->status && !profile) ||
        !store_session_decode(bytes, m->len, &session))
        return false;
    const struct shm_host *host = &s->region->table.hosts[m->host];
    /* The slot may have been given to another host meanwhile: a session for a name that is not its own would be taken
     * for proof of that name. */
    if (atomic_load_explicit(&host->generation, memory_order_acquire) != m->host_generation)
        return true;
    size_t key_len = store_session_key(key, host->name, host->name_len, host->port, profile ? profile->name : "");
    if (host->scheme != URL_HTTPS || key_len == 0)
        return false;
    store_session_put(s->store, key, key_len, &session);
    if (!s->purging)
        plan_purge(s);
    if (++s->pending >= PENDING_MAX)
        commit(s);
    else if (s->commit.expires_us == TIMER_NEVER)
        timer_set(s->timers, &s->commit, clock_us() + COMMIT_AFTER_US);
    return true;
}

void sessions_on_death(struct sessions *s)
{
    store_drop_dead_readers(s->store);
}
