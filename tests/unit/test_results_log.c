/* What a task takes along from worker to worker: the addresses that have failed it, and the log of its attempts. */
#include "tests/unit/coordinator_house.h"

static void a_retry_tells_the_next_worker_where_it_failed_and_takes_its_log_along(void **state)
{
    struct house *h = *state;
    char log[sizeof(struct task_log) + 3] = {0};
    struct task_message m;
    unsigned w;

    memcpy(log + sizeof(struct task_log), "{}", 3);
    memset(log, 'x', sizeof(struct task_log));
    struct task *task = add_at(h, "http://a.example/", "192.0.2.1");

    deal(h);
    w = task->worker;
    assert_true(pop_task(h, w, &m));
    assert_int_equal(m.avoid_count, 0);
    assert_int_equal(m.log_len, 0);
    struct result_message r = result_of(&m, RESULT_RETRY);
    r.outcome = OUTCOME_CONNECTION_REFUSED;
    r.ip = 3;
    send_result(h, w, r, log);
    results_turn(&h->results);
    deal(h);
    assert_true(pop_task(h, task->worker, &m));
    assert_int_equal(m.avoid_count, 1);
    assert_int_equal(m.log_len, sizeof log - 1);
    r = result_of(&m, RESULT_RETRY);
    r.outcome = OUTCOME_RATE_LIMITED;
    r.ip = 4;
    send_result(h, task->worker, r, "");
    results_turn(&h->results);
    deal(h);
    assert_true(pop_task(h, task->worker, &m));
    assert_int_equal(m.avoid_count, 1);
    assert_int_equal(task->avoid[0], 3);
    r = result_of(&m, RESULT_REDIRECT);
    r.status = 302;
    char next[64] = "http://192.0.2.9/\n";
    memcpy(next + 18, log, sizeof log);
    send_result(h, task->worker, r, next);
    results_turn(&h->results);
    assert_int_equal(task->avoid_count, 0);
    assert_int_equal(task->url.len, 17);
    assert_int_equal(task_log_text(task).len, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_retry_tells_the_next_worker_where_it_failed_and_takes_its_log_along),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
