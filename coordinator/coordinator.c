/* Wiring: opens every part, turns the loop, and ends in order. */
#include "coordinator/coordinator.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/access_admin.h"
#include "coordinator/admin.h"
#include "coordinator/chores.h"
#include "coordinator/default_method.h"
#include "coordinator/descriptors.h"
#include "coordinator/dispatch.h"
#include "coordinator/dry_run.h"
#include "coordinator/ends.h"
#include "coordinator/feed.h"
#include "coordinator/fleet.h"
#include "coordinator/frontier.h"
#include "coordinator/intake.h"
#include "coordinator/layout.h"
#include "coordinator/live.h"
#include "coordinator/loop.h"
#include "coordinator/overflow.h"
#include "coordinator/progress.h"
#include "coordinator/records.h"
#include "coordinator/resolver.h"
#include "coordinator/results.h"
#include "coordinator/sessions.h"
#include "coordinator/statedir.h"
#include "coordinator/steering.h"
#include "coordinator/upkeep.h"

#define DOZE_US            2000  /* how long records may gather while they flow */
#define FLUSH_AFTER_US     20000 /* how long a record may wait for its batch */
#define STORE_AFTER_US     250000
#define STORE_BUSY_US      1000000
#define BLOCKED_LOOK_US    20000
#define BLOCKED_LOOK_HOSTS 16
#define FORCED_GRACE_MS    100
#define CLOSING_GRACE_MS   3000
#define TAKEN_LOOK_US      10000 /* how often a pipe's reader is looked at when all is written */

struct coordinator {
    struct options *options;
    int argc; /* what they were loaded from */
    char **argv;
    struct event_base *base;
    struct event *tick;
    struct loop_signals signals;
    struct region region;
    struct region_header *shared;
    struct statedir state;
    struct store *store;
    struct sessions *sessions;
    struct resolver *resolver;
    struct timers timers;
    struct frontier *frontier;
    struct fleet *fleet;
    struct admin *admin;
    struct dispatch *dispatch;
    struct chores *chores;
    struct upkeep upkeep;
    struct live *live;
    struct access *access;
    struct steering *steering;
    struct ends ends;
    struct overflow *overflow;
    struct results results;
    struct intake intake;
    struct feed *feed;
    struct progress *progress;
    struct stats_page *page;
    struct default_method default_method;
    bool draining, forced, output_gone;
    bool slot_freed; /* a connection was closed, or a worker died or was started, since blocked hosts were last looked
                        at */
    uint64_t blocked_at_us;
    int signal_number;
    uint64_t drain_since_us, last_flush_us, last_store_us, job_at_us;
};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void on_wake(void *user)
{
    (void)user;
}

static void on_death(void *user, unsigned worker)
{
    struct coordinator *c = user;

    c->slot_freed = true;
    patrol_on_death(c->upkeep.patrol, worker, c->draining);
    results_on_death(&c->results, worker);
    sessions_on_death(c->sessions);
}

static void on_failure(void *user, struct task *task, enum outcome outcome, const char *detail)
{
    struct coordinator *c = user;

    results_fail(&c->results, task, outcome, detail);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct coordinator *c = arg;

    (void)what;
    if (number == SIGUSR1) {
        progress_print(c->progress);
        return;
    }
    if (number == SIGHUP) {
        live_reload(c->live);
        return;
    }
    if (number == SIGUSR2) {
        log_event(LOG_WARN, "signal-without-effect", "signal=%d; this version has nothing to rotate", (int)number);
        return;
    }
    c->forced = c->draining;
    c->draining = true;
    c->signal_number = (int)number;
    c->drain_since_us = clock_us();
    atomic_store(&c->shared->draining, 1);
    log_event(LOG_INFO, c->forced ? "forced" : "draining", "signal=%d in_flight=%u", (int)number,
              dispatch_given(c->dispatch));
}

static uint64_t drain_until(const struct coordinator *c)
{
    return c->drain_since_us + c->options->drain_timeout * 1000;
}

/* Whoever waits for a slot gets a look: there may be more of them now. */
static void on_change(void *user)
{
    struct coordinator *c = user;

    if (descriptors_follow_options(c->options))
        live_write(&c->region.header->live, c->options);
    c->slot_freed = true;
    progress_follow_options(c->progress);
    pool_size_follow_options(c->upkeep.pool_size);
    patrol_follow_options(c->upkeep.patrol);
}

