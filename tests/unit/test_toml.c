/* The TOML reader: what documents mean, and where and why it refuses them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "common/buffer.h"
#include "common/toml.h"

static void dump_value(struct buffer *out, const struct toml_value *value)
{
    switch (value->type) {
    case TOML_STRING:
        buffer_append_char(out, '\'');
        buffer_append(out, value->string, value->string_len);
        buffer_append_char(out, '\'');
        break;
    case TOML_INT:
        buffer_printf(out, "%lld", (long long)value->integer);
        break;
    case TOML_FLOAT:
        buffer_printf(out, "f%g", value->real);
        break;
    case TOML_BOOL:
        buffer_append_str(out, value->boolean ? "true" : "false");
        break;
    case TOML_ARRAY:
        buffer_append_char(out, '[');
        for (size_t i = 0; i < value->items_count; i++) {
            buffer_append_str(out, i ? "," : "");
            dump_value(out, &value->items[i]);
        }
        buffer_append_char(out, ']');
        break;
    }
}

static const char *on_value(void *user, const char *table, const char *key, unsigned line, unsigned column,
                            const struct toml_value *value)
{
    struct buffer *out = user;

    buffer_printf(out, "%u:%u %s|%s %u:%u ", line, column, table, key, value->line, value->column);
    dump_value(out, value);
    buffer_append_char(out, '\n');
    return value->type == TOML_STRING && strcmp(value->string, "refuse me") == 0 ? "the callback refused it" : NULL;
}

/* What the callback saw: a line `LINE:COLUMN table|key LINE:COLUMN value` for each. */
static void check_bytes(const char *text, size_t len, const char *wanted)
{
    struct toml_error error;
    struct buffer out = {0};

    bool good = toml_read(text, len, on_value, &out, &error);
    if (!good)
        fail_msg("refused: %u:%u: %s\n%s", error.line, error.column, error.message, text);
    buffer_append_char(&out, '\0');
    assert_string_equal(out.data, wanted);
    buffer_fini(&out);
}

static void check(const char *text, const char *wanted)
{
    check_bytes(text, strlen(text), wanted);
}

/* The one value of `v = <text>`. */
static void check_value(const char *text, const char *wanted)
{
    struct buffer document = {0};
    struct buffer expected = {0};

    buffer_printf(&document, "v = %s\n", text);
    buffer_printf(&expected, "1:1 |v 1:5 %s\n", wanted);
    buffer_append_char(&expected, '\0');
    check_bytes(document.data, document.len, expected.data);
    buffer_fini(&document);
    buffer_fini(&expected);
}

static void check_refused_bytes(const char *text, size_t len, unsigned line, unsigned column, const char *part)
{
    struct toml_error error;
    struct buffer out = {0};

    if (toml_read(text, len, on_value, &out, &error))
        fail_msg("accepted: %s", text);
    buffer_fini(&out);
    if (error.line != line || error.column != column || !strstr(error.message, part))
        fail_msg("%u:%u: %s, wanted %u:%u: %s, of\n%s", error.line, error.column, error.message, line, column, part,
                 text);
}

static void check_refused(const char *text, unsigned line, unsigned column, const char *part)
{
    check_refused_bytes(text, strlen(text), line, column, part);
}

static void empty_documents_are_fine(void **state)
{
    (void)state;
    check("", "");
    check("\n\r\n  \t\n# comment\n  # another", "");
    check("[table]\n[another.one] # no key in it\n", "");
}

static void keys_and_tables_have_their_places(void **state)
{
    (void)state;
    check("top = 1\n[pool]\n  max = 2 # two\r\n[ a . 'b c' . \"d\" ]\nk=3",
          "1:1 |top 1:7 1\n3:3 pool|max 3:9 2\n5:1 a.b c.d|k 5:3 3\n");
    check("a.b.c = 1\na.'b'.d = 2\n", "1:1 a.b|c 1:9 1\n2:1 a.b|d 2:11 2\n");
    check("\"\" = 1\n1-_ = 2\n\"\\u0061\" = 3", "1:1 | 1:6 1\n2:1 |1-_ 2:7 2\n3:1 |a 3:12 3\n");
    check("\xef\xbb\xbfk = 1", "1:1 |k 1:5 1\n");
}

