/* Starting, waking, reaping and replacing workers. */
#include "coordinator/fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "shm/bound_fork.h"

/* Descriptors of a worker, beside 0, 1, 2; worker/main.c knows the same numbers, but for that of the lock, which it has
 * no use for. */
enum { WORKER_FD_REGION = 3, WORKER_FD_WAKE, WORKER_FD_COORDINATOR, WORKER_FD_LOCK, WORKER_FD_END };

#define RESTART_MIN_US 20000
#define RESTART_MAX_US 5000000
#define LIFE_LONG_US   60000000 /* whoever dies after this begins a new row of deaths */
#define DEATHS_MAX     10       /* in a row: about ten seconds of trying */

struct fleet {
    struct region *region;
    fleet_on_death on_death;
    fleet_on_wake on_wake;
    void *user;
    int own_wake_fd;
    int lock_fd; /* -1: none */
    struct event *wake, *child;
    bool unfit; /* a worker found that it can't work with these options */
    char path[PATH_MAX];
    unsigned count;
    struct fleet_worker workers[REGION_WORKERS_MAX];
};

/* Looks beside the running executable first, so that the build folder works as the installed tree does. */
static bool find_worker(char path[PATH_MAX])
{
    static const char *const beside[] = {"/hotfleet-worker", "/../worker/hotfleet-worker",
                                         "/../libexec/hotfleet/hotfleet-worker"};
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

    if (n <= 0)
        return false;
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        int len = snprintf(path, PATH_MAX, "%s%s", own, beside[i]);
        if (len > 0 && len < PATH_MAX && access(path, X_OK) == 0)
            return true;
    }
    snprintf(path, PATH_MAX, "%s", HOTFLEET_LIBEXECDIR "/hotfleet-worker");
    return access(path, X_OK) == 0;
}

static void on_own_wake(evutil_socket_t fd, short what, void *arg)
{
    struct fleet *f = arg;
    uint64_t count;

    (void)what;
    ssize_t n = read((int)fd, &count, sizeof count);
    (void)n;
    f->on_wake(f->user);
}

static void attach_rings(struct fleet *f, unsigned worker)
{
    const struct region_layout *l = &f->region->layout;
    struct fleet_worker *w = &f->workers[worker];

    ring_init(region_task_ring(f->region, worker), l->task_ring_capacity);
    ring_init(region_record_ring(f->region, worker), l->record_ring_capacity);
    ring_attach_producer(&w->tasks, region_task_ring(f->region, worker), l->task_ring_capacity);
    ring_attach_consumer(&w->records, region_record_ring(f->region, worker), l->record_ring_capacity);
}

static void bury(struct fleet *f, unsigned worker, int status)
{
    struct fleet_worker *w = &f->workers[worker];
    struct region_worker *shared = &f->region->header->worker[worker];

    log_event(LOG_WARN, "worker-died", "worker=%u pid=%d %s=%d tasks=%u", worker, (int)w->pid,
              WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
              w->given_count);
    f->unfit |= WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE;
    w->pid = 0;
    w->condemned = false;
    w->deaths_in_row = clock_us() - w->started_us > LIFE_LONG_US ? 1 : w->deaths_in_row + 1;
    uint64_t delay = (uint64_t)RESTART_MIN_US << (w->deaths_in_row < 9 ? w->deaths_in_row - 1 : 8);
    w->start_at_us = clock_us() + (delay < RESTART_MAX_US ? delay : RESTART_MAX_US);
    atomic_store(&shared->pid, 0);
    iptable_reclaim(&f->region->table, worker);
    stats_page_reset_gauges(region_page(f->region, worker));
    f->on_death(f->user, worker);
    attach_rings(f, worker);
    atomic_store(&shared->asleep, 0);
    atomic_store(&shared->wants_room, 0);
}

static void on_child(evutil_socket_t signal_number, short what, void *arg)
{
    struct fleet *f = arg;

    (void)signal_number;
    (void)what;
    for (unsigned i = 0; i < f->count; i++) {
        int status;
        if (f->workers[i].pid > 0 && waitpid(f->workers[i].pid, &status, WNOHANG) == f->workers[i].pid)
            bury(f, i, status);
    }
}

enum outcome fleet_open(struct fleet **fleet_out, struct event_base *base, struct region *region,
                        fleet_on_death on_death, fleet_on_wake on_wake, void *user, const char **reason_out)
{
    struct fleet *f = calloc(1, sizeof *f);

    if (!f)
        die("out of memory: no room for the fleet");
    f->region = region;
    f->on_death = on_death;
    f->on_wake = on_wake;
    f->user = user;
    f->count = region->layout.workers;
    f->lock_fd = -1;
    if (!find_worker(f->path)) {
        *reason_out = "the executable hotfleet-worker is neither beside hotfleet nor in " HOTFLEET_LIBEXECDIR
                      "; build or install it";
        free(f);
        return OUTCOME_SYSTEM;
    }
    f->own_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool failed = f->own_wake_fd < 0;
    for (unsigned i = 0; i < f->count; i++) {
        f->workers[i].wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        failed |= f->workers[i].wake_fd < 0;
        TAILQ_INIT(&f->workers[i].given);
        attach_rings(f, i);
    }
    if (failed) {
        *reason_out = "no descriptors left for the workers; raise the limit (ulimit -n)";
        free(f);
        return OUTCOME_SYSTEM;
    }
    f->wake = event_new(base, f->own_wake_fd, EV_READ | EV_PERSIST, on_own_wake, f);
    f->child = evsignal_new(base, SIGCHLD, on_child, f);
    if (!f->wake || !f->child || event_add(f->wake, NULL) || event_add(f->child, NULL))
        die("out of memory: no room for the fleet's events");
    *fleet_out = f;
    return OUTCOME_OK;
}

