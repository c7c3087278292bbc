/* What people read on stderr: lines now and then, one on demand, and the summary. stderr is a pipe here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "coordinator/progress.h"

#define WORKERS 2u

struct screen {
    struct event_base *base;
    struct region region;
    struct options options;
    struct progress_view view;
    int read_fd, kept_stderr;
    char said[8192];
};

static void look(void *user, struct progress_view *view_out)
{
    const struct screen *s = user;

    *view_out = s->view;
}

/* stderr becomes `fd`, which is closed. */
static void take_stderr(struct screen *s, int fd)
{
    if (s->kept_stderr < 0)
        s->kept_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 64);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static int setup(void **state)
{
    struct screen *s = calloc(1, sizeof *s);
    struct region_sizes sizes = {.workers = WORKERS,
                                 .task_ring_capacity = 4096,
                                 .record_ring_capacity = 4096,
                                 .hosts_max = 16,
                                 .ips_max = 16,
                                 .ip_refs_max = 16};
    int fds[2];

    s->base = event_base_new();
    s->kept_stderr = -1;
    options_init(&s->options);
    assert_int_equal(region_create(&s->region, &sizes, NULL), OUTCOME_OK);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    s->read_fd = fds[0];
    take_stderr(s, fds[1]);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct screen *s = *state;

    dup2(s->kept_stderr, STDERR_FILENO);
    close(s->kept_stderr);
    close(s->read_fd);
    region_close(&s->region);
    options_fini(&s->options);
    event_base_free(s->base);
    free(s);
    return 0;
}

static struct progress *begin(struct screen *s)
{
    return progress_open(s->base, &s->region, &s->options, look, s);
}

/* What was written since the last call. */
static const char *said(struct screen *s)
{
    ssize_t n = read(s->read_fd, s->said, sizeof s->said - 1);

    s->said[n > 0 ? n : 0] = '\0';
    return s->said;
}

static void assert_said(struct screen *s, const char *part)
{
    if (!strstr(s->said, part))
        fail_msg("no \"%s\" in \"%s\"", part, s->said);
}

static void a_line_on_demand_tells_the_state_of_now(void **state)
{
    struct screen *s = *state;
    struct progress *p = begin(s);

    s->view = (struct progress_view){.done = 12, .failed = 3, .read = 40, .in_flight = 5, .queued = 6};
    STATS_SET(region_page(&s->region, 0), requests, 6);
    STATS_SET(region_page(&s->region, 1), requests, 4);
    STATS_SET(region_page(&s->region, 1), reuses, 5);
    STATS_SET(region_page(&s->region, 0), conns_active, 2);
    STATS_SET(region_page(&s->region, 1), conns_idle, 1);
    progress_print(p);
    said(s);
    assert_int_equal(strncmp(s->said, "hotfleet: 12 done, ", 19), 0);
    assert_said(s, ", 5 in flight, 6 queued, 3 failed, 3 connections, 50.0% reused\n");
    s->view.input_ended = true;
    progress_print(p);
    said(s);
    assert_int_equal(strncmp(s->said, "hotfleet: 12/40 done, ", 22), 0);
    progress_close(p, 0);
}

static void nothing_has_happened_and_nothing_is_divided_by_zero(void **state)
{
    struct screen *s = *state;
    struct progress *p = begin(s);

    progress_print(p);
    said(s);
    assert_said(s, "hotfleet: 0 done, 0/s, 0 in flight, 0 queued, 0 failed, 0 connections, 0.0% reused\n");
    progress_close(p, 0);
    said(s);
    assert_said(s, "hotfleet: 0 records in 0.00 s (0/s), 0 failed, 0 requests, 0 connections, 0.0% reused\n");
    assert_said(s, "p50 0.0 ms, p95 0.0 ms, p99 0.0 ms\n");
    assert_null(strstr(s->said, "failed: "));
    assert_null(strstr(s->said, "stopped early"));
}

static void numbers_of_any_size_fit(void **state)
{
    struct screen *s = *state;
    struct progress *p = begin(s);

    s->view = (struct progress_view){.done = UINT64_MAX,
                                     .failed = UINT64_MAX,
                                     .read = UINT64_MAX,
                                     .in_flight = UINT64_MAX,
                                     .queued = UINT64_MAX,
                                     .input_ended = true};
    for (uint32_t w = 0; w < WORKERS; w++)
        memset(region_page(&s->region, w), 0x7f, sizeof(struct stats_page));
    progress_print(p);
    said(s);
    assert_said(s, "reused\n");
    progress_close(p, UINT64_MAX);
    said(s);
    assert_said(s, "stopped early: 18446744073709551615 lines");
    assert_int_equal(s->said[strlen(s->said) - 1], '\n');
}

/* However busy the machine: never sooner than the interval, and one line at a time. */
static void a_line_comes_at_each_interval(void **state)
{
    struct screen *s = *state;

    s->options.stats_interval = 200;
    uint64_t began_us = clock_us();
    struct progress *p = begin(s);
    for (unsigned line = 1; line <= 2; line++) {
        event_base_loop(s->base, EVLOOP_ONCE);
        assert_true(clock_us() - began_us >= line * UINT64_C(195000));
        said(s);
        assert_non_null(strchr(s->said, '\n'));
        assert_ptr_equal(strchr(s->said, '\n'), s->said + strlen(s->said) - 1);
    }
    progress_close(p, 0);
}

