/* Reports of a fleet: empty ones without NaN, sums, health, JSON that a reader takes, and Prometheus text line by line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/options.h"
#include "shm/stats_metrics.h"

#define WORKERS 2

static int region_setup(void **state)
{
    struct region *r = test_malloc(sizeof *r);
    struct options o = {0};
    struct buffer text = {0};
    const struct region_sizes sizes = {
        .workers = WORKERS,
        .task_ring_capacity = 4096,
        .record_ring_capacity = 4096,
        .hosts_max = 16,
        .ips_max = 16,
        .ip_refs_max = 16,
    };

    options_init(&o);
    o.max_connections = 40;
    o.min_success_percent = 60;
    options_serialize(&o, &text);
    options_fini(&o);
    assert_int_equal(region_create(r, &sizes, &text), OUTCOME_OK);
    buffer_fini(&text);
    *state = r;
    return 0;
}

static int region_teardown(void **state)
{
    region_close(*state);
    test_free(*state);
    return 0;
}

static void read_report(const struct region *r, struct stats_report *report)
{
    struct stats_limits limits;

    stats_limits_read(r, &limits);
    stats_report_read(r, &limits, report);
}

/* Parsed, and freed by the caller. */
static json_t *parsed(struct buffer *text)
{
    json_error_t error;
    json_t *json = json_loadb(text->data, text->len, JSON_REJECT_DUPLICATES, &error);

    if (!json)
        fail_msg("%s at %d in %.*s", error.text, error.position, (int)text->len, text->data);
    assert_int_equal(text->data[text->len - 1], '\n');
    buffer_fini(text);
    return json;
}

static json_t *stats_json(const struct region *r)
{
    struct buffer text = {0};
    struct stats_report report;

    read_report(r, &report);
    stats_report_put_json(&text, &report);
    return parsed(&text);
}

static double number(json_t *json, const char *key)
{
    json_t *value = json_object_get(json, key);

    if (!json_is_number(value))
        fail_msg("%s is no number, or missing", key);
    return json_number_value(value);
}

static void empty_fleet_shows_zeros(void **state)
{
    static const char *const keys[] = {"active_connections",  "idle_connections", "total_connections",
                                       "healthy_connections", "success_rate",     "avg_response_time",
                                       "conn_reuse_rate",     "failed_requests",  "successful_requests",
                                       "error_rate",          "requests",         "response_time_p99"};
    json_t *json = stats_json(*state);

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_true(number(json, keys[i]) == 0);
    /* This process stands for the coordinator. */
    assert_true(number(json, "memory_usage") > 100000);
    assert_true(number(json, "cpu_usage") >= 0);
    assert_int_equal(json_string_length(json_object_get(json, "last_update")), 27);
    json_decref(json);
}

static void fill(struct region *r)
{
    struct stats_page *first = region_page(r, 0);
    struct stats_page *second = region_page(r, 1);
    struct stats_page *own = region_page(r, WORKERS);

    STATS_ADD(first, requests, 8);
    STATS_ADD(second, requests, 2);
    STATS_ADD(first, reuses, 5);
    STATS_ADD(first, records, 7);
    STATS_ADD(first, failed, 1);
    STATS_ADD(own, records, 1);
    STATS_ADD(own, failed, 1);
    STATS_ADD(first, outcomes[OUTCOME_OK], 6);
    STATS_ADD(first, outcomes[OUTCOME_TLS_ERROR], 1);
    STATS_ADD(own, outcomes[OUTCOME_INVALID_URL], 1);
    STATS_ADD(first, responses, 4);
    STATS_ADD(first, response_us, 2000000);
    STATS_ADD(first, status_classes[2], 3);
    STATS_ADD(first, status_classes[4], 1);
    STATS_SET(first, conns_active, 3);
    STATS_SET(second, conns_idle, 4);
    STATS_SET(second, conns_dialing, 2);
    STATS_ADD(first, dials, 9);
    for (unsigned i = 0; i < 3; i++)
        histogram_add(&first->response_time, 1023);
    histogram_add(&second->response_time, 1024);
}