void fleet_share_lock(struct fleet *f, int fd)
{
    f->lock_fd = fd;
}

/* In the child, between fork and exec: only what POSIX calls async-signal-safe. */
__attribute__((noreturn)) static void become_worker(struct fleet *f, unsigned worker, const char *index)
{
    int fds[] = {f->region->fd, f->workers[worker].wake_fd, f->own_wake_fd, f->lock_fd};
    int count = f->lock_fd >= 0 ? 4 : 3;
    char *argv[] = {"hotfleet-worker", (char *)(uintptr_t)index, NULL};

    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    /* First above the places they are meant for, then down into them: no source is overwritten before its turn. */
    for (int i = 0; i < count; i++) {
        static const char text[] = "hotfleet: no descriptors left to start a worker; raise the limit (ulimit -n)\n";
        fds[i] = fcntl(fds[i], F_DUPFD, WORKER_FD_END);
        if (fds[i] < 0) {
            ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
            (void)n;
            _exit(EXIT_USAGE);
        }
    }
    for (int i = 0; i < count; i++)
        dup2(fds[i], WORKER_FD_REGION + i);
    close_range((unsigned)(WORKER_FD_REGION + count), ~0u, 0);
    execv(f->path, argv);
    _exit(127);
}

static void start(struct fleet *f, unsigned worker)
{
    struct fleet_worker *w = &f->workers[worker];
    char index[16];

    snprintf(index, sizeof index, "%u", worker);
    pid_t pid = bound_fork();
    if (pid == 0)
        become_worker(f, worker, index);
    if (pid < 0) {
        log_event(LOG_ERROR, "fork-failed", "worker=%u error=\"%s\"", worker, strerror(errno));
        w->start_at_us = clock_us() + RESTART_MAX_US;
        return;
    }
    w->pid = pid;
    w->started_us = clock_us();
    atomic_store(&f->region->header->worker[worker].pid, (uint32_t)pid);
    atomic_store(&f->region->header->worker[worker].started_us, clock_wall_us());
    log_event(LOG_INFO, "worker-started", "worker=%u pid=%d", worker, (int)pid);
}

uint64_t fleet_start_due(struct fleet *f, uint64_t now_us)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < f->count; i++) {
        struct fleet_worker *w = &f->workers[i];
        if (w->pid == 0 && w->start_at_us <= now_us)
            start(f, i);
        if (w->pid == 0 && w->start_at_us < next)
            next = w->start_at_us;
    }
    return next;
}

static void wake_one(struct fleet *f, unsigned worker)
{
    uint64_t one = 1;
    ssize_t n = write(f->workers[worker].wake_fd, &one, sizeof one);

    (void)n;
}

void fleet_close(struct fleet *f, unsigned grace_ms)
{
    if (!f)
        return;
    uint64_t kill_at = clock_us() + (uint64_t)grace_ms * 1000;
    bool killed = false;
    event_free(f->child);
    event_free(f->wake);
    /* Not by a signal: TERM and INT reach workers from outside too, when a whole group is signalled, and mean nothing
     * to them. */
    atomic_store(&f->region->header->draining, REGION_CLOSES);
    for (unsigned i = 0; i < f->count; i++)
        wake_one(f, i);
    for (unsigned i = 0; i < f->count; i++) {
        while (f->workers[i].pid > 0 && waitpid(f->workers[i].pid, NULL, WNOHANG) == 0) {
            for (unsigned j = i; !killed && clock_us() > kill_at && j < f->count; j++) {
                if (f->workers[j].pid > 0)
                    kill(f->workers[j].pid, SIGKILL);
            }
            killed = killed || clock_us() > kill_at;
            usleep(1000);
        }
        close(f->workers[i].wake_fd);
    }
    close(f->own_wake_fd);
    free(f);
}

unsigned fleet_workers(const struct fleet *f)
{
    return f->count;
}

unsigned fleet_running(const struct fleet *f)
{
    unsigned running = 0;

    for (unsigned i = 0; i < f->count; i++)
        running += f->workers[i].pid > 0;
    return running;
}

bool fleet_is_unfit(const struct fleet *f)
{
    return f->unfit;
}

bool fleet_is_hopeless(const struct fleet *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (f->workers[i].deaths_in_row < DEATHS_MAX)
            return false;
    }
    return true;
}

struct fleet_worker *fleet_worker(struct fleet *f, unsigned worker)
{
    return &f->workers[worker];
}

void fleet_wake(struct fleet *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (!f->workers[i].to_wake)
            continue;
        f->workers[i].to_wake = false;
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load(&f->region->header->worker[i].asleep) &&
            atomic_exchange(&f->region->header->worker[i].asleep, 0))
            wake_one(f, i);
    }
}

void fleet_nudge(struct fleet *f, unsigned worker)
{
    wake_one(f, worker);
}

void fleet_kill(struct fleet *f, unsigned worker, const char *why)
{
    if (f->workers[worker].pid <= 0 || f->workers[worker].condemned)
        return;
    f->workers[worker].condemned = true;
    log_event(LOG_ERROR, "worker-killed", "worker=%u pid=%d why=\"%s\"", worker, (int)f->workers[worker].pid, why);
    kill(f->workers[worker].pid, SIGKILL);
}
