/* The ways out of options: TOML, the hand-over, --help, Markdown. What is printed must read back. */
#include "tests/unit/options_fixture.h"

static const char awkward[] =
    "back\\slash \\n \"quoted\" 'single'\nsecond line\r\n\ttab = # x \x01 \xf0\x9f\x98\x80 \\";

static void set_awkward_values(void)
{
    assert_true(options_set(&o, "data", awkward, "path with \n newline:3", &error));
    assert_true(options_set(&o, "header", "A: \"1\\\"\nB: \\n, #\tx", "flag", &error));
    assert_true(options_set(&o, "conn_timeout", "1.5", "flag", &error));
    assert_true(options_set(&o, "max_body", "1025", "flag", &error));
    assert_true(options_set(&o, "hash", "true", "flag", &error));
}

/* Every option of `o` formats as it does in `other`. */
static void assert_same(const struct options *other)
{
    for (size_t i = 0; i < option_rows_count; i++) {
        struct buffer text = {0};
        options_format(other, &option_rows[i], &text);
        buffer_append_char(&text, '\0');
        assert_value(option_rows[i].name, text.data);
        buffer_fini(&text);
    }
}

static void printed_toml_reads_back(void **state)
{
    (void)state;
    for (int origins = 0; origins < 2; origins++) {
        struct options again = {0};
        struct buffer text = {0};
        set_awkward_values();
        options_print_toml(&o, origins, &text);
        buffer_append_char(&text, '\0');
        write_file("other.toml", text.data);
        if (!options_read_file(&again, "other.toml", true, &error))
            fail_msg("%s\n%s", error.message, text.data);
        assert_same(&again);
        assert_string_equal(again.data, awkward);
        assert_true((strstr(text.data, "hash = true  # from flag\n") != NULL) == (origins == 1));
        options_fini(&again);
        buffer_fini(&text);
    }
}

static void printed_toml_is_valid_for_any_bytes(void **state)
{
    struct options again = {0};
    struct buffer text = {0};

    (void)state;
    assert_true(options_set(&o, "data", "a\xff\xc3", "flag", &error));
    options_print_toml(&o, true, &text);
    buffer_append_char(&text, '\0');
    assert_non_null(strstr(text.data, "data = \"a\xef\xbf\xbd\xef\xbf\xbd\"  # from flag (not UTF-8"));
    write_file("other.toml", text.data);
    assert_true(options_read_file(&again, "other.toml", true, &error));
    options_fini(&again);
    buffer_fini(&text);
}

static void handed_over_options_are_the_same(void **state)
{
    struct options again = {0};
    struct buffer text = {0};

    (void)state;
    set_awkward_values();
    options_serialize(&o, &text);
    assert_null(memchr(text.data, 0, text.len));
    if (!options_deserialize(&again, text.data, text.len, &error))
        fail_msg("%s", error.message);
    assert_same(&again);
    assert_string_equal(again.data, awkward);
    /* Whatever is cut off is noticed. */
    for (size_t len = 1; len < text.len; len++) {
        char *part = malloc(len);
        memcpy(part, text.data, len);
        bool whole = part[len - 1] == '\n';
        assert_true(options_deserialize(&again, part, len, &error) == whole);
        free(part);
    }
    options_fini(&again);
    buffer_fini(&text);
}

static void broken_hand_overs_are_refused(void **state)
{
    static const char *const bad[] = {"\n",
                                      "workers\n",
                                      "nothing=1\n",
                                      "=1\n",
                                      "workers=0\n",
                                      "data=\\x\n",
                                      "data=\\\n",
                                      "workers =1\n",
                                      "header=A: 1\r\n",
                                      "ipv4=true\nipv6=true\n",
                                      "workers=1"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct options again = {0};
        if (options_deserialize(&again, bad[i], strlen(bad[i]), &error))
            fail_msg("accepted: %s", bad[i]);
        options_fini(&again);
    }
    assert_false(options_deserialize(&o, "data=a\0b\n", 9, &error));
    assert_true(options_deserialize(&o, "", 0, &error));
}

static void help_fits_a_terminal_and_names_every_option(void **state)
{
    struct buffer text = {0};

    (void)state;
    options_print_help(&text);
    buffer_append_char(&text, '\0');
    for (const char *p = text.data; *p; p += strcspn(p, "\n") + 1) {
        size_t columns = 0;
        for (size_t i = 0; i < strcspn(p, "\n"); i++)
            columns += ((unsigned char)p[i] & 0xc0) != 0x80;
        if (columns > 100)
            fail_msg("%zu columns: %.*s", columns, (int)strcspn(p, "\n"), p);
    }
    for (size_t i = 0; i < option_rows_count; i++) {
        char flag[OPTION_NAME_MAX];
        option_long_flag(&option_rows[i], flag);
        assert_non_null(strstr(text.data, flag));
    }
    assert_non_null(strstr(text.data, "  -w, --workers N"));
    assert_non_null(strstr(text.data, "HOTFLEET_TABLE_NAME"));
    buffer_fini(&text);
}

static void markdown_has_five_cells_a_row(void **state)
{
    struct buffer text = {0};
    size_t lines = 0;

    (void)state;
    options_print_markdown(&text);
    buffer_append_char(&text, '\0');
    for (const char *p = text.data; *p; p += strcspn(p, "\n") + 1) {
        size_t bars = 0;
        for (size_t i = 0; i < strcspn(p, "\n"); i++)
            bars += p[i] == '|' && (i == 0 || p[i - 1] != '\\');
        if (strncmp(p, "| `", 3) != 0)
            continue;
        lines++;
        if (bars != 6)
            fail_msg("%.*s", (int)strcspn(p, "\n"), p);
    }
    assert_int_equal(lines, option_rows_count);
    buffer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(printed_toml_reads_back),
        CASE(printed_toml_is_valid_for_any_bytes),
        CASE(handed_over_options_are_the_same),
        CASE(broken_hand_overs_are_refused),
        CASE(help_fits_a_terminal_and_names_every_option),
        CASE(markdown_has_five_cells_a_row),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
