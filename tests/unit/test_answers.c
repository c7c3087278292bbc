/* Kept answers: what of a worker's line is kept, whatever it is, what comes back, and where it comes in a task's life.
 */
#include "tests/unit/coordinator_house.h"

#include <dirent.h>

#define GOOD_LINE(tail)                                                                                        \
    "\"input\":\"x,\\\"failed\\\":false,\\\"y\\\":1\",\"url\":\"u\",\"failed\":false,\"method\":\"GET\","      \
    "\"status_code\":200,\"content_type\":\"text/html\",\"host_ip\":\"192.0.2.1\",\"local_ip\":\"192.0.2.9\"," \
    "\"time\":\"1ms\",\"worker\":0,\"conn_id\":5" tail "}\n"

struct scene {
    struct house *h;
    struct store *store;
    char dir[64];
};

static struct scene scene;

static int set_scene(void **state)
{
    void *house;
    const char *reason;

    snprintf(scene.dir, sizeof scene.dir, "/tmp/test-answers-XXXXXX");
    assert_non_null(mkdtemp(scene.dir));
    setup(&house);
    scene.h = house;
    assert_int_equal(store_open(&scene.store, scene.dir, false, &reason), OUTCOME_OK);
    scene.h->options.cache_fallback = true;
    scene.h->results.answers = answers_open(scene.store, &scene.h->options);
    assert_non_null(scene.h->results.answers);
    *state = &scene;
    return 0;
}

static int clear_scene(void **state)
{
    void *house = scene.h;
    char path[512];
    struct dirent *entry;

    (void)state;
    answers_close(scene.h->results.answers);
    buffer_fini(&scene.h->results.log);
    store_close(scene.store);
    teardown(&house);
    DIR *d = opendir(scene.dir);
    while (d && (entry = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", scene.dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
    return rmdir(scene.dir);
}

/* A task for `url`, with a worker. */
static struct task *give(const char *url, struct task_message *m)
{
    struct task *task = add(scene.h, url);

    if (scene.h->resolver.count)
        answer_ok(scene.h, 1, 1);
    deal(scene.h);
    assert_int_equal(task->place, TASK_GIVEN);
    assert_true(pop_task(scene.h, task->worker, m));
    return task;
}

/* `line`: of a record, what stands behind its number. */
static void answer_with(const char *url, enum result_kind kind, enum outcome outcome, unsigned status, const char *line)
{
    struct task_message m;
    struct task *task = give(url, &m);
    struct result_message r = result_of(&m, kind);
    char numbered[512] = "";

    if (kind == RESULT_RECORD)
        snprintf(numbered, sizeof numbered, "{\"seq\":%llu,%s", (unsigned long long)m.seq, line);
    r.outcome = (uint32_t)outcome;
    r.status = status;
    r.attempts = 2;
    send_result(scene.h, task->worker, r, numbered);
    results_turn(&scene.h->results);
}

static void a_failure_is_told_as_the_answer_before_it(void **state)
{
    (void)state;
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_OK, 200, GOOD_LINE(""));
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_CONNECTION_REFUSED, 0, "\"failed\":true}\n");
    assert_output_has(scene.h, "\"failed\":false,\"method\":\"GET\",\"status_code\":200,\"content_type\":\"text/html\","
                               "\"host_ip\":\"192.0.2.1\",\"time\":");
    assert_output_has(scene.h, "\"attempts\":2,\"stale\":true,\"stale_since\":\"");
    assert_output_has(scene.h, "\"stale_reason\":\"connection-refused\"}\n");
    assert_null(strstr(output(scene.h), "\"failed\":true"));
    assert_int_equal(scene.h->results.failed, 0);
    assert_int_equal(scene.h->results.done, 2);
    assert_int_equal(STATS_GET(scene.h->results.page, stale_answers), 1);
    assert_all_gone(scene.h);
}

static void a_wait_is_not_waited_when_an_answer_is_kept(void **state)
{
    (void)state;
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_OK, 204, GOOD_LINE(",\"tag\":1"));
    answer_with("http://a.example/", RESULT_RETRY, OUTCOME_RATE_LIMITED, 503, "");
    assert_output_has(scene.h, "\"stale_reason\":\"rate-limited\"");
    assert_all_gone(scene.h);
}