static bool wants_more(void *user)
{
    struct coordinator *c = user;

    return !c->draining && !c->output_gone && !records_full(c->ends.records) && intake_has_room(&c->intake) &&
           !steering_holds_input(c->steering);
}

static void on_line(void *user, const struct feed_line *line)
{
    struct coordinator *c = user;

    if (!job_passes_over(c->ends.job, line->seq))
        intake_line(&c->intake, line);
}

/* Lines read that are this run's: neither done by an earlier one nor another shard's. */
static uint64_t lines_to_do(const struct coordinator *c)
{
    return feed_lines(c->feed) - job_lines_before(c->ends.job) - c->intake.others;
}

static uint64_t queued(const struct coordinator *c)
{
    return frontier_queued(c->frontier) + overflow_lines(c->overflow);
}

static void look(void *user, struct progress_view *view)
{
    struct coordinator *c = user;

    *view = (struct progress_view){
        .done = c->results.done,
        .failed = c->results.failed,
        .read = lines_to_do(c),
        .in_flight = dispatch_given(c->dispatch),
        .queued = queued(c),
        .input_ended = feed_ended(c->feed),
    };
}

static bool open_overflow(struct coordinator *c)
{
    const char *reason = "";

    c->overflow = overflow_open(&(struct overflow_parts){c->base, c->frontier, c->results.tasks, c->options,
                                                         c->state.path, intake_again, &c->intake},
                                &reason);
    if (!c->overflow)
        log_event(LOG_ERROR, "no-overflow", "reason=\"%s\"", reason);
    return c->overflow != NULL;
}

static bool open_parts(struct coordinator *c)
{
    const char *reason = "";
    struct options_error error;

    if (!layout_open_region(&c->region, c->options))
        return false;
    c->shared = c->region.header;
    c->page = region_page(&c->region, c->shared->workers);
    if (!statedir_open(&c->state, *c->options->state ? c->options->state
                                  : c->ends.job      ? c->options->job
                                                     : "") ||
        store_open(&c->store, c->state.path, false, &reason) != OUTCOME_OK) {
        log_event(LOG_ERROR, "no-state", "dir=\"%s\" reason=\"%s\"", c->state.path, reason);
        return false;
    }
    c->sessions = sessions_open(c->store, &c->region, &c->timers, c->state.path);
    if (resolver_open(&c->resolver, c->base, c->store, c->options, c->page, &reason) != OUTCOME_OK) {
        log_event(LOG_ERROR, "no-resolver", "reason=\"%s\"", reason);
        return false;
    }
    c->frontier = frontier_new(&c->region, c->resolver, c->options, &c->timers, on_failure, c, &error);
    if (!c->frontier) {
        log_event(LOG_ERROR, "bad-option", "%s", error.message);
        return false;
    }
    if (fleet_open(&c->fleet, c->base, &c->region, on_death, on_wake, c, &reason) != OUTCOME_OK) {
        log_event(LOG_ERROR, "no-workers", "reason=\"%s\"", reason);
        return false;
    }
    if (c->ends.job)
        fleet_share_lock(c->fleet, job_lock_fd(c->ends.job));
    c->admin = admin_open(c->base, &c->region, c->state.path, c->options);
    if (!c->admin)
        return false;
    c->dispatch = dispatch_new(c->fleet, c->frontier, &c->region, c->options);
    c->chores = chores_new(c->fleet, c->frontier);
    c->upkeep.health = health_new(c->frontier, &c->region, c->store, c->options);
    c->upkeep.probes = probes_new(c->frontier, c->chores, c->upkeep.health, &c->region, c->options);
    c->live = live_open(c->admin, &c->region, c->fleet, c->options, c->argc, c->argv, on_change, c);
    c->upkeep.pool_size = pool_size_new(&c->region, c->options, c->live);
    c->upkeep.patrol = patrol_new(&c->region, c->fleet, c->options);
    c->access = access_admin_open(
        &(struct access_parts){c->store, &c->region, c->frontier, c->chores, &c->timers, c->options}, c->admin);
    if (!c->access)
        return false;
    /* Last: the pre-warms of the options make the first hosts, which health and access must hear of. */
    c->steering = steering_new(&(struct steering_parts){c->base, c->admin, c->chores, c->fleet, c->frontier,
                                                        c->resolver, &c->region, c->options, c->page});
    return true;
}

