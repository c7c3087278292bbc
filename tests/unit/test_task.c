/* The table of tasks: room, names of slots, what a task keeps of its line, and what a redirect makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task.h"
#include "shm/task.h"

#define ROOM 4

struct bench {
    struct task_table *table;
    struct buffer text, next_text;
    uint64_t seq;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    b->table = task_table_new(ROOM);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    task_table_free(b->table);
    buffer_fini(&b->text);
    buffer_fini(&b->next_text);
    free(b);
    return 0;
}

static struct url parse(struct buffer *text, const char *input)
{
    const char *reason = "";
    struct url url;

    if (url_parse(input, strlen(input), NULL, text, &url, &reason) != OUTCOME_OK)
        fail_msg("%s: %s", input, reason);
    return url;
}

static struct task *make(struct bench *b, const char *input, struct input_line line)
{
    struct url url = parse(&b->text, input);

    return task_new(b->table, ++b->seq, input, strlen(input), &line, &url);
}

static struct task *make_plain(struct bench *b)
{
    return make(b, "http://a.example/x", (struct input_line){0});
}

static void assert_span(struct span span, const char *wanted)
{
    assert_non_null(span.data);
    assert_int_equal(span.len, strlen(wanted));
    assert_memory_equal(span.data, wanted, span.len);
}

static void a_full_table_refuses_until_one_is_freed(void **state)
{
    struct bench *b = *state;
    struct task *tasks[ROOM];

    for (unsigned i = 0; i < ROOM; i++) {
        tasks[i] = make_plain(b);
        assert_non_null(tasks[i]);
        assert_int_equal(task_count(b->table), i + 1);
    }
    assert_null(make_plain(b));
    assert_int_equal(task_count(b->table), ROOM);
    uint32_t slot = tasks[2]->slot;
    task_free(b->table, tasks[2]);
    struct task *again = make_plain(b);
    assert_non_null(again);
    assert_int_equal(again->slot, slot);
}

static void room_is_what_slots_are_free(void **state)
{
    struct bench *b = *state;
    struct task *last = NULL;

    for (unsigned i = 0; i < ROOM; i++) {
        assert_int_equal(task_room(b->table), ROOM - i);
        last = make_plain(b);
    }
    assert_int_equal(task_room(b->table), 0);
    task_free(b->table, last);
    assert_int_equal(task_room(b->table), 1);
}

/* The smallest window has 8 MiB. */
static void room_is_what_bytes_are_free_too(void **state)
{
    struct bench *b = *state;
    size_t mib = (size_t)1 << 20;
    char *body = calloc(1, 9 * mib);

    struct task *half = make(b, "http://a.example/", (struct input_line){.body = body, .body_len = 4 * mib});
    assert_int_equal(task_room(b->table), 1);
    task_free(b->table, half);
    assert_int_equal(task_room(b->table), ROOM);
    struct task *quarter = make(b, "http://a.example/", (struct input_line){.body = body, .body_len = 2 * mib - 4096});
    assert_int_equal(task_room(b->table), 3);
    /* One more comes as long as there is a byte. */
    struct task *most = make(b, "http://a.example/", (struct input_line){.body = body, .body_len = 6 * mib - 4096});
    assert_int_equal(task_room(b->table), 1);
    struct task *beyond = make(b, "http://a.example/", (struct input_line){.body = body, .body_len = 9 * mib});
    assert_non_null(beyond);
    assert_int_equal(task_room(b->table), 0);
    task_free(b->table, quarter);
    assert_int_equal(task_room(b->table), 0);
    task_free(b->table, beyond);
    assert_int_equal(task_room(b->table), 1);
    task_free(b->table, most);
    assert_int_equal(task_room(b->table), ROOM);
    free(body);
}

static void room_of_a_large_window_is_counted_without_overflow(void **state)
{
    struct task_table *large = task_table_new(1u << 22);

    (void)state;
    assert_int_equal(task_room(large), 1u << 22);
    task_table_free(large);
}