static void basic_strings_are_unescaped(void **state)
{
    (void)state;
    check_value("\"\"", "''");
    check_value("\"a\\tb\\\\c\\\"d\\u00e9\\U0001F600 # no comment\"",
                "'a\tb\\c\"d\xc3\xa9\xf0\x9f\x98\x80 # no comment'");
    check_value("\"\\b\\n\\f\\r\"", "'\b\n\f\r'");
    check_value("'C:\\dir\\\"x\"'", "'C:\\dir\\\"x\"'");
    check_value("\"\xe2\x82\xac\"", "'\xe2\x82\xac'");
}

static void strings_may_hold_nul_bytes(void **state)
{
    struct toml_error error;
    struct buffer out = {0};
    static const char text[] = "v = \"a\\u0000b\"";

    (void)state;
    assert_true(toml_read(text, sizeof text - 1, on_value, &out, &error));
    assert_int_equal(out.len, strlen("1:1 |v 1:5 'a.b'\n"));
    assert_memory_equal(out.data + strlen("1:1 |v 1:5 "), "'a\0b'", 5);
    buffer_fini(&out);
}

static void strings_over_lines_are_joined_as_written(void **state)
{
    (void)state;
    check_value("\"\"\"\none\ntwo\\n\\\n   \n\t three\"\"\"", "'one\ntwo\nthree'");
    check_value("\"\"\"a \"\" b \"\"\"\"\"", "'a \"\" b \"\"'");
    check_value("\"\"\"a\r\nb\"\"\"", "'a\nb'");
    check_value("'''\nno \\escape\n'it''s'\n'''", "'no \\escape\n'it''s'\n'");
    check_value("\"\"\"\"\"\"", "''");
    check_value("\"\"\"\\\r\n  x\"\"\"", "'x'");
    check("a = '''\n\n'''\nb = 2", "1:1 |a 1:5 '\n'\n4:1 |b 4:5 2\n");
}

static void numbers_are_read(void **state)
{
    (void)state;
    check_value("0", "0");
    check_value("+0", "0");
    check_value("-17", "-17");
    check_value("1_000_000", "1000000");
    check_value("9223372036854775807", "9223372036854775807");
    check_value("-9223372036854775808", "-9223372036854775808");
    check_value("0xdead_BEEF", "3735928559");
    check_value("0o755", "493");
    check_value("0b1101_0001", "209");
    check_value("0x7fffffffffffffff", "9223372036854775807");
    check_value("1.5", "f1.5");
    check_value("-0.25e2", "f-25");
    check_value("6_0.2_5E+0_1", "f602.5");
    check_value("5e-1", "f0.5");
    check_value("inf", "finf");
    check_value("-inf", "f-inf");
    check_value("true", "true");
    check_value("false", "false");
}

static void arrays_stretch_over_lines(void **state)
{
    (void)state;
    check_value("[]", "[]");
    check_value("[ 1,2 , 3 ]", "[1,2,3]");
    check_value("[\n  'a', # first\n\n  \"b\"  # second\n  , '''c\nd''',\n]", "['a','b','c\nd']");
    check_value("[1, 'x', true, 1.5,]", "[1,'x',true,f1.5]");
    check("a = [1,\n2]\nb = 3", "1:1 |a 1:5 [1,2]\n3:1 |b 3:5 3\n");
}

static void array_items_have_their_places(void **state)
{
    (void)state;
    check_refused("a = [1,\n  nope]", 2, 3, "is not a value");
    check_refused("a = ['x',\n  [1]]", 2, 3, "arrays within arrays");
    check_refused("a = [1 2]", 1, 8, "',' or ']'");
    check_refused("a = [,]", 1, 6, "a value is expected");
    check_refused("a = [\n1,\n", 1, 5, "does not end");
}

