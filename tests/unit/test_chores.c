/* Chores: given to a worker's ring, answered once, and ended when the worker dies. */
#include "tests/unit/coordinator_house.h"

struct ends {
    unsigned count, parts;
    struct chore_answer last;
    char bytes[64];
};

static void on_part(void *user, const char *bytes, size_t len)
{
    struct ends *e = user;

    e->parts++;
    assert_in_range(len, 0, sizeof e->bytes - 1);
    memcpy(e->bytes, bytes, len);
    e->bytes[len] = '\0';
}

static void on_done(void *user, const struct chore_answer *answer)
{
    struct ends *e = user;

    e->count++;
    e->last = *answer;
}

static struct task_message taken(struct house *h, unsigned w)
{
    struct task_message m;
    const void *data;
    uint32_t len;

    assert_int_equal(ring_peek(&h->inbox[w], &data, &len), OUTCOME_OK);
    assert_in_range(len, sizeof m, 4096);
    memcpy(&m, data, sizeof m);
    ring_advance(&h->inbox[w]);
    ring_release(&h->inbox[w]);
    return m;
}

static void tell(struct house *h, unsigned w, const struct result_message *m, const char *text)
{
    uint8_t *at = ring_reserve(&h->outbox[w], (uint32_t)(sizeof *m + m->len));

    assert_non_null(at);
    memcpy(at, m, sizeof *m);
    memcpy(at + sizeof *m, text, m->len);
    ring_commit(&h->outbox[w], (uint32_t)(sizeof *m + m->len));
    ring_publish(&h->outbox[w]);
}

static struct task_message give(struct house *h, unsigned w, struct ends *e)
{
    struct chore_order order = {
        .kind = TASK_FLUSH, .ip = IP_NONE, .flags = TASK_IDLE_ONLY, .on_part = on_part, .on_done = on_done, .user = e};

    assert_true(chores_give(h->chores, w, &order));
    return taken(h, w);
}

static void order_goes_out_and_its_answer_comes_back_once(void **state)
{
    struct house *h = house_new(&usual_plan);
    struct ends e = {0};

    (void)state;
    struct task_message m = give(h, 1, &e);
    assert_int_equal(m.kind, TASK_FLUSH);
    assert_true(m.flags & TASK_IDLE_ONLY);
    assert_true(m.seq & CHORE_SEQ);
    struct result_message r = {.seq = m.seq, .slot = m.slot, .kind = RESULT_PART, .len = 3};
    tell(h, 1, &r, "{}\n");
    r.kind = RESULT_CHORE;
    r.len = 0;
    r.delay_ms = 7;
    r.outcome = OUTCOME_AT_LIMIT;
    tell(h, 1, &r, "");
    results_turn(&h->results);
    assert_int_equal(e.parts, 1);
    assert_string_equal(e.bytes, "{}\n");
    assert_int_equal(e.count, 1);
    assert_int_equal(e.last.count, 7);
    assert_int_equal(e.last.outcome, OUTCOME_AT_LIMIT);
    assert_int_equal(chores_open(h->chores), 0);
    assert_int_equal(h->fleet.kills[1], 0);
    /* A second answer to the same order is nonsense, and ends the worker. */
    tell(h, 1, &r, "");
    results_turn(&h->results);
    assert_int_equal(e.count, 1);
    assert_int_equal(h->fleet.kills[1], 1);
    house_free(h);
}

/* Each from a house of its own: a worker that was found out is heard no more. */
static void assert_part_refused(const char *text, uint32_t len)
{
    struct house *h = house_new(&usual_plan);
    struct ends e = {0};

    struct task_message m = give(h, 1, &e);
    struct result_message r = {.seq = m.seq, .slot = m.slot, .kind = RESULT_PART, .len = len};
    send_bytes(h, 1, &r, sizeof r, text, len);
    assert_int_equal(results_turn(&h->results), 0);
    assert_int_equal(h->fleet.kills[1], 1);
    assert_int_equal(e.parts, 0);
    house_free(h);
}

static void parts_that_are_no_lines_are_refused(void **state)
{
    (void)state;
    assert_part_refused("abc", 3);
    assert_part_refused("{}", 2);
    assert_part_refused("{\n", 2);
    assert_part_refused("{}\n{}", 5);
    assert_part_refused("{}\n\n", 4);
    assert_part_refused("{}\nx}\n", 6);
    assert_part_refused("{\0}\n", 4);
    assert_part_refused("{\33}\n", 4);
}

static void answer_of_another_worker_is_refused(void **state)
{
    struct house *h = house_new(&usual_plan);
    struct ends e = {0};

    (void)state;
    struct task_message m = give(h, 0, &e);
    struct result_message r = {.seq = m.seq, .slot = m.slot, .kind = RESULT_CHORE};
    tell(h, 1, &r, "");
    results_turn(&h->results);
    assert_int_equal(e.count, 0);
    assert_int_equal(h->fleet.kills[1], 1);
    assert_int_equal(chores_open(h->chores), 1);
    house_free(h);
}

static void chores_of_a_dead_worker_end(void **state)
{
    struct house *h = house_new(&usual_plan);
    struct ends e[2] = {0};

    (void)state;
    give(h, 0, &e[0]);
    give(h, 1, &e[1]);
    results_on_death(&h->results, 1);
    assert_int_equal(e[0].count, 0);
    assert_int_equal(e[1].count, 1);
    assert_int_equal(e[1].last.outcome, OUTCOME_CONNECTION_BROKEN);
    assert_int_equal(chores_open(h->chores), 1);
    house_free(h);
}

static void worker_that_does_not_run_is_given_none(void **state)
{
    struct house *h = house_new(&usual_plan);
    struct chore_order order = {.kind = TASK_LIST, .ip = IP_NONE};

    (void)state;
    h->fleet.workers[0].pid = 0;
    assert_false(chores_give(h->chores, 0, &order));
    for (int i = 0; i < 4; i++)
        assert_int_equal(chores_pick(h->chores), 1);
    h->fleet.workers[1].pid = 0;
    assert_int_equal(chores_pick(h->chores), 2);
    house_free(h);
}

static void full_ring_refuses_the_order(void **state)
{
    struct house *h = house_new(&usual_plan);
    struct chore_order order = {.kind = TASK_LIST, .ip = IP_NONE};
    unsigned given = 0;

    (void)state;
    while (chores_give(h->chores, 0, &order))
        assert_in_range(++given, 1, 4096);
    assert_in_range(given, 100, 4096);
    taken(h, 0);
    taken(h, 0);
    assert_int_equal(chores_open(h->chores), given);
    assert_true(chores_give(h->chores, 0, &order) || given == 4096);
    house_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_goes_out_and_its_answer_comes_back_once),
        cmocka_unit_test(parts_that_are_no_lines_are_refused),
        cmocka_unit_test(answer_of_another_worker_is_refused),
        cmocka_unit_test(chores_of_a_dead_worker_end),
        cmocka_unit_test(worker_that_does_not_run_is_given_none),
        cmocka_unit_test(full_ring_refuses_the_order),
    };

    return cmocka_run_group_tests_name("chores", tests, NULL, NULL);
}
