/* Workers' messages that make no sense: refused, without a trace in what comes out, and their sender is ended. */
#include "tests/unit/coordinator_house.h"

#include "coordinator/results_check.h"

/* A task at an address of its own, given out; its message and the worker that has it. */
static struct task *give_one(struct house *h, const char *url, struct task_message *m, unsigned *worker_out)
{
    struct task *task = add_at(h, url, "192.0.2.1");

    deal(h);
    assert_int_equal(task->place, TASK_GIVEN);
    *worker_out = task->worker;
    assert_true(pop_task(h, task->worker, m));
    assert_int_equal(m->seq, task->seq);
    return task;
}

/* Sends `r` with `payload` and expects that its sender is ended, nothing is taken, and the task is still its. */
static void assert_refused(struct house *h, unsigned w, const void *head, size_t head_len, const char *payload,
                           size_t len)
{
    unsigned kills = h->fleet.kills[w];

    h->fleet.workers[w].condemned = false;
    send_bytes(h, w, head, head_len, payload, len);
    assert_int_equal(results_turn(&h->results), 0);
    assert_int_equal(h->fleet.kills[w], kills + 1);
    assert_int_equal(h->fleet.workers[w].given_count, 1);
    assert_string_equal(output(h), "");
    assert_int_equal(h->results.done, 0);
    ring_init(region_record_ring(&h->region, w), usual_plan.ring_capacity);
    ring_attach_consumer(&h->fleet.workers[w].records, region_record_ring(&h->region, w), usual_plan.ring_capacity);
    ring_attach_producer(&h->outbox[w], region_record_ring(&h->region, w), usual_plan.ring_capacity);
}

static const char sound_line[] = "{\"seq\":1}\n";
#define SOUND_LEN ((uint32_t)sizeof sound_line - 1)

static void assert_head_refused(struct house *h, unsigned w, const struct result_message *r)
{
    assert_refused(h, w, r, sizeof *r, sound_line, SOUND_LEN);
}

static void messages_that_make_no_sense_end_their_sender(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    struct result_message good = result_of(&m, RESULT_RECORD);
    good.len = SOUND_LEN;
    struct result_message r = good;
    assert_refused(h, w, "", 0, "", 0);
    assert_refused(h, w, &r, sizeof r - 1, "", 0);
#define REFUSED(field, value)          \
    do {                               \
        r = good;                      \
        r.field = (value);             \
        assert_head_refused(h, w, &r); \
    } while (0)
    REFUSED(seq, good.seq + 1);
    REFUSED(slot, good.slot + 1);
    REFUSED(slot, UINT32_MAX);
    REFUSED(kind, RESULT_HAND_BACK + 1);
    REFUSED(kind, RESULT_SESSION + 1);
    REFUSED(outcome, OUTCOME_RECORD_LAST + 1);
    REFUSED(outcome, UINT32_MAX);
    REFUSED(len, SOUND_LEN + 1);
    REFUSED(len, UINT32_MAX);
    REFUSED(attempts, UINT32_MAX);
    REFUSED(attempts, 1000);
    REFUSED(status, 1000);
    REFUSED(ip, usual_plan.ips_max);
    REFUSED(ip, UINT32_MAX - 1);
    REFUSED(access, ACCESS_FIXED + 1);
    REFUSED(delay_ms, 3600001);
    REFUSED(host_wait_ms, 86400001);
    h->fleet.workers[w].condemned = false;
    send_bytes(h, w, &good, sizeof good, sound_line, SOUND_LEN);
    assert_int_equal(results_turn(&h->results), 1);
    assert_all_gone(h);
}

/* A task that has had an attempt, and a redirect: what was told of it stands. */
static void answers_that_contradict_their_task_end_their_sender(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/", &m, &w);
    struct result_message good = result_of(&m, RESULT_REDIRECT);
    good.status = 302;
    good.attempts = 3;
    send_result(h, w, good, "http://192.0.2.7/");
    results_turn(&h->results);
    deal(h);
    w = task->worker;
    assert_true(pop_task(h, w, &m));
    good = result_of(&m, RESULT_RETRY);
    good.len = SOUND_LEN;
    struct result_message r;
    REFUSED(attempts, 2);
    REFUSED(started_us, good.started_us + 1);
    REFUSED(started_us, 0);
    REFUSED(first_attempt_wall_us, good.first_attempt_wall_us - 1);
    REFUSED(outcome, OUTCOME_OK);
    REFUSED(outcome, OUTCOME_TLS_ERROR);
    good = result_of(&m, RESULT_REDIRECT);
    good.len = SOUND_LEN;
    REFUSED(status, 0);
    REFUSED(status, 200);
    REFUSED(status, 400);
    good.status = 302;
    REFUSED(len, 0);
    task->chain_count = TASK_CHAIN_MAX;
    REFUSED(len, SOUND_LEN);
    task->chain_count = 1;
}

static void times_of_a_first_attempt_that_make_no_sense_end_their_sender(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    struct result_message good = result_of(&m, RESULT_RETRY);
    struct result_message r;
    REFUSED(started_us, UINT64_MAX);
    REFUSED(started_us, clock_us() + 1000000000);
    REFUSED(first_attempt_wall_us, UINT64_MAX);
}
#undef REFUSED