static void broken_values_are_refused_at_their_place(void **state)
{
    static const char *const bad[] = {
        "01",
        "-01",
        "1_",
        "_1",
        "1__0",
        "0x",
        "0x_1",
        "0xg",
        "+0x1",
        "0o8",
        "0b2",
        "1.",
        ".5",
        "1._5",
        "1.5_",
        "1e",
        "1e_",
        "1.e5",
        "True",
        "nan1",
        "--1",
        "+-1",
        "yes",
        "30s",
        "1-2",
        "0b",
        "1e5.",
        "1.2.3",
        "0_1",
        "a.b",
        "9223372036854775808",
        "-9223372036854775809",
        "0x8000000000000000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "[t]\n  v = %s\n", bad[i]);
        check_refused(text, 2, 7, "");
    }
    check_refused("v = 9223372036854775808", 1, 5, "64 bits");
    check_refused("v = bare", 1, 5, "put quotes around it");
    check_refused("v = ", 1, 5, "a value is expected");
    check_refused("v = # nothing", 1, 5, "a value is expected");
}

static void what_is_left_out_of_toml_is_refused_by_name(void **state)
{
    (void)state;
    check_refused("v = 1979-05-27", 1, 5, "dates");
    check_refused("v = 1979-05-27T07:32:00Z", 1, 5, "dates");
    check_refused("v = 07:32:00", 1, 5, "times");
    check_refused("v = { a = 1 }", 1, 5, "inline tables");
    check_refused("[[hosts]]\n", 1, 1, "arrays of tables");
}

static void broken_lines_are_refused(void **state)
{
    (void)state;
    check_refused("a = 1 b = 2", 1, 7, "the line should end here");
    check_refused("[t] a = 1", 1, 5, "the line should end here");
    check_refused("a", 1, 2, "'=' is expected");
    check_refused("a b = 1", 1, 3, "'=' is expected");
    check_refused("= 1", 1, 1, "a key is expected");
    check_refused("a. = 1", 1, 4, "a key is expected");
    check_refused("[]", 1, 2, "a key is expected");
    check_refused("[t", 1, 3, "']' is expected");
    check_refused("[t\n]", 1, 3, "']' is expected");
    check_refused("\"\"\"k\"\"\" = 1", 1, 1, "one pair of quotes");
    check_refused("\xc3\xa9 = 1", 1, 1, "a key is expected");
    check_refused("a = 1\rb = 2", 1, 6, "the line should end here");
}

static void broken_strings_are_refused(void **state)
{
    (void)state;
    check_refused("v = \"open\nw = 1", 1, 5, "does not end on its line");
    check_refused("v = 'open", 1, 5, "does not end on its line");
    check_refused("\nv = \"\"\"open\n\n", 2, 5, "does not end");
    check_refused("v = \"a\\qb\"", 1, 7, "unknown escape");
    check_refused("v = \"\\u12g4\"", 1, 6, "4 hexadecimal digits");
    check_refused("v = \"\\ud800\"", 1, 6, "no Unicode character");
    check_refused("v = \"\\U00110000\"", 1, 6, "no Unicode character");
    check_refused("v = \"a\x01\"", 1, 7, "control character");
    check_refused("v = '''\na\x7f'''", 2, 2, "control character");
    check_refused("v = \"\"\"a \\ b\"\"\"", 1, 10, "unknown escape");
    check_refused("v = \"\"\"a\"\"\"\"\"\"", 1, 14, "the line should end here");
    check_refused("# \x02", 1, 3, "control character");
    check_refused_bytes("v = 'a\0b'", 9, 1, 7, "control character");
}

