/* Lines of other shards: passed over, whatever they are, and each line is some shard's. */
#include "coordinator/intake.h"
#include "tests/unit/coordinator_house.h"

static struct intake intake;

static void begin(struct house *h, const char *shard)
{
    struct options_error error;

    assert_true(options_set(&h->options, "shard", shard, "test", &error));
    intake_init(&intake, &h->results, &h->options);
}

static void give(struct house *h, const char *text, bool too_long)
{
    intake_line(&intake, &(struct feed_line){.seq = ++h->seq, .text = text, .len = strlen(text), .too_long = too_long});
}

/* Lines with hosts, and lines that have none. */
static const char *const lines[] = {
    "http://a.example/",
    "http://b.example/1",
    "https://c.example/",
    "http://192.0.2.1/",
    "http://[2001:db8::1]/",
    "{\"url\":\"http://d.example/\"}",
    "http://e.example:81/",
    "nonsense",
    "",
    "ftp://f.example/",
    "http://g h/",
    "{",
};
#define LINES (sizeof lines / sizeof lines[0])

static void each_line_is_one_shards_and_no_others(void **state)
{
    for (unsigned count = 1; count <= 5; count++) {
        unsigned owners[LINES] = {0};
        for (unsigned index = 1; index <= count; index++) {
            char shard[16];
            struct house *h = rebuild(state, &usual_plan);
            snprintf(shard, sizeof shard, "%u/%u", index, count);
            begin(h, shard);
            for (size_t i = 0; i < LINES; i++) {
                uint64_t before = intake.others;
                give(h, lines[i], false);
                bool ours = intake.others == before;
                owners[i] += ours;
                /* A task, a record, or nothing at all. */
                assert_int_equal(task_count(h->tasks) + h->results.done + intake.others, i + 1);
            }
            assert_int_equal(STATS_GET(h->results.page, invalid_lines), h->results.done);
            intake_fini(&intake);
        }
        for (size_t i = 0; i < LINES; i++)
            assert_int_equal(owners[i], 1);
    }
}

static void lines_of_one_host_are_one_shards(void **state)
{
    static const char *const same[] = {"http://a.example/", "https://a.example/x", "HTTP://A.EXAMPLE:8080/",
                                       "{\"url\":\"http://a.example/y\",\"ip\":\"192.0.2.1\"}"};
    struct house *h = *state;
    struct shard shard = {1, 1000};

    while (!shard_has(&shard, "a.example", 9))
        shard.index++;
    char text[16];
    snprintf(text, sizeof text, "%u/1000", shard.index);
    begin(h, text);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        give(h, same[i], false);
    assert_int_equal(intake.others, 0);
    assert_int_equal(task_count(h->tasks), 4);
    intake_fini(&intake);
}

static void a_host_of_another_shard_is_never_made(void **state)
{
    struct house *h = *state;
    struct shard shard = {1, 2};

    shard.index = shard_has(&shard, "a.example", 9) ? 2 : 1;
    begin(h, shard.index == 1 ? "1/2" : "2/2");
    give(h, "http://a.example/", false);
    assert_int_equal(intake.others, 1);
    assert_int_equal(hosts_count(frontier_host_table(h->frontier)), 0);
    assert_int_equal(h->resolver.asked, 0);
    assert_string_equal(output(h), "");
    intake_fini(&intake);
}

static void a_line_that_is_too_long_is_one_shards(void **state)
{
    unsigned owners = 0;

    for (unsigned index = 1; index <= 3; index++) {
        char shard[16];
        struct house *h = rebuild(state, &usual_plan);
        snprintf(shard, sizeof shard, "%u/3", index);
        begin(h, shard);
        give(h, "http://long.example/", true);
        owners += h->results.done == 1;
        assert_int_equal(h->results.done + intake.others, 1);
        intake_fini(&intake);
    }
    assert_int_equal(owners, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_line_is_one_shards_and_no_others),
        CASE(lines_of_one_host_are_one_shards),
        CASE(a_host_of_another_shard_is_never_made),
        CASE(a_line_that_is_too_long_is_one_shards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