static void numbers_are_sums_over_all_pages(void **state)
{
    fill(*state);
    json_t *json = stats_json(*state);

    assert_true(number(json, "requests") == 10);
    assert_true(number(json, "active_connections") == 3);
    assert_true(number(json, "in_flight") == 3);
    assert_true(number(json, "idle_connections") == 4);
    assert_true(number(json, "total_connections") == 9);
    assert_true(number(json, "healthy_connections") == 7);
    assert_true(number(json, "successful_requests") == 6);
    assert_true(number(json, "failed_requests") == 2);
    assert_true(number(json, "success_rate") == 0.75);
    assert_true(number(json, "error_rate") == 0.25);
    assert_true(number(json, "conn_reuse_rate") == 0.5);
    assert_true(number(json, "avg_response_time") == 0.5);
    assert_int_equal(json_object_size(json_object_get(json, "outcomes")), 3);
    json_decref(json);
}

/* A page is read while its owner writes: a failure may be seen before its record. */
static void torn_sums_stay_in_range(void **state)
{
    struct region *r = *state;

    STATS_ADD(region_page(r, 0), records, 1);
    STATS_ADD(region_page(r, 0), failed, 2);
    json_t *json = stats_json(r);
    assert_true(number(json, "success_rate") == 0);
    assert_true(number(json, "error_rate") == 1);
    assert_true(number(json, "successful_requests") == 0);
    json_decref(json);
}

/* A broken worker scribbles on its page: all that is shown is still JSON, and shares are shares. */
static void wild_pages_are_shown_as_numbers(void **state)
{
    const struct region *r = *state;
    struct stats_report report;
    struct buffer text = {0};

    memset(region_page(r, 0), 0xff, sizeof(struct stats_page));
    memset(region_page(r, 1), 0x81, sizeof(struct stats_page));
    json_t *json = stats_json(r);
    assert_true(number(json, "success_rate") >= 0 && number(json, "success_rate") <= 1);
    assert_true(number(json, "error_rate") >= 0 && number(json, "error_rate") <= 1);
    assert_true(number(json, "total_connections") > 0);
    json_decref(json);
    read_report(r, &report);
    stats_report_put_health(&text, &report);
    json_decref(parsed(&text));
    assert_true(stats_report_connections(&report) >= stats_report_established(&report));
}

static void clock_set_back_gives_no_negative_time(void **state)
{
    struct region *r = *state;

    r->header->started_us = UINT64_MAX - 5;
    json_t *json = stats_json(r);
    assert_true(number(json, "uptime_seconds") == 0);
    assert_true(number(json, "cpu_usage") == 0);
    json_decref(json);
}

static void health_follows_connections_and_success(void **state)
{
    static const struct {
        uint64_t dials, dialing, active, idle, records, failed;
        bool healthy;
        const char *state, *reason;
    } rows[] = {
        {0, 0, 0, 0, 0, 0, false, "UNHEALTHY", "no connection yet"},
        {1, 0, 0, 0, 9, 0, false, "UNHEALTHY", "no connection is open"},
        {1, 1, 0, 0, 0, 0, false, "UNHEALTHY", "no connection is established"},
        {1, 0, 1, 0, 0, 0, true, "HEALTHY", ""},
        {1, 0, 0, 1, 100, 20, true, "HEALTHY", ""},
        {1, 0, 0, 1, 100, 21, true, "UNHEALTHY", "the success rate is below 0.8"},
        {1, 0, 0, 1, 100, 40, true, "UNHEALTHY", "the success rate is below 0.8"},
        {1, 0, 0, 1, 100, 41, false, "UNHEALTHY", "the success rate is below min_success_percent"},
        {1, 0, 36, 0, 100, 0, true, "HEALTHY", ""},
        {1, 0, 37, 0, 100, 0, true, "OVERLOAD", "more than 0.9 of max_connections are active"},
    };
    struct region *r = *state;
    struct stats_page *page = region_page(r, 0);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct stats_report report;
        STATS_SET(page, dials, rows[i].dials);
        STATS_SET(page, conns_dialing, rows[i].dialing);
        STATS_SET(page, conns_active, rows[i].active);
        STATS_SET(page, conns_idle, rows[i].idle);
        STATS_SET(page, records, rows[i].records);
        STATS_SET(page, failed, rows[i].failed);
        read_report(r, &report);
        struct stats_health health = stats_report_health(&report);
        assert_int_equal(health.healthy, rows[i].healthy);
        assert_string_equal(health.state, rows[i].state);
        assert_string_equal(health.reason, rows[i].reason);
    }
}

