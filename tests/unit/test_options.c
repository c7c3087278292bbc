/* Options: the table, what values each type accepts, files and variables, and how errors read. Rows are named only as
 * examples of their type. */
#include "tests/unit/options_fixture.h"

static void every_default_stands_within_its_range_and_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        struct buffer text = {0};
        assert_true(options_set(&o, row->name, row->fallback, "test", &error));
        options_format(&o, row, &text);
        buffer_append_char(&text, '\0');
        if (!options_set(&o, row->name, text.data, "test again", &error))
            fail_msg("%s", error.message);
        assert_value(row->name, text.data);
        buffer_fini(&text);
    }
    assert_true(options_check(&o, &error));
}

/* All flags that `row` answers to, as " --own -x --other ". */
static void flags_of(const struct option_row *row, char out[256])
{
    char own[OPTION_NAME_MAX];

    option_long_flag(row, own);
    snprintf(out, 256, " %s %.100s ", own, row->flag);
}

static void no_two_options_share_a_flag(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_rows_count; i++) {
        char mine[256];
        const char *flag;
        size_t len;
        flags_of(&option_rows[i], mine);
        for (const char *cursor = mine; option_flag_next(&cursor, &flag, &len);) {
            char word[OPTION_NAME_MAX + 2];
            assert_true(flag[0] == '-' && (len == 2) == (flag[1] != '-'));
            snprintf(word, sizeof word, " %.*s ", (int)len, flag);
            assert_null(strstr(" -h -V --help --version --config ", word));
            for (size_t j = 0; j < option_rows_count; j++) {
                char theirs[256];
                flags_of(&option_rows[j], theirs);
                if (i != j && strstr(theirs, word))
                    fail_msg("%s and %s share%s", option_rows[i].name, option_rows[j].name, word);
            }
        }
    }
}

static void aliases_name_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_aliases_count; i++)
        assert_non_null(option_find(option_aliases[i].name, strlen(option_aliases[i].name)));
}

static void durations_take_units_and_fractions(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"30", 30000},   {"0.5", 500},     {"1.5s", 1500},  {"250ms", 250}, {"2m", 120000},
        {"1h", 3600000}, {"0.25m", 15000}, {"1.001", 1001}, {"0.0001", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(options_set(&o, "conn_timeout", cases[i].text, "test", &error));
        assert_int_equal(o.conn_timeout, cases[i].ms);
    }
    static const char *const bad[] = {"", "s", "-1", "1.", ".5", "1 s", "1d", "1.5.5", "0x10", "1e3", "inf", "30S"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(options_set(&o, "conn_timeout", bad[i], "test", &error));
    assert_error_has("value \"30S\" of conn_timeout is no time; give seconds or a unit");
    assert_false(options_set(&o, "conn_timeout", "99999999999999999999999h", "test", &error));
    assert_error("value \"99999999999999999999999h\" of conn_timeout is out of range 1ms..24h");
    /* Two to the 64 ms and an hour. */
    assert_false(options_set(&o, "conn_timeout", "144115188075855873h", "test", &error));
    assert_false(options_set(&o, "conn_timeout", "0", "test", &error));
    assert_value("conn_timeout", "1ms");
}

static void sizes_take_units(void **state)
{
    static const char *const bad[] = {"", "K", "-1", "1.5M", "1KB", "1 K", "99999999999999999999", "16777217T"};

    (void)state;
    assert_true(options_set(&o, "max_body", "10M", "test", &error));
    assert_int_equal(o.max_body, 10485760);
    assert_true(options_set(&o, "max_body", "64k", "test", &error));
    assert_int_equal(o.max_body, 65536);
    assert_true(options_set(&o, "max_body", "1G", "test", &error));
    assert_value("max_body", "1G");
    assert_true(options_set(&o, "max_body", "1025", "test", &error));
    assert_value("max_body", "1025");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(options_set(&o, "max_body", bad[i], "test", &error));
    assert_int_equal(o.max_body, 1025);
}