static bool wire(struct coordinator *c)
{
    const struct options *o = c->options;

    c->results = (struct results){
        .tasks = task_table_new((uint32_t)o->window),
        .fleet = c->fleet,
        .frontier = c->frontier,
        .dispatch = c->dispatch,
        .chores = c->chores,
        .access = c->access,
        .health = c->upkeep.health,
        .records = c->ends.records,
        .job = c->ends.job,
        .sessions = c->sessions,
        .region = &c->region,
        .options = o,
        .page = c->page,
        .default_method = c->default_method.method,
    };
    c->results.answers = answers_open(c->store, o);
    intake_init(&c->intake, &c->results, o);
    if (!open_overflow(c))
        return false;
    c->intake.overflow = c->overflow;
    c->feed = feed_open(c->base, c->ends.input_fd, o->max_line, on_line, wants_more, c);
    if (c->ends.job)
        job_take_input(c->ends.job, c->feed);
    c->progress = progress_open(c->base, &c->region, o, look, c);
    return true;
}

static void flush(struct coordinator *c)
{
    c->last_flush_us = clock_us();
    if (records_flush(c->ends.records) == OUTCOME_SYSTEM && !c->output_gone) {
        c->output_gone = true;
        log_event(LOG_ERROR, "output-failed",
                  "error=\"%s\"; the run ends, lines without a whole record were not written", strerror(errno));
    }
    STATS_SET(c->page, bytes_written, records_bytes_written(c->ends.records));
}

static bool finished(const struct coordinator *c)
{
    if (c->forced || c->output_gone || fleet_is_unfit(c->fleet) || fleet_is_hopeless(c->fleet) || feed_differs(c->feed))
        return true;
    if (c->draining)
        return dispatch_given(c->dispatch) == 0 || clock_us() > drain_until(c);
    return feed_ended(c->feed) && task_count(c->results.tasks) == 0 && overflow_lines(c->overflow) == 0;
}

static void publish_gauges(struct coordinator *c)
{
    STATS_SET(c->page, lines, feed_lines(c->feed));
    STATS_SET(c->page, in_flight, dispatch_given(c->dispatch));
    STATS_SET(c->page, queued, queued(c));
    STATS_SET(c->page, overflow_lines, overflow_lines(c->overflow));
    STATS_SET(c->page, overflow_bytes, overflow_bytes(c->overflow));
    STATS_SET(c->page, overflowed, overflow_lines_total(c->overflow));
    STATS_ADD(c->page, turns, 1);
}