static void health_as_json_says_state_and_why(void **state)
{
    struct buffer text = {0};
    struct stats_report report;

    read_report(*state, &report);
    stats_report_put_health(&text, &report);
    json_t *json = parsed(&text);
    assert_true(json_is_false(json_object_get(json, "healthy")));
    assert_string_equal(json_string_value(json_object_get(json, "state")), "UNHEALTHY");
    assert_string_equal(json_string_value(json_object_get(json, "reason")), "no connection yet");
    assert_true(number(json, "max_connections") == 40);
    assert_true(number(json, "min_success_rate") == 0.6);
    assert_true(number(json, "success_rate") == 0);
    json_decref(json);
}

static void ready_needs_a_worker_and_no_drain(void **state)
{
    struct region *r = *state;
    struct stats_report report;

    read_report(r, &report);
    assert_false(stats_report_ready(&report));
    atomic_store(&r->header->worker[1].pid, 1);
    read_report(r, &report);
    assert_true(stats_report_ready(&report));
    assert_int_equal(report.workers_running, 1);
    atomic_store(&r->header->draining, REGION_DRAINS);
    read_report(r, &report);
    assert_false(stats_report_ready(&report));
}

/* Memory of process 1 is not ours: it is no child of the coordinator that the header names. */
static void stale_worker_pids_count_for_nothing(void **state)
{
    struct region *r = *state;
    struct stats_report before, after;

    read_report(r, &before);
    atomic_store(&r->header->worker[0].pid, (uint32_t)getpid());
    read_report(r, &after);
    assert_true(after.memory_bytes < before.memory_bytes + before.memory_bytes / 2);
}

static void unreadable_options_give_no_limits(void **state)
{
    struct region *r = *state;
    struct stats_limits limits = {1, 1};
    size_t len;
    char *text = (char *)(uintptr_t)region_options(r, &len);

    memset(text, '#', len);
    stats_limits_read(r, &limits);
    assert_int_equal(limits.max_connections, 0);
    assert_true(limits.success_rate_min == 0);
}

/* --- Prometheus text --- */

static char *metrics_text(const struct region *r)
{
    struct buffer text = {0};
    struct stats_report report;

    read_report(r, &report);
    stats_metrics_put(&text, r, &report);
    assert_int_equal(text.data[text.len - 1], '\n');
    buffer_append_char(&text, '\0');
    return text.data;
}

/* The value of the sample that is written exactly so. */
static double sample(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
    }
    fail_msg("no sample %s", name);
    return NAN;
}