static void integers_stay_in_their_range(void **state)
{
    (void)state;
    assert_true(options_set(&o, "max_connections", "1", "test", &error));
    assert_true(options_set(&o, "max_connections", "1000000", "test", &error));
    assert_int_equal(o.max_connections, 1000000);
    assert_false(options_set(&o, "max_connections", "0", "test", &error));
    assert_error("value \"0\" of max_connections is out of range 1..1000000 or auto");
    assert_false(options_set(&o, "max_connections", "1000001", "test", &error));
    assert_false(options_set(&o, "max_connections", "99999999999999999999", "test", &error));
    assert_false(options_set(&o, "max_connections", "-5", "test", &error));
    assert_error_has("out of range");
    assert_false(options_set(&o, "max_connections", "ten", "test", &error));
    assert_error("value \"ten\" of max_connections is no whole number; give one in 1..1000000 or auto");
    assert_false(options_set(&o, "max_connections", "", "test", &error));
    assert_false(options_set(&o, "max_connections", "10 ", "test", &error));
    assert_int_equal(o.max_connections, 1000000);
}

static void switches_and_choices_take_only_their_words(void **state)
{
    (void)state;
    assert_true(options_set(&o, "hash", "true", "test", &error));
    assert_true(o.hash);
    assert_true(options_set(&o, "hash", "0", "test", &error));
    assert_false(o.hash);
    assert_false(options_set(&o, "hash", "maybe", "test", &error));
    assert_true(options_set(&o, "http_version", "1.1", "test", &error));
    assert_string_equal(o.http_version, "1.1");
    assert_false(options_set(&o, "http_version", "1", "test", &error));
    assert_error("value \"1\" of http_version is none of auto, 1.1, 2");
    assert_false(options_set(&o, "http_version", "", "test", &error));
    assert_false(options_set(&o, "http_version", "auto|1.1", "test", &error));
}

static void strings_stay_in_their_length(void **state)
{
    char text[66] = {0};

    (void)state;
    memset(text, 'A', 64);
    assert_true(options_set(&o, "method", text, "test", &error));
    text[64] = 'A';
    assert_false(options_set(&o, "method", text, "test", &error));
    assert_error_has("its length must be 0..64 bytes");
    assert_false(options_set(&o, "metod", "GET", "test", &error));
    assert_error_has("unknown option \"metod\"");
}

static void a_list_grows_within_one_origin_and_is_replaced_by_the_next(void **state)
{
    (void)state;
    assert_true(options_set(&o, "resolvers", "1.1.1.1", "one", &error));
    assert_true(options_set(&o, "resolvers", "2.2.2.2\n\n3.3.3.3", "one", &error));
    assert_value("resolvers", "1.1.1.1\n2.2.2.2\n3.3.3.3");
    assert_true(options_set(&o, "resolvers", "4.4.4.4", "two", &error));
    assert_value("resolvers", "4.4.4.4");
    assert_true(options_set(&o, "resolvers", "", "three", &error));
    assert_int_equal(o.resolvers.count, 0);
}

static void files_set_options_and_their_origins(void **state)
{
    (void)state;
    assert_true(
        read_toml("[pool]\nmax_connections = 100_0\nconn_timeout = 5\ntls_timeout = '250ms'\nidle_timeout = 1.5\n"
                  "[request]\nheader = [\n 'A: 1', 'B: 2' ]\nmax_body = '1M'\nmax_header = 0x1000\n"
                  "http_version = 2\nmethod = 'PUT'\n[output]\nhash = true\n"));
    assert_int_equal(o.max_connections, 1000);
    assert_int_equal(o.conn_timeout, 5000);
    assert_int_equal(o.tls_timeout, 250);
    assert_int_equal(o.idle_timeout, 1500);
    assert_value("header", "A: 1\nB: 2");
    assert_int_equal(o.max_body, 1 << 20);
    assert_int_equal(o.max_header, 4096);
    assert_string_equal(o.http_version, "2");
    assert_string_equal(o.method, "PUT");
    assert_true(o.hash);
    assert_string_equal(origin_of("max_connections"), "config.toml:2");
    assert_string_equal(origin_of("header"), "config.toml:7");
    assert_string_equal(origin_of("workers"), "default");
}

