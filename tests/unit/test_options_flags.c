/* Options from the command line, the order of the layers, and the checks across options. */
#include "tests/unit/options_fixture.h"

static void flags_take_values_in_every_form(void **state)
{
    (void)state;
    assert_true(read_flags("--max-conns-per-host", "3", "--workers=2", "-c", "9", "--connect-timeout", "0.5"));
    assert_int_equal(o.max_conns_per_host, 3);
    assert_int_equal(o.workers, 2);
    assert_int_equal(o.concurrency, 9);
    assert_int_equal(o.conn_timeout, 500);
    assert_true(read_flags("-w4", "-skc7", "-A", "-x", "--method=", "-l", "-"));
    assert_int_equal(o.workers, 4);
    assert_true(o.silent && o.insecure);
    assert_int_equal(o.concurrency, 7);
    assert_string_equal(o.user_agent, "-x");
    assert_string_equal(o.method, "");
    assert_string_equal(o.input, "-");
    assert_string_equal(origin_of("workers"), "flag");
}

static void switches_turn_on_and_off(void **state)
{
    (void)state;
    assert_true(read_flags("--hash", "--timings=true", "-4"));
    assert_true(o.hash && o.timings && o.ipv4);
    assert_true(read_flags("--no-hash", "--timings=false", "true"));
    assert_false(o.hash || o.timings);
    assert_int_equal(rest_count, 1);
    assert_false(read_flags("--no-hash=true"));
    assert_error("flag --no-hash takes no value");
    assert_false(read_flags("--no-workers"));
    assert_error_has("unknown flag --no-workers");
    assert_false(read_flags("--hash=perhaps"));
    assert_error_has("flag --hash: value \"perhaps\" of hash is neither true nor false");
}

static void repeated_flags_add_to_a_list_that_they_replace(void **state)
{
    (void)state;
    assert_true(options_set(&o, "header", "Old: 1", "config.toml:1", &error));
    assert_true(read_flags("-H", "A: 1", "--header=B: 2", "-HC: 3"));
    assert_value("header", "A: 1\nB: 2\nC: 3");
    assert_false(read_flags("-H", "D: 1\nE: 2"));
    assert_error_has("flag -H: an item of header holds a newline");
}

static void what_is_no_flag_is_left_over(void **state)
{
    (void)state;
    assert_true(read_flags("one", "-s", "-", "--", "-w", "--hash"));
    assert_int_equal(rest_count, 4);
    assert_string_equal(rest[0], "one");
    assert_string_equal(rest[1], "-");
    assert_string_equal(rest[2], "-w");
    assert_string_equal(rest[3], "--hash");
    assert_false(o.hash);
    assert_true(o.silent);
}

static void general_flags_are_known(void **state)
{
    (void)state;
    assert_true(read_flags("-h", "-V", "--config", "absent.toml"));
    assert_true(o.help && o.version);
    assert_int_equal(rest_count, 0);
    assert_false(read_flags("--config=a", "--config", "b"));
    assert_error_has("--config is given twice");
    assert_false(read_flags("--config"));
    assert_error_has("flag --config wants a value");
    assert_false(read_flags("--help=all"));
}

static void bad_flags_are_errors(void **state)
{
    (void)state;
    assert_false(read_flags("--max-conection", "5"));
    assert_error("unknown flag --max-conection; did you mean --max-connections? See hotfleet run --help.");
    assert_false(read_flags("--max_connections=5"));
    assert_error_has("did you mean --max-connections?");
    assert_false(read_flags("-max-connections", "5"));
    assert_error_has("did you mean --max-connections?");
    assert_false(read_flags("--max-conns=5"));
    assert_error_has("did you mean --max-conns-per-host?");
    assert_false(read_flags("--no-hesh"));
    assert_error_has("did you mean --no-hash?");
    assert_false(read_flags("--zzzzzzzz"));
    assert_error("unknown flag --zzzzzzzz; see hotfleet run --help.");
    assert_false(read_flags("-sZ"));
    assert_error("unknown flag -Z; see hotfleet run --help.");
    assert_false(read_flags("-w"));
    assert_error("flag -w wants a value; see hotfleet run --help.");
    assert_false(read_flags("--workers", "none"));
    assert_error("flag --workers: value \"none\" of workers is no whole number; give one in 1..64");
    assert_false(read_flags("-w0"));
    assert_error("flag -w: value \"0\" of workers is out of range 1..64");
}

