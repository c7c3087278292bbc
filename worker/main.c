/* hotfleet-worker: attaches the region that the coordinator hands over, and turns its loop until it is told to close.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/conn.h"
#include "worker/fetch.h"
#include "worker/health.h"
#include "worker/pool.h"
#include "worker/session.h"
#include "worker/slots.h"
#include "worker/tls.h"
#include "worker/turn.h"
#include "worker/verify.h"
#include "worker/worker.h"

/* As coordinator/fleet.c lays them out. */
enum { WORKER_FD_REGION = 3, WORKER_FD_WAKE, WORKER_FD_COORDINATOR };

/* Dies with the coordinator, whatever becomes of it. */
static void bind_to_coordinator(const struct worker *w)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* It may have died before the line above. */
    if ((uint32_t)getppid() != w->region.header->coordinator_pid)
        exit(EXIT_OK);
}

static void ignore_signals(void)
{
    /* They reach the whole group; the coordinator decides what they mean. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

static void attach(struct worker *w, const char *index_text)
{
    struct options_error error;
    char name[32];
    size_t len;

    errno = 0;
    unsigned long index = strtoul(index_text, NULL, 10);
    enum outcome attached = region_attach(&w->region, WORKER_FD_REGION, false);
    if (attached == OUTCOME_SYSTEM)
        die("out of memory: no room for what the fleet shares: %s; raise the limit on memory (ulimit -v)",
            strerror(errno));
    if (attached != OUTCOME_OK || index >= w->region.layout.workers)
        die("hotfleet-worker is started by hotfleet and not by hand");
    w->index = (unsigned)index;
    bind_to_coordinator(w);
    options_init(&w->options);
    const char *text = region_options(&w->region, &len);
    if (!options_deserialize(&w->options, text, len, &error))
        die("internal: the options handed over can't be read: %s", error.message);
    /* One that replaces another begins with what is in force by now. */
    (void)!live_read(&w->region.header->live, &w->live_seen, &w->options);
    snprintf(name, sizeof name, "worker-%u", w->index);
    log_open(name, w->options.verbose ? LOG_INFO : LOG_WARN);
    w->shared = &w->region.header->worker[w->index];
    w->page = region_page(&w->region, w->index);
    ring_attach_consumer(&w->tasks, region_task_ring(&w->region, w->index), w->region.header->task_ring_capacity);
    ring_attach_producer(&w->records, region_record_ring(&w->region, w->index), w->region.header->record_ring_capacity);
    w->wake_fd = WORKER_FD_WAKE;
    w->coordinator_fd = WORKER_FD_COORDINATOR;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;

    (void)what;
    (void)arg;
    ssize_t n = read((int)fd, &count, sizeof count);
    (void)n;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd;
    (void)what;
    w->tick_at_us = UINT64_MAX;
}

static void open_loop(struct worker *w)
{
    struct event_config *config = event_config_new();

    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
        w->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    w->wake = w->base ? event_new(w->base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w) : NULL;
    w->tick = w->base ? evtimer_new(w->base, on_tick, w) : NULL;
    if (!w->wake || !w->tick || event_add(w->wake, NULL))
        die("out of memory: no room for the worker's loop");
    w->tick_at_us = UINT64_MAX;
}

static void open_parts(struct worker *w)
{
    const char *reason = "";
    const char *entry;
    unsigned seed = 0;

    TAILQ_INIT(&w->dirty);
    TAILQ_INIT(&w->dead);
    TAILQ_INIT(&w->unsent);
    TAILQ_INIT(&w->spare);
    /* Jitter only; a poor seed does no harm. */
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (unsigned)getpid();
    srandom(seed);
    w->now_us = clock_us();
    open_loop(w);
    if (!source_list_open(&w->sources, &w->options.bind_ip, &entry, &reason))
        die_usage("bind_ip \"%s\" %s", entry, reason);
    if (!status_set_parse(&w->healthy, &w->options.healthy_status, &entry, &reason))
        die_usage("healthy_status \"%s\" %s", entry, reason);
    if (!request_defaults_init(&w->defaults, &w->options, &reason))
        die_usage("%s%s%s", w->options.raw_request, *w->options.raw_request ? ": " : "", reason);
    w->tls = tls_context_new(&w->options, &reason);
    if (!w->tls)
        die_usage("%s", reason);
    browsers_open(w);
    w->verified = verify_table_new();
    char state_dir[REGION_PATH_MAX];
    if (region_state_dir(&w->region, state_dir))
        w->sessions = session_map_new(&w->options, state_dir);
    w->pool = pool_new(w);
    health_open(w);
}

/* Sets the loop's one timer to the first deadline. */
static void set_tick(struct worker *w, uint64_t at_us)
{
    if (at_us == TIMER_NEVER || at_us >= w->tick_at_us)
        return;
    uint64_t left = at_us > w->now_us ? at_us - w->now_us : 0;
    struct timeval tv = {.tv_sec = (time_t)(left / 1000000), .tv_usec = (suseconds_t)(left % 1000000)};
    event_add(w->tick, &tv);
    w->tick_at_us = at_us;
}

static void wait_for_events(struct worker *w)
{
    int flags = EVLOOP_ONCE;

    w->turn++;
    atomic_store(&w->shared->asleep, 1);
    /* A task committed before the store above was seen has nobody to announce it. */
    if (turn_is_pressing(w))
        flags = EVLOOP_NONBLOCK;
    event_base_loop(w->base, flags);
    atomic_store(&w->shared->asleep, 0);
    w->now_us = clock_us();
}

static void run(struct worker *w)
{
    /* Making the parts took its time, which is none of the first connections'. */
    w->now_us = clock_us();
    while (atomic_load_explicit(&w->region.header->draining, memory_order_relaxed) != REGION_CLOSES) {
        set_tick(w, turn_run(w));
        wait_for_events(w);
    }
}

static void close_parts(struct worker *w)
{
    w->closing = true;
    pool_close_all(w->pool);
    conn_sweep(w);
    fetch_free_all(w);
    pool_free(w->pool);
    session_map_free(w->sessions);
    browsers_close(w);
    verify_table_free(w->verified);
    SSL_CTX_free(w->tls);
    request_defaults_fini(&w->defaults);
    source_list_close(&w->sources);
    timers_fini(&w->timers);
    buffer_fini(&w->line);
    buffer_fini(&w->out);
    buffer_fini(&w->lower);
    buffer_fini(&w->location);
    event_free(w->wake);
    event_free(w->tick);
    event_base_free(w->base);
    options_fini(&w->options);
    region_close(&w->region);
}

int main(int argc, char **argv)
{
    struct worker *w = calloc(1, sizeof *w);

    log_open("hotfleet-worker", LOG_WARN);
    slots_serve_openssl();
    if (argc != 2 || !w)
        die("hotfleet-worker is started by hotfleet and not by hand");
    ignore_signals();
    attach(w, argv[1]);
    open_parts(w);
    run(w);
    close_parts(w);
    free(w);
    return EXIT_OK;
}