static void a_file_read_twice_does_not_double_lists(void **state)
{
    (void)state;
    assert_true(read_toml("[dns]\nresolvers = ['1.1.1.1']"));
    assert_true(read_toml("[dns]\nresolvers = ['1.1.1.1']"));
    assert_int_equal(o.resolvers.count, 1);
    assert_true(read_toml("[dns]\nresolvers = []"));
    assert_int_equal(o.resolvers.count, 0);
}

static void unknown_keys_name_the_nearest(void **state)
{
    (void)state;
    assert_false(read_toml("\n[pool]\n    max_conections = 5"));
    assert_error("config.toml:3:5: unknown key \"max_conections\" in [pool]; did you mean \"max_connections\"?");
    assert_false(read_toml("[pool]\nworkers = 5"));
    assert_error("config.toml:2:1: unknown key \"workers\" in [pool]; it belongs in [fleet]");
    assert_false(read_toml("workers = 5"));
    assert_error("config.toml:1:1: unknown key \"workers\" outside of any table; it belongs in [fleet]");
    assert_false(read_toml("[output]\nahhs = true"));
    assert_error_has("did you mean \"hash\"?");
    assert_false(read_toml("[pool]\nxyz = 5"));
    assert_error("config.toml:2:1: unknown key \"xyz\" in [pool]; `hotfleet config print` shows all keys");
    assert_false(read_toml("[pol]\nmax_connections = 5"));
    assert_error("config.toml:1:1: unknown table [pol]; did you mean [pool]?");
    assert_false(read_toml("[unheard.of]\nmax_connections = 5"));
    assert_error("config.toml:1:1: unknown table [unheard.of]; `hotfleet config print` shows all tables");
}

static void wrong_types_and_ranges_say_where(void **state)
{
    (void)state;
    assert_false(read_toml("[pool]\nmax_connections = '5'"));
    assert_error("config.toml:2:19: max_connections is a string; it must be an integer or \"auto\"");
    assert_false(read_toml("[pool]\nmax_connections = 5.0"));
    assert_error_has("config.toml:2:19: max_connections is a float");
    assert_false(read_toml("[pool]\n max_connections = 0"));
    assert_error("config.toml:2:20: value \"0\" of max_connections is out of range 1..1000000 or auto");
    assert_false(read_toml("[pool]\nconn_timeout = true"));
    assert_error_has("config.toml:2:16: conn_timeout is a boolean; it must be seconds as a number, or a string");
    assert_false(read_toml("[pool]\nconn_timeout = -1"));
    assert_false(read_toml("[pool]\nconn_timeout = inf"));
    assert_false(read_toml("[pool]\nconn_timeout = '5 s'"));
    assert_false(read_toml("[output]\nhash = 1"));
    assert_false(read_toml("[output]\nhash = 'true'"));
    assert_false(read_toml("[request]\nmethod = 5"));
    assert_error("config.toml:2:10: method is an integer; it must be a string in quotes");
    assert_false(read_toml("[request]\nmethod = 'a\\u0000b'\n[pool]\nmax_retries = 1\nx=1"));
    assert_false(read_toml("[request]\ndata = \"a\\u0000b\""));
    assert_error("config.toml:2:8: data holds a NUL character; remove it");
    assert_false(read_toml("[request]\nheader = 'A: 1'"));
    assert_error_has("config.toml:2:10: header is a string; it must be an array of strings");
    assert_false(read_toml("[request]\nheader = ['A: 1',\n  5]"));
    assert_error("config.toml:3:3: an item of header is no string; put it in quotes");
    assert_false(read_toml("[request]\nheader = ['A: 1', \"B: 1\\nC: 2\"]"));
    assert_error_has("config.toml:2:19: an item of header is empty or holds a newline");
    assert_false(read_toml("[request]\nhttp_version = 3"));
    assert_error("config.toml:2:16: value \"3\" of http_version is none of auto, 1.1, 2");
    assert_false(read_toml("[pool\nmax_connections = 5"));
    assert_error("config.toml:1:6: ']' is expected at the end of a table's name");
}