static void errors_hold_no_control_characters(void **state)
{
    (void)state;
    assert_false(read_flags("--workers", "\x1b[31m\n"));
    assert_null(strpbrk(error.message, "\x1b\n"));
    assert_false(read_flags("--\x1b\n"));
    assert_null(strpbrk(error.message, "\x1b\n"));
}

static void every_flag_of_the_table_is_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        char own[OPTION_NAME_MAX], flag[OPTION_NAME_MAX];
        const char *word;
        size_t len;
        option_long_flag(row, own);
        snprintf(flag, sizeof flag, "%.100s=%.20s", own, row->fallback);
        assert_true(read_flags(flag));
        assert_string_equal(origin_of(row->name), "flag");
        for (const char *cursor = row->flag; option_flag_next(&cursor, &word, &len);) {
            snprintf(flag, sizeof flag, "%.*s", (int)len, word);
            assert_true(row->type == OPTION_BOOL ? read_flags(flag) : read_flags(flag, row->fallback));
            assert_int_equal(rest_count, 0);
        }
    }
}

static void later_layers_win(void **state)
{
    (void)state;
    write_file("hotfleet/config.toml", "[fleet]\nworkers = 2\nconcurrency = 2\nwindow = 2\n[pool]\nmax_retries = 2\n"
                                       "max_connections = 2\n");
    write_file("config.toml", "[fleet]\nconcurrency = 3\nwindow = 3\n[pool]\nmax_retries = 3\nmax_connections = 3\n");
    write_file("other.toml", "[fleet]\nwindow = 4\n[pool]\nmax_retries = 4\nmax_connections = 4\n");
    setenv("HOTFLEET_POOL_MAX_RETRIES", "5", 1);
    setenv("MAX_CONNECTIONS", "5", 1);
    bool good = load("--max-connections", "6", "left", "--config", "other.toml");
    unsetenv("HOTFLEET_POOL_MAX_RETRIES");
    unsetenv("MAX_CONNECTIONS");
    if (!good)
        fail_msg("%s", error.message);
    assert_int_equal(o.max_idle_conns, 20);
    assert_int_equal(o.workers, 2);
    assert_int_equal(o.concurrency, 3);
    assert_int_equal(o.window, 4);
    assert_int_equal(o.max_retries, 5);
    assert_int_equal(o.max_connections, 6);
    assert_non_null(strstr(origin_of("workers"), "/hotfleet/config.toml:2"));
    assert_string_equal(origin_of("concurrency"), "config.toml:2");
    assert_string_equal(origin_of("window"), "other.toml:2");
    assert_string_equal(origin_of("max_retries"), "environment HOTFLEET_POOL_MAX_RETRIES");
    assert_string_equal(origin_of("max_connections"), "flag");
    assert_int_equal(rest_count, 1);
    assert_string_equal(rest[0], "left");
}

static void a_bad_layer_fails_the_load(void **state)
{
    (void)state;
    assert_false(load("--config", "absent.toml"));
    assert_null(rest);
    write_file("config.toml", "[pool]\nmax_connections = 0\n");
    assert_false(load("-s"));
    assert_error_has("config.toml:2:19: ");
    unlink("config.toml");
    assert_false(load("-4", "-6"));
    assert_error("ipv4 (flag) and ipv6 (flag) exclude each other; keep one, or none for both");
    assert_null(rest);
}

static void help_works_beside_a_broken_file(void **state)
{
    (void)state;
    write_file("config.toml", "broken");
    assert_true(load("--help"));
    assert_true(o.help);
    assert_false(load("--help", "--helq"));
}

