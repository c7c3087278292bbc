/* From line to task, or to the record of a line that is no request; and the window's two bounds. */
#include "coordinator/intake.h"
#include "tests/unit/coordinator_house.h"

static struct intake intake;

static int intake_setup(void **state)
{
    int rc = setup(state);
    struct house *h = *state;

    intake_init(&intake, &h->results, &h->options);
    return rc;
}

static int intake_teardown(void **state)
{
    intake_fini(&intake);
    return teardown(state);
}

static struct house *rebuild_with(void **state, const struct house_plan *plan)
{
    struct house *h = rebuild(state, plan);

    intake_fini(&intake);
    intake_init(&intake, &h->results, &h->options);
    return h;
}

static void give_bytes(struct house *h, const char *text, size_t len, bool too_long)
{
    intake_line(&intake, &(struct feed_line){.seq = ++h->seq, .text = text, .len = len, .too_long = too_long});
}

static void give(struct house *h, const char *text)
{
    give_bytes(h, text, strlen(text), false);
}

static struct task *only_task(struct house *h)
{
    for (uint32_t slot = 0; slot < usual_plan.window; slot++) {
        struct task *task = task_find(h->tasks, slot, h->seq);
        if (task)
            return task;
    }
    fail_msg("no task of line %llu", (unsigned long long)h->seq);
    return NULL;
}

static void assert_span(struct span span, const char *wanted)
{
    assert_non_null(span.data);
    assert_int_equal(span.len, strlen(wanted));
    assert_memory_equal(span.data, wanted, span.len);
}

static void a_url_becomes_a_task_in_its_hosts_queue(void **state)
{
    struct house *h = *state;

    give(h, "HTTP://A.example/x");
    struct task *task = only_task(h);
    assert_int_equal(task->place, TASK_QUEUED);
    assert_span(task->input, "HTTP://A.example/x");
    assert_span((struct span){task->url.text, task->url.len}, "http://a.example/x");
    assert_int_equal(frontier_queued(h->frontier), 1);
    assert_string_equal(h->resolver.questions[0].name, "a.example");
    assert_string_equal(output(h), "");
}

static void a_carriage_return_is_not_part_of_the_url(void **state)
{
    struct house *h = *state;

    give(h, "http://a.example/x\r");
    assert_int_equal(only_task(h)->url.len, 18);
}

static void a_byte_order_mark_is_dropped_from_the_first_line_only(void **state)
{
    struct house *h = *state;

    give(h, "\xef\xbb\xbfhttp://a.example/x");
    assert_int_equal(only_task(h)->url.len, 18);
    give(h, "\xef\xbb\xbfhttp://a.example/x");
    assert_int_equal(records_of(h, 2), 1);
    give(h, "http://a.example/x");
    assert_int_equal(frontier_queued(h->frontier), 2);
}

static void a_mark_alone_is_an_empty_line(void **state)
{
    struct house *h = *state;

    give(h, "\xef\xbb\xbf");
    assert_output_has(h, "the line is empty");
}

static void a_json_line_brings_all_it_asks_for(void **state)
{
    struct house *h = *state;

    give(h, "{\"url\":\"http://a.example/\",\"method\":\"PUT\",\"headers\":{\"A\":\"b\"},\"body\":\"x\","
            "\"ip\":\"192.0.2.1\",\"tag\":{\"k\":1}}");
    struct task *task = only_task(h);
    assert_span(task->method, "PUT");
    assert_span(task->headers, "A: b\r\n");
    assert_span(task->body, "x");
    assert_span(task->ip, "192.0.2.1");
    assert_span(task->tag, "{\"k\":1}");
    assert_int_equal(h->resolver.asked, 0);
}

static void a_body_without_a_method_is_posted(void **state)
{
    struct house *h = *state;

    give(h, "{\"url\":\"http://a.example/\",\"body\":\"\"}");
    assert_span(only_task(h)->method, "POST");
    give(h, "http://a.example/");
    assert_null(only_task(h)->method.data);
    give(h, "{\"url\":\"http://a.example/\",\"body\":\"x\",\"method\":\"GET\"}");
    assert_span(only_task(h)->method, "GET");
}

static void each_bad_line_has_one_record_with_its_reason(void **state)
{
    static const struct {
        const char *line, *code, *reason;
    } rows[] = {
        {"", "invalid-url", "the line is empty"},
        {"\r", "invalid-url", "the line is empty"},
        {"ftp://a.example/", "invalid-url", ""},
        {"nonsense", "invalid-url", ""},
        {"http://a b/", "invalid-host", ""},
        {"http://a.example:70000/", "invalid-url", "the port is above 65535"},
        {"{", "invalid-url", "invalid JSON"},
        {"{}", "invalid-url", "\\\"url\\\" is missing"},
        {"{\"url\":\"nonsense\"}", "invalid-url", ""},
    };
    struct house *h = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char start[32];
        char code[64];
        give(h, rows[i].line);
        assert_int_equal(records_of(h, h->seq), 1);
        snprintf(start, sizeof start, "{\"seq\":%llu,", (unsigned long long)h->seq);
        snprintf(code, sizeof code, "\"error_code\":\"%s\"", rows[i].code);
        const char *line = strstr(output(h), start);
        assert_non_null(strstr(line, code));
        assert_non_null(strstr(line, rows[i].reason));
        assert_int_equal(h->results.done, i + 1);
    }
    assert_int_equal(task_count(h->tasks), 0);
    assert_int_equal(hosts_count(frontier_host_table(h->frontier)), 0);
    assert_int_equal(STATS_GET(h->results.page, invalid_lines), sizeof rows / sizeof rows[0]);
}