static void only_an_optional_file_may_be_missing(void **state)
{
    (void)state;
    assert_true(options_read_file(&o, "absent.toml", false, &error));
    assert_true(options_read_file(&o, "absent/config.toml", false, &error));
    write_file("other.toml", "");
    assert_true(options_read_file(&o, "other.toml/config.toml", false, &error));
    assert_false(options_read_file(&o, "absent.toml", true, &error));
    assert_error("there is no configuration file absent.toml; name one that exists");
    /* A directory stands for what exists but cannot be read, also for root. */
    assert_false(options_read_file(&o, ".", false, &error));
    assert_error_has("cannot read the configuration file .:");
}

static void variables_set_options(void **state)
{
    (void)state;
    assert_true(read_environment("PATH=/bin", "HOTFLEET_POOL_MAX_CONNECTIONS=7", "HOTFLEET_OUTPUT_HASH=true",
                                 "HOTFLEET_REQUEST_HEADER=A: 1, 2\nB: x=y\n", "HOTFLEET_POOL_CONN_TIMEOUT=250ms",
                                 "hotfleet_x=1", "HOTFLEETX=1"));
    assert_int_equal(o.max_connections, 7);
    assert_int_equal(o.conn_timeout, 250);
    assert_true(o.hash);
    assert_value("header", "A: 1, 2\nB: x=y");
    assert_string_equal(origin_of("hash"), "environment HOTFLEET_OUTPUT_HASH");
}

static void every_option_has_its_variable(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_rows_count; i++) {
        char name[OPTION_NAME_MAX];
        struct buffer entry = {0};
        option_variable(&option_rows[i], name);
        buffer_printf(&entry, "%s=", name);
        options_format(&o, &option_rows[i], &entry);
        buffer_append_char(&entry, '\0');
        assert_true(read_environment(entry.data));
        buffer_fini(&entry);
        assert_non_null(strstr(origin_of(option_rows[i].name), name));
    }
}

static void the_full_name_wins_over_the_alias(void **state)
{
    (void)state;
    assert_true(read_environment("MAX_CONNECTIONS=5", "CONN_TIMEOUT=3"));
    assert_int_equal(o.max_connections, 5);
    assert_int_equal(o.conn_timeout, 3000);
    assert_true(read_environment("HOTFLEET_POOL_MAX_CONNECTIONS=7", "MAX_CONNECTIONS=5"));
    assert_int_equal(o.max_connections, 7);
}

static void bad_variables_are_errors(void **state)
{
    (void)state;
    assert_false(read_environment("HOTFLEET_POOL_MAX_CONECTIONS=7"));
    assert_error(
        "unknown environment variable HOTFLEET_POOL_MAX_CONECTIONS; did you mean HOTFLEET_POOL_MAX_CONNECTIONS? "
        "Mend its name or unset it.");
    assert_false(read_environment("HOTFLEET_=7"));
    assert_false(read_environment("MAX_CONNECTIONS=many"));
    assert_error_has("environment variable MAX_CONNECTIONS: value \"many\" of max_connections is no whole number");
    assert_false(read_environment("MAX_CONNECTIONS=0", "HOTFLEET_POOL_MAX_CONNECTIONS=7"));
    assert_false(read_environment("HOTFLEET_POOL_MAX_CONNECTIONS="));
    assert_error_has("environment variable HOTFLEET_POOL_MAX_CONNECTIONS: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_default_stands_within_its_range_and_comes_back),
        CASE(no_two_options_share_a_flag),
        CASE(aliases_name_rows),
        CASE(durations_take_units_and_fractions),
        CASE(sizes_take_units),
        CASE(integers_stay_in_their_range),
        CASE(switches_and_choices_take_only_their_words),
        CASE(strings_stay_in_their_length),
        CASE(a_list_grows_within_one_origin_and_is_replaced_by_the_next),
        CASE(files_set_options_and_their_origins),
        CASE(a_file_read_twice_does_not_double_lists),
        CASE(unknown_keys_name_the_nearest),
        CASE(wrong_types_and_ranges_say_where),
        CASE(only_an_optional_file_may_be_missing),
        CASE(variables_set_options),
        CASE(every_option_has_its_variable),
        CASE(the_full_name_wins_over_the_alias),
        CASE(bad_variables_are_errors),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