static void logs_that_are_none_end_their_sender(void **state)
{
    static const struct {
        const char *text;
        uint32_t len;
    } rows[] = {{"{", 1}, {"[]", 2}, {"{}\n", 3}, {"{\n}", 3}, {"{\0}", 3}, {"{}x", 3}};
    struct house *h = *state;
    struct task_message m;
    char payload[sizeof(struct task_log) + 8] = {0};
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    struct result_message r = result_of(&m, RESULT_HAND_BACK);
    r.len = sizeof(struct task_log) - 1;
    assert_refused(h, w, &r, sizeof r, payload, r.len);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memcpy(payload + sizeof(struct task_log), rows[i].text, rows[i].len);
        r.len = (uint32_t)sizeof(struct task_log) + rows[i].len;
        assert_refused(h, w, &r, sizeof r, payload, r.len);
    }
}

/* What is within the range of some option, but not of the one in force, does not end a run's sleep in a month. */
static void delays_are_no_longer_than_the_options_say(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    h->options.retry_delay_max = 50;
    h->options.total_timeout = 100;
    struct task *task = give_one(h, "http://a.example/", &m, &w);
    struct result_message r = result_of(&m, RESULT_RETRY);
    r.delay_ms = 3600000;
    r.host_wait_ms = 86400000;
    send_result(h, w, r, "");
    assert_int_equal(results_turn(&h->results), 1);
    assert_int_equal(task->place, TASK_DELAYED);
    timers_run(&h->timers, clock_us() + 60000, h->frontier);
    assert_int_equal(task->place, TASK_QUEUED);
    timers_run(&h->timers, clock_us() + 110000, h->frontier);
    assert_int_equal(deal(h), 1);
}

static void records_that_are_not_one_line_end_their_sender(void **state)
{
    static const struct {
        const char *text;
        uint32_t len;
    } rows[] = {{"", 0},
                {"\n", 1},
                {"{", 1},
                {"{}\n", 3},
                {"{\"seq\":1}", 9},
                {"{\"seq\":1}\n\n", 11},
                {"{\"seq\":1,\n}\n", 12},
                {"{\"seq\":1,\0}\n", 12},
                {"[\"seq\":1]\n", 10},
                {"{\"seq\":1}\n ", 11},
                {"{\"seq\":1]\n", 10},
                {"{\"seq\":2}\n", 10},
                {"{\"seq\":01}\n", 11},
                {"{\"seq\":11}\n", 11},
                {"{\"seq\":}}}\n", 11},
                {"{\"seq\":1.5}\n", 12},
                {"{\"seq\":111", 10},
                {"{\"seq\":18446744073709551617}\n", 29}};
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct result_message r = result_of(&m, RESULT_RECORD);
        r.len = rows[i].len;
        assert_refused(h, w, &r, sizeof r, rows[i].text, rows[i].len);
    }
}

/* Wherever it stands, in a line of any length. */
static void a_control_character_in_a_record_is_seen(void **state)
{
    char line[300];

    (void)state;
    for (size_t len = 12; len < sizeof line; len++) {
        memset(line, 'x', len);
        static const char head[9] = {'{', '"', 's', 'e', 'q', '"', ':', '7', ','};
        memcpy(line, head, sizeof head);
        line[len - 2] = '}';
        line[len - 1] = '\n';
        assert_true(result_is_record(line, len, 7));
        for (size_t at = 9; at < len - 2; at++) {
            line[at] = (char)(at % 0x20);
            assert_false(result_is_record(line, len, 7));
            line[at] = (char)0xff;
        }
        assert_true(result_is_record(line, len, 7));
    }
}

static void a_worker_cannot_answer_for_another_or_for_a_task_that_waits(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    struct task *task = give_one(h, "http://a.example/", &m, &w);
    unsigned other = 1 - w;
    struct result_message r = result_of(&m, RESULT_RECORD);
    r.len = SOUND_LEN;
    send_bytes(h, other, &r, sizeof r, sound_line, SOUND_LEN);
    assert_int_equal(results_turn(&h->results), 0);
    assert_int_equal(h->fleet.kills[other], 1);
    assert_int_equal(task->place, TASK_GIVEN);
    /* Handed back, it waits: an answer now comes too late. */
    send_result(h, w, result_of(&m, RESULT_HAND_BACK), "");
    send_bytes(h, w, &r, sizeof r, sound_line, SOUND_LEN);
    assert_int_equal(results_turn(&h->results), 1);
    assert_int_equal(h->fleet.kills[w], 1);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_string_equal(output(h), "");
}

static void an_answer_given_twice_counts_once(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    send_record(h, w, &m);
    send_record(h, w, &m);
    assert_int_equal(results_turn(&h->results), 1);
    assert_int_equal(h->fleet.kills[w], 1);
    assert_int_equal(records_of(h, 1), 1);
    assert_int_equal(h->results.done, 1);
}

static void a_torn_ring_ends_its_writer(void **state)
{
    struct house *h = *state;
    struct task_message m;
    unsigned w;

    give_one(h, "http://a.example/", &m, &w);
    atomic_store(&h->outbox[w].shared->tail, 12345);
    assert_int_equal(results_turn(&h->results), 0);
    assert_int_equal(h->fleet.kills[w], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(messages_that_make_no_sense_end_their_sender),
        CASE(answers_that_contradict_their_task_end_their_sender),
        CASE(times_of_a_first_attempt_that_make_no_sense_end_their_sender),
        CASE(logs_that_are_none_end_their_sender),
        CASE(delays_are_no_longer_than_the_options_say),
        CASE(records_that_are_not_one_line_end_their_sender),
        CASE(a_control_character_in_a_record_is_seen),
        CASE(a_worker_cannot_answer_for_another_or_for_a_task_that_waits),
        CASE(an_answer_given_twice_counts_once),
        CASE(a_torn_ring_ends_its_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
