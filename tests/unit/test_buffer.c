/* Growing, formatting and consuming byte buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/log.h"

static void assert_text(const struct buffer *b, const char *wanted)
{
    assert_int_equal(b->len, strlen(wanted));
    assert_memory_equal(b->data, wanted, b->len);
}

static void an_empty_one_holds_nothing_and_can_be_released_twice(void **state)
{
    struct buffer b = {0};

    (void)state;
    buffer_append(&b, NULL, 0);
    buffer_append_str(&b, "");
    buffer_consume(&b, 0);
    assert_null(b.data);
    buffer_fini(&b);
    buffer_append_char(&b, 'x');
    buffer_fini(&b);
    buffer_fini(&b);
    assert_int_equal(b.cap, 0);
}

static void what_was_appended_survives_every_growth(void **state)
{
    struct buffer b = {0};

    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        buffer_append_char(&b, (char)(i % 251));
    assert_int_equal(b.len, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal((unsigned char)b.data[i], i % 251);
    buffer_fini(&b);
}

static void a_reservation_of_the_exact_rest_does_not_move_it(void **state)
{
    struct buffer b = {0};

    (void)state;
    buffer_append_str(&b, "abc");
    char *data = b.data;
    buffer_reserve(&b, b.cap - b.len);
    assert_ptr_equal(b.data, data);
    size_t cap = b.cap;
    buffer_reserve(&b, cap - b.len + 1);
    assert_true(b.cap > cap);
    assert_text(&b, "abc");
    buffer_fini(&b);
}

static void printf_appends_texts_of_any_length(void **state)
{
    static char wanted[700];
    static char word[600 + 1];

    (void)state;
    /* Across the borders of the first guess (64) and of the first growth (256). */
    for (size_t len = 0; len < 600; len++) {
        struct buffer b = {0};
        memset(word, 'w', len);
        word[len] = '\0';
        buffer_append_str(&b, "<");
        buffer_printf(&b, "%s=%d;", word, 42);
        snprintf(wanted, sizeof wanted, "<%s=42;", word);
        assert_text(&b, wanted);
        buffer_fini(&b);
    }
}

static void printf_fills_a_buffer_that_has_just_enough_room(void **state)
{
    struct buffer b = {0};

    (void)state;
    buffer_reserve(&b, 256);
    for (size_t i = 0; i < 256 - 64; i++)
        buffer_append_char(&b, '.');
    buffer_printf(&b, "%063d", 7); /* 63 digits and a NUL */
    assert_int_equal(b.len, 255);
    buffer_printf(&b, "%064d", 7);
    assert_int_equal(b.len, 255 + 64);
    assert_int_equal(b.data[b.len - 1], '7');
    assert_int_equal(b.data[254], '7');
    buffer_fini(&b);
}

static void consuming_keeps_the_rest(void **state)
{
    struct buffer b = {0};

    (void)state;
    buffer_append_str(&b, "one two");
    buffer_consume(&b, 4);
    assert_text(&b, "two");
    buffer_consume(&b, 3);
    assert_int_equal(b.len, 0);
    buffer_append_str(&b, "again");
    buffer_clear(&b);
    assert_int_equal(b.len, 0);
    assert_true(b.cap > 0);
    buffer_fini(&b);
}

/* Exits 0 only if it is still alive. */
static int status_of_growing(size_t more)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct buffer b = {0};
        close(STDERR_FILENO);
        buffer_append_char(&b, 'x');
        buffer_grow(&b, more);
        _exit(EXIT_OK);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_size_beyond_reason_ends_the_process_with_code_1(void **state)
{
    (void)state;
    assert_int_equal(status_of_growing(SIZE_MAX), EXIT_INTERNAL);
    assert_int_equal(status_of_growing(SIZE_MAX / 2), EXIT_INTERNAL);
    assert_int_equal(status_of_growing(SIZE_MAX / 4), EXIT_INTERNAL);
    assert_int_equal(status_of_growing(4096), EXIT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_holds_nothing_and_can_be_released_twice),
        cmocka_unit_test(what_was_appended_survives_every_growth),
        cmocka_unit_test(a_reservation_of_the_exact_rest_does_not_move_it),
        cmocka_unit_test(printf_appends_texts_of_any_length),
        cmocka_unit_test(printf_fills_a_buffer_that_has_just_enough_room),
        cmocka_unit_test(consuming_keeps_the_rest),
        cmocka_unit_test(a_size_beyond_reason_ends_the_process_with_code_1),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