static void every_line_is_of_the_format(void **state)
{
    regex_t comment, line;
    char type[128] = "";

    assert_int_equal(regcomp(&comment,
                             "^# (HELP hotfleet_[a-z0-9_]+ [^\\]+|TYPE hotfleet_[a-z0-9_]+ "
                             "(counter|gauge|histogram))$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    assert_int_equal(regcomp(&line,
                             "^hotfleet_[a-z0-9_]+(\\{(worker|outcome|code|le)=\"[a-z0-9.+I-]+\"\\})? "
                             "[0-9]+(\\.[0-9]+)?$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    fill(*state);
    char *text = metrics_text(*state);
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = '\0';
        if (regexec(*at == '#' ? &comment : &line, at, 0, NULL, 0) != 0)
            fail_msg("not of the format: %s", at);
        if (strncmp(at, "# TYPE ", 7) == 0)
            snprintf(type, sizeof type, "%.*s", (int)strcspn(at + 7, " "), at + 7);
        /* Samples stand under the TYPE of their own family. */
        if (*at != '#')
            assert_memory_equal(at, type, strlen(type));
    }
    free(text);
    regfree(&comment);
    regfree(&line);
}

static void counters_end_in_total_and_no_name_has_two_types(void **state)
{
    char *text = metrics_text(*state);
    char names[200][96];
    size_t count = 0;

    for (const char *at = text; (at = strstr(at, "# TYPE ")); at++) {
        char type[16];
        assert_true(count < 200);
        assert_int_equal(sscanf(at, "# TYPE %95s %15s", names[count], type), 2);
        size_t len = strlen(names[count]);
        bool total = len > 6 && strcmp(names[count] + len - 6, "_total") == 0;
        assert_int_equal(total, strcmp(type, "counter") == 0);
        for (size_t i = 0; i < count; i++)
            assert_string_not_equal(names[i], names[count]);
        count++;
    }
    assert_true(count > 40);
    free(text);
}

static void metrics_tell_what_the_pages_hold(void **state)
{
    fill(*state);
    char *text = metrics_text(*state);

    assert_true(sample(text, "hotfleet_requests_total") == 10);
    assert_true(sample(text, "hotfleet_worker_requests_total{worker=\"0\"}") == 8);
    assert_true(sample(text, "hotfleet_worker_connections{worker=\"1\"}") == 4);
    assert_true(sample(text, "hotfleet_outcomes_total{outcome=\"tls-error\"}") == 1);
    assert_true(sample(text, "hotfleet_outcomes_total{outcome=\"deadline\"}") == 0);
    assert_true(sample(text, "hotfleet_status_total{code=\"2xx\"}") == 3);
    assert_true(sample(text, "hotfleet_conns_active") == 3);
    assert_true(sample(text, "hotfleet_max_connections") == 40);
    assert_true(sample(text, "hotfleet_resident_memory_bytes") > 100000);
    free(text);
}

static void histogram_bounds_are_exact_and_cumulative(void **state)
{
    struct region *r = *state;

    fill(r);
    histogram_add(&region_page(r, 1)->response_time, UINT64_MAX);
    char *text = metrics_text(r);
    assert_true(sample(text, "hotfleet_response_time_seconds_bucket{le=\"0.000512\"}") == 0);
    assert_true(sample(text, "hotfleet_response_time_seconds_bucket{le=\"0.001024\"}") == 3);
    assert_true(sample(text, "hotfleet_response_time_seconds_bucket{le=\"0.002048\"}") == 4);
    assert_true(sample(text, "hotfleet_response_time_seconds_bucket{le=\"67.108864\"}") == 4);
    assert_true(sample(text, "hotfleet_response_time_seconds_bucket{le=\"+Inf\"}") == 5);
    assert_true(sample(text, "hotfleet_response_time_seconds_count") == 5);
    assert_true(sample(text, "hotfleet_response_time_seconds_sum") == 2);
    free(text);
}

static void empty_metrics_have_no_nan(void **state)
{
    char *text = metrics_text(*state);

    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "} inf"));
    assert_true(sample(text, "hotfleet_acquire_time_seconds_sum") == 0);
    assert_true(sample(text, "hotfleet_healthy") == 0);
    free(text);
}

#define REGION_TEST(f) cmocka_unit_test_setup_teardown(f, region_setup, region_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REGION_TEST(empty_fleet_shows_zeros),
        REGION_TEST(numbers_are_sums_over_all_pages),
        REGION_TEST(torn_sums_stay_in_range),
        REGION_TEST(wild_pages_are_shown_as_numbers),
        REGION_TEST(clock_set_back_gives_no_negative_time),
        REGION_TEST(health_follows_connections_and_success),
        REGION_TEST(health_as_json_says_state_and_why),
        REGION_TEST(ready_needs_a_worker_and_no_drain),
        REGION_TEST(stale_worker_pids_count_for_nothing),
        REGION_TEST(unreadable_options_give_no_limits),
        REGION_TEST(every_line_is_of_the_format),
        REGION_TEST(counters_end_in_total_and_no_name_has_two_types),
        REGION_TEST(metrics_tell_what_the_pages_hold),
        REGION_TEST(histogram_bounds_are_exact_and_cumulative),
        REGION_TEST(empty_metrics_have_no_nan),
    };

    return cmocka_run_group_tests_name("stats_report", tests, NULL, NULL);
}
