/* A long random life of the coordinator's middle: answers, redirects, retries, tasks handed back, deaths and name
 * servers that say anything, at random and by a fixed seed; at its end every line must have exactly one record. */
#include "tests/unit/coordinator_house.h"

#define LINES 4000

struct life {
    struct house *h;
    struct task_message held[2][2000];
    unsigned held_count[2];
};

static void random_line(struct life *life)
{
    char url[64];
    unsigned host = (unsigned)random() % 24;

    snprintf(url, sizeof url, "http://h%u.example/", host);
    if (host % 3)
        add(life->h, url);
    else
        add_at(life->h, url, "192.0.2.1");
}

static void random_answer(struct life *life, unsigned w)
{
    static const char *const locations[] = {
        "/other", "http://h3.example/", "http://h7.example/", "http://h8.example/", "http://[/", "https://h1.example/"};
    struct house *h = life->h;
    unsigned *count = &life->held_count[w];

    if (*count == 0)
        return;
    unsigned i = (unsigned)random() % *count;
    struct task_message m = life->held[w][i];
    life->held[w][i] = life->held[w][--*count];
    struct result_message r = result_of(&m, RESULT_RECORD);
    switch (random() % 10) {
    case 0:
        r.kind = RESULT_HAND_BACK;
        send_result(h, w, r, "");
        break;
    case 1:
        r = result_of(&m, RESULT_RETRY);
        r.delay_ms = (uint32_t)random() % 3;
        r.host_wait_ms = random() % 4 ? 0 : (uint32_t)random() % 4;
        send_result(h, w, r, "");
        break;
    case 2:
    case 3:
        r.kind = RESULT_REDIRECT;
        r.status = 302;
        send_result(h, w, r, locations[(size_t)random() % (sizeof locations / sizeof locations[0])]);
        break;
    default:
        send_record(h, w, &m);
    }
}

static void random_resolver(struct life *life)
{
    struct house *h = life->h;
    struct address list[3];
    uint32_t count = 1 + (uint32_t)random() % 3;

    for (uint32_t i = 0; i < count; i++)
        list[i] = (struct address){.family = 4, .bytes = {10, 0, 0, (uint8_t)(random() % 60)}};
    switch (random() % 6) {
    case 0:
        answer_all(h, &(struct resolver_answer){.outcome = OUTCOME_DNS_NXDOMAIN, .expires_wall_us = 1});
        break;
    case 1:
        answer_failure(h, OUTCOME_DNS_TIMEOUT);
        break;
    default: /* out of date at once: asked for again and again */
        answer_all(h, &(struct resolver_answer){
                          .outcome = OUTCOME_OK, .addresses = list, .count = count, .expires_wall_us = 1});
    }
}

static void random_turn(struct life *life, bool calm)
{
    struct house *h = life->h;

    dispatch_begin_turn(h->dispatch, clock_us());
    timers_run(&h->timers, clock_us() + (calm ? 1000000 : 5000), h->frontier);
    results_turn(&h->results);
    frontier_unblock(h->frontier, (unsigned)random() % 5 + calm);
    dispatch_run(h->dispatch);
    for (unsigned w = 0; w < 2; w++) {
        while (pop_task(h, w, &life->held[w][life->held_count[w]]))
            life->held_count[w]++;
        for (int i = 0; i < 8; i++)
            random_answer(life, w);
        if (!calm && random() % 100 == 0) {
            die_and_start_again(h, w);
            life->held_count[w] = 0;
        }
    }
    if (calm || random() % 3 == 0)
        random_resolver(life);
}

static void every_line_of_a_random_life_has_exactly_one_record(void **state)
{
    struct house_plan plan = usual_plan;
    static struct life life;
    static unsigned seen[LINES + 1];

    plan.max_connections = 20;
    plan.max_conns_per_host = 4;
    life = (struct life){.h = rebuild(state, &plan)};
    memset(seen, 0, sizeof seen);
    srandom(11);
    for (unsigned turns = 0; turns < 20000; turns++) {
        for (int i = 0; i < 6 && life.h->seq < LINES && task_count(life.h->tasks) < 400; i++)
            random_line(&life);
        random_turn(&life, life.h->seq == LINES);
        if (life.h->seq == LINES && task_count(life.h->tasks) == 0)
            break;
    }
    assert_all_gone(life.h);
    assert_int_equal(life.h->results.done, LINES);
    for (const char *at = output(life.h); *at; at = strchr(at, '\n') + 1) {
        assert_memory_equal(at, "{\"seq\":", 7);
        unsigned long long seq = strtoull(at + 7, NULL, 10);
        assert_in_range(seq, 1, LINES);
        seen[seq]++;
    }
    for (unsigned seq = 1; seq <= LINES; seq++)
        assert_int_equal(seen[seq], 1);
    assert_int_equal(life.h->fleet.kills[0] + life.h->fleet.kills[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_line_of_a_random_life_has_exactly_one_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