static void slots_differ_and_are_in_range(void **state)
{
    struct bench *b = *state;
    bool seen[ROOM] = {false};

    for (unsigned i = 0; i < ROOM; i++) {
        struct task *task = make_plain(b);
        assert_in_range(task->slot, 0, ROOM - 1);
        assert_false(seen[task->slot]);
        seen[task->slot] = true;
    }
}

static void a_task_is_found_only_by_slot_and_number_together(void **state)
{
    struct bench *b = *state;
    struct task *task = make_plain(b);

    assert_ptr_equal(task_find(b->table, task->slot, task->seq), task);
    assert_null(task_find(b->table, task->slot, task->seq + 1));
    assert_null(task_find(b->table, task->slot + 1, task->seq));
    assert_null(task_find(b->table, ROOM, task->seq));
    assert_null(task_find(b->table, UINT32_MAX, task->seq));
    uint32_t slot = task->slot;
    uint64_t seq = task->seq;
    task_free(b->table, task);
    assert_null(task_find(b->table, slot, seq));
    struct task *next = make_plain(b);
    assert_int_equal(next->slot, slot);
    assert_null(task_find(b->table, slot, seq));
}

static void the_bytes_of_all_tasks_add_up(void **state)
{
    struct bench *b = *state;

    assert_int_equal(task_bytes(b->table), 0);
    struct task *first = make_plain(b);
    size_t one = task_bytes(b->table);
    assert_true(one >= sizeof(struct task) + 18);
    struct task *second = make(b, "http://a.example/x", (struct input_line){.body = "12345", .body_len = 5});
    assert_int_equal(task_bytes(b->table), 2 * one + 5);
    task_free(b->table, first);
    task_free(b->table, second);
    assert_int_equal(task_bytes(b->table), 0);
}

static void a_task_keeps_copies_of_all_that_the_line_said(void **state)
{
    struct bench *b = *state;
    char method[] = "PUT";
    char headers[] = "A: b\r\n";
    char body[] = "body";
    char ip[] = "192.0.2.1";
    char tag[] = "[1]";
    struct input_line line = {.method = method,
                              .method_len = 3,
                              .headers = headers,
                              .headers_len = 6,
                              .body = body,
                              .body_len = 4,
                              .ip = ip,
                              .ip_len = 9,
                              .tag = tag,
                              .tag_len = 3};
    struct task *task = make(b, "HTTP://A.example/x", line);

    memset(method, '#', 3);
    memset(headers, '#', 6);
    memset(body, '#', 4);
    memset(ip, '#', 9);
    memset(tag, '#', 3);
    buffer_clear(&b->text);
    buffer_append_str(&b->text, "##################");
    assert_span(task->input, "HTTP://A.example/x");
    assert_span((struct span){task->url.text, task->url.len}, "http://a.example/x");
    assert_span(task->method, "PUT");
    assert_span(task->headers, "A: b\r\n");
    assert_span(task->body, "body");
    assert_span(task->ip, "192.0.2.1");
    assert_span(task->tag, "[1]");
    assert_int_equal(task->place, TASK_NOWHERE);
}

static void what_was_not_said_is_absent_and_what_is_empty_is_not(void **state)
{
    struct bench *b = *state;
    struct task *task = make(b, "http://a.example/", (struct input_line){.body = "", .body_len = 0});

    assert_null(task->method.data);
    assert_null(task->headers.data);
    assert_null(task->ip.data);
    assert_null(task->tag.data);
    assert_non_null(task->body.data);
    assert_int_equal(task->body.len, 0);
}

static void an_input_that_is_the_url_is_kept_once(void **state)
{
    struct bench *b = *state;
    struct task *same = make(b, "http://a.example/x", (struct input_line){0});
    struct task *other = make(b, "http://a.example/X#f", (struct input_line){0});

    assert_ptr_equal(same->input.data, same->first_url.text);
    assert_ptr_not_equal(other->input.data, other->first_url.text);
    assert_span(other->input, "http://a.example/X#f");
}