static void silence_is_kept_to_the_end(void **state)
{
    struct screen *s = *state;
    struct timeval limit = {0, 250000};

    s->options.silent = true;
    s->options.stats_interval = 100;
    struct progress *p = begin(s);
    event_base_loopexit(s->base, &limit);
    event_base_dispatch(s->base);
    progress_close(p, 7);
    assert_string_equal(said(s), "");
}

/* Asked for by SIGUSR1. */
static void silence_is_broken_on_demand(void **state)
{
    struct screen *s = *state;

    s->options.silent = true;
    struct progress *p = begin(s);
    progress_print(p);
    said(s);
    assert_said(s, "0 done");
    progress_close(p, 0);
}

static void the_summary_adds_workers_and_coordinator(void **state)
{
    struct screen *s = *state;
    struct progress *p = begin(s);

    s->view.done = 10;
    s->view.failed = 4;
    atomic_store(&region_page(&s->region, 0)->outcomes[OUTCOME_TLS_ERROR], 1);
    atomic_store(&region_page(&s->region, 1)->outcomes[OUTCOME_TLS_ERROR], 1);
    atomic_store(&region_page(&s->region, WORKERS)->outcomes[OUTCOME_DNS_NXDOMAIN], 2);
    atomic_store(&region_page(&s->region, 1)->outcomes[OUTCOME_OK], 6);
    histogram_add(&region_page(&s->region, 0)->response_time, 2000);
    progress_close(p, 3);
    said(s);
    assert_said(s, "hotfleet: 10 records in ");
    assert_said(s, ", 4 failed, ");
    assert_said(s, "hotfleet: failed: dns-nxdomain 2, tls-error 2\n");
    assert_said(s, "hotfleet: response time p50 2.");
    assert_said(s, "hotfleet: stopped early: 3 lines that were read have no record\n");
}

static void every_kind_of_failure_is_told_in_one_line_that_ends(void **state)
{
    struct screen *s = *state;
    struct progress *p = begin(s);

    for (unsigned o = 1; o <= OUTCOME_RECORD_LAST; o++)
        atomic_store(&region_page(&s->region, 0)->outcomes[o], UINT64_MAX);
    progress_close(p, 0);
    said(s);
    const char *line = strstr(s->said, "hotfleet: failed: ");
    assert_non_null(line);
    assert_int_equal(s->said[strlen(s->said) - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), s->said + strlen(s->said) - 1);
}

static void no_kind_of_failure_is_left_out(void **state)
{
    struct screen *s = *state;
    struct progress *p = begin(s);

    for (unsigned o = 1; o <= OUTCOME_RECORD_LAST; o++)
        atomic_store(&region_page(&s->region, 0)->outcomes[o], 123456);
    progress_close(p, 0);
    said(s);
    for (unsigned o = 1; o <= OUTCOME_RECORD_LAST; o++)
        assert_said(s, outcome_name((enum outcome)o));
}

/* What is written to a terminal can be read a moment later: reads on until `last` and the rest of its line have come.
 */
static void said_at_last(struct screen *s, const char *last)
{
    size_t len = 0;

    s->said[0] = '\0';
    for (int tries = 0; tries < 2000 && !strstr(s->said, last); tries++) {
        ssize_t n = read(s->read_fd, s->said + len, sizeof s->said - 1 - len);
        len += n > 0 ? (size_t)n : 0;
        s->said[len] = '\0';
        usleep(1000);
    }
    assert_non_null(strstr(s->said, last));
}

static void on_a_terminal_the_line_is_drawn_over_itself(void **state)
{
    struct screen *s = *state;
    int master;
    int slave;

    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    close(s->read_fd);
    s->read_fd = master;
    fcntl(master, F_SETFL, O_NONBLOCK);
    take_stderr(s, slave);
    setenv("TERM", "xterm", 1);
    struct progress *p = begin(s);
    progress_print(p);
    said_at_last(s, "reused");
    assert_int_equal(strncmp(s->said, "\r\033[K0 done", 10), 0);
    assert_null(strchr(s->said, '\n'));
    progress_close(p, 0);
    said_at_last(s, "workers ");
    assert_int_equal(strncmp(s->said, "\r\033[Khotfleet: 0 records", 23), 0);
    /* A terminal that can't: plain lines. */
    setenv("TERM", "dumb", 1);
    p = begin(s);
    progress_print(p);
    said_at_last(s, "reused");
    assert_int_equal(strncmp(s->said, "hotfleet: 0 done", 16), 0);
    progress_close(p, 0);
}

static void closing_what_was_never_opened_does_nothing(void **state)
{
    progress_close(NULL, 5);
    assert_string_equal(said(*state), "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_line_on_demand_tells_the_state_of_now),
        CASE(nothing_has_happened_and_nothing_is_divided_by_zero),
        CASE(numbers_of_any_size_fit),
        CASE(a_line_comes_at_each_interval),
        CASE(silence_is_kept_to_the_end),
        CASE(silence_is_broken_on_demand),
        CASE(the_summary_adds_workers_and_coordinator),
        CASE(every_kind_of_failure_is_told_in_one_line_that_ends),
        CASE(no_kind_of_failure_is_left_out),
        CASE(on_a_terminal_the_line_is_drawn_over_itself),
        CASE(closing_what_was_never_opened_does_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