static void options_that_contradict_are_refused(void **state)
{
    (void)state;
    assert_true(read_flags("--max-hosts", "100", "--max-connections", "100"));
    assert_false(options_check(&o, &error));
    assert_error("max_hosts = 100 (flag) must be above max_connections = 100 (flag); mend one");
    assert_true(read_flags("--max-hosts", "101"));
    assert_true(options_check(&o, &error));
    assert_true(read_flags("--dns-ttl-min", "20", "--dns-update-interval", "10"));
    assert_false(options_check(&o, &error));
}

static void bind_ip_must_be_addresses_or_ranges(void **state)
{
    (void)state;
    assert_true(read_flags("--bind-ip", "127.0.2.0/28", "--interface", "2001:db8::/64", "-6"));
    assert_int_equal(o.bind_ip.count, 2);
    assert_true(options_check(&o, &error));
    assert_true(options_set(&o, "bind_ip", "eth0", "flag", &error));
    assert_false(options_check(&o, &error));
    assert_error_has("bind_ip \"eth0\" (flag) is neither an address nor a range");
    assert_true(options_set(&o, "bind_ip", "127.0.2.0/28", "file:1", &error));
    assert_false(options_check(&o, &error));
    assert_error("bind_ip (file:1) has no address that ipv6 (flag) could connect from; mend one");
}

static void raw_request_suffers_nothing_beside_it(void **state)
{
    static const char *const others[][3] = {{"method", "GET", "flag"},
                                            {"header", "A: 1", "flag"},
                                            {"user_agent", "x", "flag"},
                                            {"data", "x", "flag"},
                                            {"http_version", "2", "flag"}};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_true(options_set(&o, "raw_request", "file", "config.toml:3", &error));
        assert_true(options_check(&o, &error));
        assert_true(options_set(&o, others[i][0], others[i][1], others[i][2], &error));
        assert_false(options_check(&o, &error));
        assert_error_has("raw_request (config.toml:3) and ");
        assert_error_has(others[i][0]);
        assert_error_has("(flag) exclude each other; keep one");
        options_fini(&o);
        options_init(&o);
    }
    assert_true(read_flags("--raw-request", "file", "--http-version", "1.1"));
    assert_true(options_check(&o, &error));
}

static void headers_and_methods_must_be_well_formed(void **state)
{
    static const char *const bad[] = {"no colon",
                                      ": empty",
                                      "Sp ace: 1",
                                      "Tab\t: 1",
                                      "A:\r",
                                      "A: \x01",
                                      "A: \x7f",
                                      "content-LENGTH: 5",
                                      "Transfer-Encoding: chunked",
                                      "Connection: close"};
    static const char *const good[] = {
        "A: 1", "A:1", "A:", "X-!#$%: \xc3\xa9\t", "Content-Length-X: 1", "Host: example.com"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_true(options_set(&o, "header", bad[i], bad[i], &error));
        if (options_check(&o, &error))
            fail_msg("%s passed", bad[i]);
    }
    assert_error("header \"Connection: close\" (Connection: close) is set by hotfleet itself; remove it");
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(options_set(&o, "header", good[i], "good", &error));
        if (!options_check(&o, &error))
            fail_msg("%s", error.message);
    }
    assert_true(read_flags("-X", "GE T"));
    assert_false(options_check(&o, &error));
    assert_true(read_flags("-X", "PURGE", "-A", "x\r\nEvil: 1"));
    assert_false(options_check(&o, &error));
    assert_error_has("user_agent (flag) holds a control character");
    assert_null(strchr(error.message, '\r'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(flags_take_values_in_every_form),
        CASE(switches_turn_on_and_off),
        CASE(repeated_flags_add_to_a_list_that_they_replace),
        CASE(what_is_no_flag_is_left_over),
        CASE(general_flags_are_known),
        CASE(bad_flags_are_errors),
        CASE(errors_hold_no_control_characters),
        CASE(every_flag_of_the_table_is_understood),
        CASE(later_layers_win),
        CASE(a_bad_layer_fails_the_load),
        CASE(help_works_beside_a_broken_file),
        CASE(options_that_contradict_are_refused),
        CASE(bind_ip_must_be_addresses_or_ranges),
        CASE(raw_request_suffers_nothing_beside_it),
        CASE(headers_and_methods_must_be_well_formed),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