static struct task *redirected(struct bench *b, const char *method, unsigned status, const char *to)
{
    struct task *task =
        make(b, "http://a.example/x", (struct input_line){.body = "b", .body_len = 1, .ip = "192.0.2.1", .ip_len = 9});
    struct url next = parse(&b->next_text, to);

    task->method = (struct span){method, strlen(method)};
    task_redirect(task, &next, status, task->method);
    /* Where the URL came from may change after that. */
    memset(b->next_text.data, '#', b->next_text.len);
    return task;
}

static void methods_change_as_browsers_change_them(void **state)
{
    static const struct {
        const char *method;
        unsigned status;
        const char *then;
    } rows[] = {
        {"GET", 301, "GET"},   {"POST", 301, "GET"},      {"PUT", 301, "PUT"},   {"HEAD", 301, "HEAD"},
        {"POST", 302, "GET"},  {"DELETE", 302, "DELETE"}, {"POST", 303, "GET"},  {"PUT", 303, "GET"},
        {"HEAD", 303, "HEAD"}, {"POST", 307, "POST"},     {"PUT", 308, "PUT"},   {"POST", 308, "POST"},
        {"POS", 301, "POS"},   {"POSTS", 301, "POSTS"},   {"post", 301, "post"}, {"HEADS", 303, "GET"},
    };
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct task *task = redirected(b, rows[i].method, rows[i].status, "http://a.example/y");
        bool changed = strcmp(rows[i].method, rows[i].then) != 0;
        assert_span(task->method, rows[i].then);
        assert_int_equal(task->body_dropped, changed);
        assert_int_equal(task->body.data == NULL, changed);
        task_free(b->table, task);
    }
}

static void the_default_method_counts_when_the_line_named_none(void **state)
{
    struct bench *b = *state;
    struct task *task = make_plain(b);
    struct url next = parse(&b->next_text, "http://a.example/y");

    task_redirect(task, &next, 307, (struct span){"POST", 4});
    assert_null(task->method.data);
    task_redirect(task, &next, 302, (struct span){"POST", 4});
    assert_span(task->method, "GET");
    assert_true(task->body_dropped);
}

static void a_redirect_keeps_the_first_url_and_lists_the_statuses(void **state)
{
    struct bench *b = *state;
    struct task *task = redirected(b, "GET", 301, "http://a.example/longer/than/the/first");
    struct url next = parse(&b->next_text, "http://a.example/z");

    assert_span((struct span){task->url.text, task->url.len}, "http://a.example/longer/than/the/first");
    task_redirect(task, &next, 308, task->method);
    assert_span((struct span){task->url.text, task->url.len}, "http://a.example/z");
    assert_span((struct span){task->first_url.text, task->first_url.len}, "http://a.example/x");
    assert_int_equal(task->chain_count, 2);
    assert_int_equal(task->chain[0], 301);
    assert_int_equal(task->chain[1], 308);
    assert_false(task->crossed);
    assert_span(task->ip, "192.0.2.1");
}

static void another_origin_is_crossed_into_and_stays_crossed(void **state)
{
    static const char *const others[] = {"https://a.example/x", "http://a.example:81/x", "http://b.example/x",
                                         "http://aa.example/x", "http://a.exampl/x"};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct task *task = redirected(b, "GET", 302, others[i]);
        assert_true(task->crossed);
        assert_null(task->ip.data);
        struct url home = parse(&b->next_text, "http://a.example/x");
        task_redirect(task, &home, 302, task->method);
        assert_true(task->crossed);
        task_free(b->table, task);
    }
}

static void a_chain_stops_growing_at_its_limit(void **state)
{
    struct bench *b = *state;
    struct task *task = make_plain(b);
    struct url next = parse(&b->next_text, "http://a.example/y");

    for (unsigned i = 0; i < TASK_CHAIN_MAX + 10; i++)
        task_redirect(task, &next, 300 + i % 9, task->method);
    assert_int_equal(task->chain_count, TASK_CHAIN_MAX);
    assert_int_equal(task->chain[TASK_CHAIN_MAX - 1], 300 + (TASK_CHAIN_MAX - 1) % 9);
}