/* Sleeps until something happens, `until_us` at the latest. */
static void wait_for_events(struct coordinator *c, enum region_sleep how, uint64_t until_us)
{
    uint64_t now = clock_us();
    int flags = EVLOOP_ONCE;

    if (until_us != UINT64_MAX) {
        uint64_t left = until_us > now ? until_us - now : 0;
        struct timeval tv = {.tv_sec = (time_t)(left / 1000000), .tv_usec = (suseconds_t)(left % 1000000)};
        event_add(c->tick, &tv);
    } else {
        event_del(c->tick);
    }
    uint32_t slot = REGION_SLOT_UNWANTED;
    if (frontier_has_blocked(c->frontier))
        atomic_compare_exchange_strong(&c->shared->slot_wanted, &slot, REGION_SLOT_WANTED);
    atomic_store(&c->shared->coordinator_asleep, (uint32_t)how);
    /* A record or a slot given before the store above was seen has nobody to announce it. */
    if (how == REGION_AWAKE || slot == REGION_SLOT_FREED || (how == REGION_ASLEEP && results_waiting(&c->results)))
        flags = EVLOOP_NONBLOCK;
    event_base_loop(c->base, flags);
    atomic_store(&c->shared->coordinator_asleep, REGION_AWAKE);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t start_workers(struct coordinator *c, uint64_t now)
{
    if (c->options->dry_run)
        return UINT64_MAX;
    unsigned running = fleet_running(c->fleet);
    uint64_t next = fleet_start_due(c->fleet, now);

    if (fleet_running(c->fleet) > running)
        c->slot_freed = true;
    return next;
}

/* Blocked hosts go on when slots are free. Who has waited for long gets a look all the same: a slot may be had by
 * closing what another worker keeps idle. */
static void unblock(struct coordinator *c, uint64_t now, unsigned answers)
{
    uint32_t freed = REGION_SLOT_FREED;

    if (atomic_compare_exchange_strong(&c->shared->slot_wanted, &freed, REGION_SLOT_UNWANTED))
        c->slot_freed = true;
    if (!frontier_has_blocked(c->frontier)) {
        c->blocked_at_us = now;
        c->slot_freed = false;
    } else if (c->slot_freed || answers || now - c->blocked_at_us > BLOCKED_LOOK_US) {
        frontier_unblock(c->frontier, answers + BLOCKED_LOOK_HOSTS);
        c->blocked_at_us = now;
        c->slot_freed = false;
    }
}

/* Decides how to wait after a turn that took `taken` results. */
static void rest(struct coordinator *c, unsigned taken, bool goes_on, bool ring_full)
{
    uint64_t now = clock_us();
    uint64_t next = earlier(timers_next(&c->timers), start_workers(c, now));

    next = earlier(next, earlier(c->upkeep.at_us, c->job_at_us));
    if (c->draining)
        next = earlier(next, drain_until(c));
    if (frontier_has_blocked(c->frontier))
        next = earlier(next, c->blocked_at_us + BLOCKED_LOOK_US);
    if (records_due(c->ends.records) || now - c->last_flush_us > FLUSH_AFTER_US)
        flush(c);
    /* The map is written when there is nothing else to do, but also in a run that always has. */
    bool idle = !goes_on && !taken && !ring_full;
    if (now - c->last_store_us > (idle ? STORE_AFTER_US : STORE_BUSY_US)) {
        store_commit(c->store);
        c->last_store_us = now;
    }
    if (goes_on) {
        wait_for_events(c, REGION_AWAKE, next);
    } else if (taken || ring_full) {
        wait_for_events(c, REGION_DOZING, earlier(next, now + DOZE_US));
    } else {
        flush(c);
        /* Others read the map while this process sleeps. */
        if (store_is_pending(c->store))
            next = earlier(next, c->last_store_us + STORE_AFTER_US);
        if (!c->output_gone)
            wait_for_events(c, REGION_ASLEEP, next);
    }
}

static bool wants_overflow(const struct coordinator *c)
{
    return !c->draining && !records_full(c->ends.records) && overflow_is_due(c->overflow);
}

/* True when tasks were left that could go on at once: by a fleet that has no ring room, when `*ring_full_out`. */
static bool give_out(struct coordinator *c, bool *ring_full_out)
{
    if (c->draining)
        return false;
    if (!c->options->dry_run) {
        *ring_full_out = dispatch_run(c->dispatch);
        return false;
    }
    return (feed_ended(c->feed) || !wants_more(c)) && dry_run_turn(&c->results);
}

static void run(struct coordinator *c)
{
    start_workers(c, clock_us());
    while (!finished(c)) {
        uint64_t now = clock_us();
        dispatch_begin_turn(c->dispatch, now);
        timers_run(&c->timers, now, c->frontier);
        uint64_t answered = c->results.answered;
        unsigned taken = results_turn(&c->results);
        /* What has room in memory is brought back before new lines are read. */
        if (wants_overflow(c))
            overflow_turn(c->overflow);
        bool goes_on = feed_turn(c->feed);
        upkeep_turn(&c->upkeep, now, c->draining);
        bool ring_full = false;
        unblock(c, now, (unsigned)(c->results.answered - answered));
        goes_on |= give_out(c, &ring_full);
        /* Hosts that run low now have no event to come that would wake them. */
        goes_on |= wants_overflow(c);
        fleet_wake(c->fleet);
        atomic_store_explicit(&c->shared->input_ended, feed_ended(c->feed), memory_order_relaxed);
        publish_gauges(c);
        if (finished(c))
            break;
        c->job_at_us = job_turn(c->ends.job, clock_us());
        rest(c, taken, goes_on, ring_full);
    }
}

static bool left_in_pipe(const struct coordinator *c)
{
    return c->ends.job && !c->output_gone && !c->forced &&
           records_bytes_taken(c->ends.records) < records_bytes_written(c->ends.records);
}

/* What is left to write goes out, waiting for a slow reader unless a second signal says otherwise. */
static void finish_output(struct coordinator *c)
{
    while (!c->output_gone && !c->forced && !records_empty(c->ends.records)) {
        flush(c);
        if (!records_empty(c->ends.records) && !c->output_gone)
            event_base_loop(c->base, EVLOOP_ONCE);
    }
    /* A job's lines are done when their records have left the pipe. */
    while (left_in_pipe(c) && !records_reader_gone(c->ends.records))
        wait_for_events(c, REGION_DOZING, clock_us() + TAKEN_LOOK_US);
    if (!left_in_pipe(c))
        return;
    c->output_gone = true;
    log_event(LOG_ERROR, "output-failed",
              "error=\"its reader has gone and left records in the pipe\" hint=\"run the same command again\"");
}

static int exit_code(const struct coordinator *c, uint64_t left, bool unfit)
{
    if (c->output_gone)
        return EXIT_OUTPUT;
    if (unfit || feed_differs(c->feed))
        return EXIT_USAGE;
    if (c->forced)
        return 128 + c->signal_number;
    if (c->draining && (left > 0 || !feed_ended(c->feed)))
        return EXIT_STOPPED;
    if (feed_failed(c->feed) || fleet_is_hopeless(c->fleet))
        return EXIT_INTERNAL;
    return c->options->fail_on_error && (c->results.failed || job_failed(c->ends.job)) ? EXIT_SOME_FAILED : EXIT_OK;
}

static void close_parts(struct coordinator *c)
{
    admin_close(c->admin);
    feed_close(c->feed);
    intake_fini(&c->intake);
    resolver_close(c->resolver);
    overflow_close(c->overflow);
    dispatch_free(c->dispatch);
    chores_free(c->chores);
    live_close(c->live);
    access_free(c->access);
    steering_free(c->steering);
    upkeep_free(&c->upkeep);
    frontier_free(c->frontier);
    /* Its timer stands among those of tasks. */
    sessions_close(c->sessions);
    task_table_free(c->results.tasks);
    buffer_fini(&c->results.scratch);
    buffer_fini(&c->results.log);
    buffer_fini(&c->results.message);
    answers_close(c->results.answers);
    if (c->store)
        store_close(c->store);
    statedir_close(&c->state);
    ends_close(&c->ends);
    timers_fini(&c->timers);
    loop_release_signals(&c->signals);
    if (c->tick)
        event_free(c->tick);
    event_base_free(c->base);
    if (c->region.base)
        region_close(&c->region);
}

/* The last commit comes after the last write. */
static int end_job(struct coordinator *c, int code, uint64_t left)
{
    bool finished = (code == EXIT_OK || code == EXIT_SOME_FAILED) && left == 0 && feed_ended(c->feed);

    if (c->forced || job_end(c->ends.job, finished))
        return code;
    return code == EXIT_OK || code == EXIT_SOME_FAILED || code == EXIT_STOPPED ? EXIT_OUTPUT : code;
}

static int run_to_the_end(struct coordinator *c)
{
    run(c);
    finish_output(c);
    uint64_t left = lines_to_do(c) - c->results.done;
    if (fleet_is_hopeless(c->fleet))
        log_event(LOG_ERROR, "workers-keep-dying",
                  "left=%llu; no worker lives long enough to answer; see why they died, above",
                  (unsigned long long)left);
    int code = end_job(c, exit_code(c, left, fleet_is_unfit(c->fleet)), left);
    fleet_close(c->fleet, c->forced ? FORCED_GRACE_MS : CLOSING_GRACE_MS);
    progress_close(c->progress, left);
    return code;
}

int coordinator_run(struct options *options, int argc, char **argv)
{
    struct coordinator *c = calloc(1, sizeof *c);
    int code = EXIT_USAGE;

    if (!c || !(c->base = loop_new()) || !(c->tick = evtimer_new(c->base, on_tick, NULL)))
        die("out of memory: no room for the coordinator");
    c->options = options;
    c->argc = argc;
    c->argv = argv;
    /* From the start: one that comes before the loop turns is answered by its first turn. */
    loop_catch_signals(c->base, &c->signals, on_signal, c);
    pool_size_tell(options);
    enum ends_opened opened = descriptors_open(options) && default_method_find(&c->default_method, options)
                                  ? ends_open(&c->ends, options, c->base, on_wake, c)
                                  : ENDS_REFUSED;
    if (opened == ENDS_NOTHING_TO_DO) {
        code = options->fail_on_error && job_failed(c->ends.job) ? EXIT_SOME_FAILED : EXIT_OK;
    } else if (opened == ENDS_OPEN && open_parts(c) && wire(c)) {
        code = run_to_the_end(c);
    } else {
        fleet_close(c->fleet, 0);
    }
    close_parts(c);
    free(c);
    return code;
}
