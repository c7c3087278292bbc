/* The disk thread: two queues, a condition for the one side and an eventfd for the other. */
#include "coordinator/disk.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"

STAILQ_HEAD(work_queue, disk_work);

struct disk {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows, up to `idle` */
    pthread_cond_t given, idle;
    struct work_queue waiting, finished;
    bool running, ends;
    int told_fd; /* eventfd: something is in `finished` */
    struct event *told;
};

static void *work(void *arg)
{
    struct disk *d = arg;
    uint64_t one = 1;

    pthread_mutex_lock(&d->lock);
    while (!d->ends || !STAILQ_EMPTY(&d->waiting)) {
        struct disk_work *next = STAILQ_FIRST(&d->waiting);
        if (!next) {
            pthread_cond_wait(&d->given, &d->lock);
            continue;
        }
        STAILQ_REMOVE_HEAD(&d->waiting, link);
        d->running = true;
        pthread_mutex_unlock(&d->lock);
        next->run(next);
        pthread_mutex_lock(&d->lock);
        d->running = false;
        bool first = STAILQ_EMPTY(&d->finished);
        STAILQ_INSERT_TAIL(&d->finished, next, link);
        if (first && write(d->told_fd, &one, sizeof one) < 0)
            log_event(LOG_ERROR, "disk-thread", "error=\"the loop could not be told\"");
        pthread_cond_signal(&d->idle);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void tell(struct disk *d)
{
    struct work_queue finished = STAILQ_HEAD_INITIALIZER(finished);
    struct disk_work *next;

    pthread_mutex_lock(&d->lock);
    STAILQ_CONCAT(&finished, &d->finished);
    pthread_mutex_unlock(&d->lock);
    while ((next = STAILQ_FIRST(&finished))) {
        STAILQ_REMOVE_HEAD(&finished, link);
        next->done(next);
    }
}

static void on_told(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;
    ssize_t n = read((int)fd, &count, sizeof count);

    (void)n;
    (void)what;
    tell(arg);
}

struct disk *disk_open(struct event_base *base, const char *name)
{
    struct disk *d = calloc(1, sizeof *d);
    sigset_t all;
    sigset_t before;

    if (!d)
        die("out of memory: no room for the disk thread");
    STAILQ_INIT(&d->waiting);
    STAILQ_INIT(&d->finished);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->given, NULL);
    pthread_cond_init(&d->idle, NULL);
    d->told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->told = d->told_fd >= 0 ? event_new(base, d->told_fd, EV_READ | EV_PERSIST, on_told, d) : NULL;
    if (!d->told || event_add(d->told, NULL))
        die("no descriptor left for the disk thread; raise the limit (ulimit -n)");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&d->thread, NULL, work, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        die("the disk thread could not be started: %s; raise the limit on processes (ulimit -u)", strerror(rc));
    pthread_setname_np(d->thread, name);
    return d;
}

void disk_give(struct disk *d, struct disk_work *next)
{
    pthread_mutex_lock(&d->lock);
    STAILQ_INSERT_TAIL(&d->waiting, next, link);
    pthread_cond_signal(&d->given);
    pthread_mutex_unlock(&d->lock);
}

/* False when nothing was left to wait for. */
static bool wait_once(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    while (d->running || !STAILQ_EMPTY(&d->waiting))
        pthread_cond_wait(&d->idle, &d->lock);
    bool any = !STAILQ_EMPTY(&d->finished);
    pthread_mutex_unlock(&d->lock);
    tell(d);
    return any;
}

void disk_wait(struct disk *d)
{
    /* Whoever is told may give more. */
    while (wait_once(d))
        ;
}

void disk_close(struct disk *d)
{
    if (!d)
        return;
    disk_wait(d);
    pthread_mutex_lock(&d->lock);
    d->ends = true;
    pthread_cond_signal(&d->given);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    event_free(d->told);
    close(d->told_fd);
    pthread_cond_destroy(&d->given);
    pthread_cond_destroy(&d->idle);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
