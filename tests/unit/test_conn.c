#include "tests/unit/worker_fixture.h"

#include "common/clock.h"

static struct fixture x;

static void an_answer_comes_back_as_a_record(void **state)
{
    (void)state;
    fixture_open(&x, NULL);
    for (int kind = ORIGIN_PLAIN; kind <= ORIGIN_H2; kind++) {
        static const char *const names[] = {"plain.test", "a.test", "b.test"};
        struct origin *o = fixture_origin(&x, (enum origin_kind)kind);
        o->on_bytes = script_answer;
        o->on_request = script_answer_h2;
        fixture_get(&x, fixture_host_at(&x, names[kind], o), 3);
        fixture_until_told(&x, 3 * (size_t)(kind + 1), 0);
        for (int i = 0; i < 3; i++)
            assert_outcome(&x, (uint64_t)(3 * kind + i), RESULT_RECORD, OUTCOME_OK);
    }
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_answer_comes_back_as_a_record)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
