/* One flush order to each worker, and one answer when all have told. */
#include "coordinator/flush.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

#define STATUS_OK 200

struct flush {
    struct admin *admin;
    struct chores *chores;
    struct fleet *fleet;
};

/* One request under way. */
struct flushing {
    struct admin_request *request;
    unsigned waiting, failed;
    uint32_t closed;
};

static void answer(struct flushing *f)
{
    char text[96];
    int len = snprintf(text, sizeof text, "{\"closed\":%u,\"workers_failed\":%u}\n", f->closed, f->failed);

    admin_answer(f->request, STATUS_OK, ADMIN_JSON, text, (size_t)len);
    free(f);
}

static void on_done(void *user, const struct chore_answer *a)
{
    struct flushing *f = user;

    f->closed += a->count;
    f->failed += a->outcome != OUTCOME_OK;
    if (--f->waiting == 0)
        answer(f);
}

static void on_flush(void *user, struct admin_request *request)
{
    struct flush *flush = user;
    struct flushing *f = calloc(1, sizeof *f);

    if (!f)
        die("out of memory: no room for a flush");
    f->request = request;
    struct chore_order order = {
        .kind = TASK_FLUSH,
        .ip = IP_NONE,
        .flags = admin_query(request, "idle") ? TASK_IDLE_ONLY : 0,
        .on_done = on_done,
        .user = f,
    };
    for (unsigned w = 0; w < fleet_workers(flush->fleet); w++) {
        /* One that does not run has nothing to close; one whose ring is full is told of as failed. */
        if (fleet_worker(flush->fleet, w)->pid == 0)
            continue;
        if (chores_give(flush->chores, w, &order))
            f->waiting++;
        else
            f->failed++;
    }
    if (f->waiting == 0)
        answer(f);
}

static const struct admin_action actions[] = {{"POST", "/flush", on_flush}};

struct flush *flush_new(struct admin *admin, struct chores *chores, struct fleet *fleet)
{
    struct flush *f = calloc(1, sizeof *f);

    if (!f)
        die("out of memory: no room for a flush");
    *f = (struct flush){admin, chores, fleet};
    admin_add(admin, actions, sizeof actions / sizeof actions[0], f);
    return f;
}

void flush_free(struct flush *f)
{
    free(f);
}