static void a_refused_json_line_keeps_its_own_tag_and_no_other(void **state)
{
    struct house *h = *state;

    give(h, "{\"url\":\"http://a.example/\",\"tag\":\"first\"}");
    give(h, "{\"url\":\"nonsense\",\"tag\":\"second\"}");
    assert_output_has(h, "\"tag\":\"second\"");
    give(h, "nonsense");
    give(h, "{\"url\":1,\"tag\":\"third\"}");
    assert_null(strstr(output(h), "first"));
    const char *tag = strstr(h->output.data, "\"tag\"");
    assert_null(strstr(tag + 1, "\"tag\":\"second\""));
}

static void a_line_that_is_too_long_says_so_and_is_marked(void **state)
{
    struct house *h = *state;

    h->options.max_line = 64;
    give_bytes(h, "http://a.example/", 17, true);
    assert_int_equal(records_of(h, 1), 1);
    assert_output_has(h, "\"input\":\"http://a.example/\",\"input_truncated\":true");
    assert_output_has(h, "longer than 64 bytes; --max-line");
    assert_int_equal(task_count(h->tasks), 0);
}

static void a_line_without_text_is_an_empty_line(void **state)
{
    struct house *h = *state;

    give_bytes(h, NULL, 0, false);
    assert_int_equal(records_of(h, 1), 1);
    give_bytes(h, NULL, 0, true);
    assert_int_equal(records_of(h, 2), 1);
}

static void bytes_of_any_kind_are_told_as_they_were(void **state)
{
    struct house *h = *state;

    give_bytes(h, "http://a\0b/\xff", 12, false);
    assert_output_has(h, "\"input\":\"http://a\\u0000b/\\\\xff\"");
}

static void the_window_counts_lines(void **state)
{
    struct house_plan plan = usual_plan;

    plan.window = 3;
    struct house *h = rebuild_with(state, &plan);
    for (int i = 0; i < 3; i++) {
        assert_true(intake_has_room(&intake));
        give(h, "http://a.example/");
    }
    assert_false(intake_has_room(&intake));
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_true(intake_has_room(&intake));
}

static void the_window_counts_bytes_too(void **state)
{
    struct house *h = *state;
    static char line[60000] = "http://a.example/";
    unsigned lines = 0;

    memset(line + 17, 'a', sizeof line - 17);
    while (intake_has_room(&intake) && lines < usual_plan.window) {
        give_bytes(h, line, sizeof line, false);
        lines++;
    }
    /* 10,000 lines of 4 KiB each. */
    assert_in_range(lines, 10000u * 4096 / 61000, 10000u * 4096 / 60000 + 1);
    answer_failure(h, OUTCOME_DNS_NXDOMAIN);
    assert_true(intake_has_room(&intake));
    assert_int_equal(task_bytes(h->tasks), 0);
}

static void a_small_window_has_room_for_long_lines_too(void **state)
{
    struct house_plan plan = usual_plan;

    plan.window = 1;
    struct house *h = rebuild_with(state, &plan);
    static char line[60000] = "http://a.example/";

    memset(line + 17, 'a', sizeof line - 17);
    assert_true(intake_has_room(&intake));
    give_bytes(h, line, sizeof line, false);
    assert_int_equal(frontier_queued(h->frontier), 1);
    assert_false(intake_has_room(&intake));
}

#define INTAKE_CASE(name) cmocka_unit_test_setup_teardown(name, intake_setup, intake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INTAKE_CASE(a_url_becomes_a_task_in_its_hosts_queue),
        INTAKE_CASE(a_carriage_return_is_not_part_of_the_url),
        INTAKE_CASE(a_byte_order_mark_is_dropped_from_the_first_line_only),
        INTAKE_CASE(a_mark_alone_is_an_empty_line),
        INTAKE_CASE(a_json_line_brings_all_it_asks_for),
        INTAKE_CASE(a_body_without_a_method_is_posted),
        INTAKE_CASE(each_bad_line_has_one_record_with_its_reason),
        INTAKE_CASE(a_refused_json_line_keeps_its_own_tag_and_no_other),
        INTAKE_CASE(a_line_that_is_too_long_says_so_and_is_marked),
        INTAKE_CASE(a_line_without_text_is_an_empty_line),
        INTAKE_CASE(bytes_of_any_kind_are_told_as_they_were),
        INTAKE_CASE(the_window_counts_lines),
        INTAKE_CASE(the_window_counts_bytes_too),
        INTAKE_CASE(a_small_window_has_room_for_long_lines_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