static void text_must_be_utf8(void **state)
{
    (void)state;
    check_refused("a = 1\n# \xff", 2, 3, "UTF-8");
    check_refused("a = '\xc0\x80'", 1, 6, "UTF-8");
    check_refused("a = '\xed\xa0\x80'", 1, 6, "UTF-8");
    check_refused("a = '\xf4\x90\x80\x80'", 1, 6, "UTF-8");
    check_refused("a = '\xe2\x82", 1, 6, "UTF-8");
}

static void nothing_is_defined_twice(void **state)
{
    (void)state;
    check_refused("a = 1\nb = 2\n a = 3", 3, 2, "\"a\" is defined twice");
    check_refused("[t]\nk = 1\nk = 1", 3, 1, "\"t.k\" is defined twice");
    check_refused("[t]\n[u]\n[t]", 3, 1, "\"t\" is defined twice");
    check_refused("a = 1\n[a]", 2, 1, "\"a\" is defined twice");
    check_refused("a = 1\n[a.b]", 2, 1, "is a value already");
    check_refused("a = 1\na.b = 1", 2, 1, "is a value already");
    check_refused("a.b = 1\na = 1", 2, 1, "\"a\" is defined twice");
    check_refused("a.b = 1\n[a]", 2, 1, "\"a\" is defined twice");
    check_refused("[a.b]\n[a]\nb.c = 1", 3, 1, "is a table defined elsewhere");
    check_refused("'a' = 1\n\"a\" = 2", 2, 1, "\"a\" is defined twice");
}

static void tables_may_be_opened_from_inside_out(void **state)
{
    (void)state;
    check("[a.b]\nk = 1\n[a]\nk = 2\n", "2:1 a.b|k 2:5 1\n4:1 a|k 4:5 2\n");
    check("a.b = 1\na.c = 2\n[a.d]\nk = 3", "1:1 a|b 1:7 1\n2:1 a|c 2:7 2\n4:1 a.d|k 4:5 3\n");
    check("'a.b' = 1\na.b = 2", "1:1 |a.b 1:9 1\n2:1 a|b 2:7 2\n");
}

static void bounds_hold(void **state)
{
    struct buffer text = {0};

    (void)state;
    for (int i = 0; i < 17; i++)
        buffer_append_str(&text, i ? ".a" : "a");
    buffer_append_str(&text, " = 1");
    check_refused_bytes(text.data, text.len, 1, 33, "longer than");
    buffer_clear(&text);
    for (int i = 0; i < 1024; i++)
        buffer_append_char(&text, 'k');
    buffer_append_str(&text, " = 1");
    check_refused_bytes(text.data, text.len, 1, 1, "longer than");
    buffer_clear(&text);
    for (int i = 0; i <= 10000; i++)
        buffer_printf(&text, "k%d = 1\n", i);
    check_refused_bytes(text.data, text.len, 10001, 1, "more than 10000");
    buffer_fini(&text);
}

static void the_callback_can_refuse(void **state)
{
    (void)state;
    check_refused("[t]\n  k = 'refuse me'\nl = 1", 2, 7, "the callback refused it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_documents_are_fine),
        cmocka_unit_test(keys_and_tables_have_their_places),
        cmocka_unit_test(basic_strings_are_unescaped),
        cmocka_unit_test(strings_may_hold_nul_bytes),
        cmocka_unit_test(strings_over_lines_are_joined_as_written),
        cmocka_unit_test(numbers_are_read),
        cmocka_unit_test(arrays_stretch_over_lines),
        cmocka_unit_test(array_items_have_their_places),
        cmocka_unit_test(broken_values_are_refused_at_their_place),
        cmocka_unit_test(what_is_left_out_of_toml_is_refused_by_name),
        cmocka_unit_test(broken_lines_are_refused),
        cmocka_unit_test(broken_strings_are_refused),
        cmocka_unit_test(text_must_be_utf8),
        cmocka_unit_test(nothing_is_defined_twice),
        cmocka_unit_test(tables_may_be_opened_from_inside_out),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(the_callback_can_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