/* Once failed: task_redirect() counts what it allocates: task_bytes() bounds the window's memory, and each
 * redirect may add an URL of 64 KiB that a server chose. */
static void the_url_of_a_redirect_counts_as_bytes(void **state)
{
    struct bench *b = *state;
    struct task *task = make_plain(b);
    size_t before = task_bytes(b->table);
    char text[9001];

    snprintf(text, sizeof text, "http://a.example/%08900d", 1);
    struct url next = parse(&b->next_text, text);
    task_redirect(task, &next, 302, task->method);
    assert_in_range(task_bytes(b->table), before + 8900, before + 12000);
    task_free(b->table, task);
    assert_int_equal(task_bytes(b->table), 0);
}

static void addresses_that_failed_are_kept_once_each_up_to_a_limit(void **state)
{
    struct bench *b = *state;
    struct task *task = make(b, "http://a.example/", (struct input_line){0});
    size_t before = task_bytes(b->table);

    task_avoid(task, 7);
    task_avoid(task, 7);
    assert_int_equal(task->avoid_count, 1);
    assert_true(task_bytes(b->table) > before);
    for (uint32_t ip = 0; ip < 2 * TASK_AVOID_MAX; ip++)
        task_avoid(task, ip);
    assert_int_equal(task->avoid_count, TASK_AVOID_MAX);
    struct url next = parse(&b->next_text, "http://b.example/");
    task_redirect(task, &next, 302, task->method);
    assert_int_equal(task->avoid_count, 0);
    task_free(b->table, task);
    assert_int_equal(task_bytes(b->table), 0);
}

static void a_log_is_kept_in_place_of_the_one_before(void **state)
{
    struct bench *b = *state;
    struct task *task = make(b, "http://a.example/", (struct input_line){0});
    size_t before = task_bytes(b->table);
    static char bytes[TASK_LOG_MAX + 1];

    assert_null(task_log_text(task).data);
    memset(bytes, 'x', sizeof bytes);
    task_keep_log(task, bytes, sizeof(struct task_log) - 1);
    task_keep_log(task, bytes, sizeof bytes);
    bytes[100] = '\n';
    task_keep_log(task, bytes, 200);
    assert_null(task_log_text(task).data);
    assert_int_equal(task_bytes(b->table), before);
    bytes[100] = 'x';
    memset(bytes, '\n', sizeof(struct task_log));
    task_keep_log(task, bytes, TASK_LOG_MAX);
    assert_int_equal(task_bytes(b->table), before + TASK_LOG_MAX);
    task_keep_log(task, bytes, sizeof(struct task_log) + 3);
    assert_int_equal(task_log_text(task).len, 3);
    assert_memory_equal(task_log_text(task).data, "xxx", 3);
    task_free(b->table, task);
    assert_int_equal(task_bytes(b->table), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_full_table_refuses_until_one_is_freed),
        CASE(room_is_what_slots_are_free),
        CASE(room_is_what_bytes_are_free_too),
        CASE(room_of_a_large_window_is_counted_without_overflow),
        CASE(slots_differ_and_are_in_range),
        CASE(a_task_is_found_only_by_slot_and_number_together),
        CASE(the_bytes_of_all_tasks_add_up),
        CASE(a_task_keeps_copies_of_all_that_the_line_said),
        CASE(what_was_not_said_is_absent_and_what_is_empty_is_not),
        CASE(an_input_that_is_the_url_is_kept_once),
        CASE(methods_change_as_browsers_change_them),
        CASE(the_default_method_counts_when_the_line_named_none),
        CASE(a_redirect_keeps_the_first_url_and_lists_the_statuses),
        CASE(another_origin_is_crossed_into_and_stays_crossed),
        CASE(a_chain_stops_growing_at_its_limit),
        CASE(the_url_of_a_redirect_counts_as_bytes),
        CASE(addresses_that_failed_are_kept_once_each_up_to_a_limit),
        CASE(a_log_is_kept_in_place_of_the_one_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