static void without_an_answer_a_failure_stays_as_it_came(void **state)
{
    (void)state;
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_CONNECTION_REFUSED, 0, "\"failed\":true}\n");
    assert_string_equal(output(scene.h), "{\"seq\":1,\"failed\":true}\n");
    assert_int_equal(scene.h->results.failed, 1);
    assert_all_gone(scene.h);
}

static void whatever_a_line_is_only_a_good_answer_comes_back(void **state)
{
    static const char *const lines[] = {
        "}\n",
        "\"x\":{\"failed\":false,\"status_code\":200}}\n",
        "\"x\":1,\"failed\":false,}\n",
        "\"x\":1,\"failed\":false}\n",
        ",\"failed\":false,\"status_code\":200,\"status_code\":200}\n",
        ",\"failed\":false,\"status_code\":\"200\"}\n",
        ",\"failed\":false,\"status_code\":500}\n",
        ",\"failed\":false,\"status_code\":200,\"method\":\"\xff\"}\n",
        ",\"failed\":false,\"status_code\":200,\"tls\":{\"a\":[[[[}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://a.example/%zu", i);
        answer_with(url, RESULT_RECORD, OUTCOME_OK, 200, lines[i]);
        answer_with(url, RESULT_RECORD, OUTCOME_CONNECTION_REFUSED, 0, "\"failed\":true}\n");
    }
    assert_null(strstr(output(scene.h), "stale"));
    assert_int_equal(scene.h->results.failed, sizeof lines / sizeof lines[0]);
    assert_all_gone(scene.h);
}

static void members_of_a_wrong_type_are_left_out(void **state)
{
    (void)state;
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_OK, 200,
                ",\"failed\":false,\"status_code\":200,\"method\":7,\"tls\":\"x\",\"evil\":1}\n");
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_TLS_ERROR, 0, "\"failed\":true}\n");
    assert_output_has(scene.h, "\"failed\":false,\"status_code\":200,\"time\":");
    assert_all_gone(scene.h);
}

static void blame_decides_what_an_answer_stands_in_for(void **state)
{
    static const enum outcome yes[] = {OUTCOME_DNS_NXDOMAIN,   OUTCOME_CONNECTION_TIMEOUT, OUTCOME_CONNECTION_BROKEN,
                                       OUTCOME_PROTOCOL_ERROR, OUTCOME_RATE_LIMITED,       OUTCOME_VALIDATION_FAILED};
    static const enum outcome no[] = {OUTCOME_OK,
                                      OUTCOME_INVALID_URL,
                                      OUTCOME_ADDRESS_DENIED,
                                      OUTCOME_ROBOTS_DENIED,
                                      OUTCOME_ACQUIRE_TIMEOUT,
                                      OUTCOME_RESOURCE_EXHAUSTED};

    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(answers_stand_in(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(answers_stand_in(no[i]));
}

static void the_log_of_the_failure_is_told_with_the_kept_answer_at_its_end(void **state)
{
    (void)state;
    scene.h->options.attempt_log = true;
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_OK, 200,
                GOOD_LINE(",\"attempt_log\":[{\"layer\":\"pool\"}]"));
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_CONNECTION_REFUSED, 0,
                "\"failed\":true,\"attempt_log\":[{\"layer\":\"address\"}]}\n");
    assert_output_has(scene.h,
                      "\"attempt_log\":[{\"layer\":\"address\"},{\"layer\":\"cache\",\"status_code\":200,\"ms\":");
    answer_with("http://a.example/", RESULT_RECORD, OUTCOME_CONNECTION_REFUSED, 0,
                "\"failed\":true,\"attempt_log\":[}\n");
    assert_output_has(scene.h, "\"attempt_log\":[{\"layer\":\"cache\",");
    assert_all_gone(scene.h);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, set_scene, clear_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_failure_is_told_as_the_answer_before_it),
        SCENE(a_wait_is_not_waited_when_an_answer_is_kept),
        SCENE(without_an_answer_a_failure_stays_as_it_came),
        SCENE(whatever_a_line_is_only_a_good_answer_comes_back),
        SCENE(members_of_a_wrong_type_are_left_out),
        SCENE(blame_decides_what_an_answer_stands_in_for),
        SCENE(the_log_of_the_failure_is_told_with_the_kept_answer_at_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
