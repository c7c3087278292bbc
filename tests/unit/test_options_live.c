/* Options that change while a fleet runs: all or nothing, merges, and automatic sizes. */
#include "tests/unit/options_fixture.h"

static bool set_lines(const char *text)
{
    bool named[256] = {false};

    assert_true(option_rows_count <= sizeof named);
    return options_set_lines(&o, text, strlen(text), named, &error);
}

static void live_rows_are_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (!row->live)
            continue;
        assert_true(row->type <= OPTION_SIZE);
        assert_true(row->min >= 0);
        assert_true(options_set_number(&o, row, (uint64_t)row->max));
        assert_int_equal(options_number(&o, row), row->max);
        assert_false(options_set_number(&o, row, (uint64_t)row->max + 1));
        assert_false(options_set_number(&o, row, UINT64_MAX));
        assert_int_equal(options_number(&o, row), row->max);
    }
}

static void lines_merge(void **state)
{
    bool named[256] = {false};
    static const char text[] = "idle_timeout=250ms\nmax-conns-per-host=3\ntimings=true\n\nmax_body=2M";

    (void)state;
    assert_true(options_set_lines(&o, text, sizeof text - 1, named, &error));
    assert_value("idle_timeout", "250ms");
    assert_value("max_conns_per_host", "3");
    assert_value("timings", "true");
    assert_value("max_body", "2M");
    assert_value("max_connections", "100");
    assert_string_equal(origin_of("idle_timeout"), "ctl set");
    assert_string_equal(origin_of("max_connections"), "default");
    assert_true(named[option_index(option_find("timings", 7))]);
    assert_false(named[option_index(option_find("max_connections", 15))]);
}

static void a_bad_line_changes_nothing(void **state)
{
    static const char *const bad[][2] = {
        {"idle_timout=1", "unknown option \"idle_timout\"; did you mean \"idle_timeout\"?"},
        {"idle_timeout=soon", "is no time"},
        {"idle_timeout=", "is no time"},
        {"idle_timeout=0", "value \"0\" of idle_timeout is out of range 1ms..24h"},
        {"idle_timeout", "is not of the form KEY=VALUE"},
        {"=1", "unknown option \"\""},
        {"workers=2", "workers takes effect at the next start"},
        {"header=A: b", "header takes effect at the next start"},
        {"max_connections=65536", "max_hosts = 65536 (default) must be above max_connections = 65536 (ctl set)"},
        {"dns_ttl_min=2h", "dns_ttl_min = 7200000ms (ctl set) is above dns_update_interval"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "max_retries=7\n%s\nmax_redirects=2\n", bad[i][0]);
        assert_false(set_lines(text));
        assert_error_has(bad[i][1]);
        assert_value("max_retries", "3");
        assert_value("max_redirects", "10");
        assert_value("idle_timeout", "60s");
        assert_string_equal(origin_of("max_retries"), "default");
    }
    assert_false(set_lines(""));
    assert_false(set_lines("\n\n"));
    char *text = calloc(1, 300);
    size_t len = (size_t)snprintf(text, 300, "max_retries=");
    memset(text + len, '1', 299 - len);
    assert_false(set_lines(text));
    free(text);
    bool named[256] = {false};
    assert_false(options_set_lines(&o, "max_retries=1\0x", 15, named, &error));
    assert_value("max_retries", "3");
}

static void a_copy_owns_what_it_holds(void **state)
{
    struct options copy;
    struct buffer texts[2] = {{0}, {0}};

    (void)state;
    assert_true(options_set(&o, "header", "A: 1\nB: 2", "flag", &error));
    options_copy(&copy, &o);
    options_serialize(&o, &texts[0]);
    options_fini(&o);
    options_serialize(&copy, &texts[1]);
    assert_int_equal(texts[0].len, texts[1].len);
    assert_memory_equal(texts[0].data, texts[1].data, texts[0].len);
    options_fini(&copy);
    options_init(&o);
    buffer_fini(&texts[0]);
    buffer_fini(&texts[1]);
}

static void live_values_are_taken_over_and_others_stay(void **state)
{
    struct options from;

    (void)state;
    options_init(&from);
    assert_true(options_set(&from, "idle_timeout", "5", "file:1", &error));
    assert_true(options_set(&from, "workers", "8", "file:2", &error));
    assert_true(options_set(&o, "max_retries", "9", "ctl set", &error));
    assert_true(options_take_live(&o, &from, &error));
    assert_value("idle_timeout", "5s");
    assert_string_equal(origin_of("idle_timeout"), "file:1");
    assert_value("max_retries", "3");
    assert_value("workers", "4");
    /* 70000 is fine beside the new max_hosts, not beside the one in force. */
    assert_true(options_set(&from, "max_hosts", "100000", "file:3", &error));
    assert_true(options_set(&from, "max_connections", "70000", "file:4", &error));
    assert_true(options_set(&from, "idle_timeout", "6", "file:1", &error));
    assert_false(options_take_live(&o, &from, &error));
    assert_value("idle_timeout", "5s");
    assert_value("max_connections", "100");
    options_fini(&from);
}

static void auto_is_a_number_in_force_and_a_word_in_print(void **state)
{
    struct options handed = {0};
    struct buffer text = {0};

    (void)state;
    assert_true(load("--max-connections", "auto"));
    assert_true(o.max_connections >= 1 && o.max_connections < o.max_hosts);
    assert_non_null(o.auto_bound);
    assert_value("max_connections", "auto");
    options_print_row(&o, option_find("max_connections", 15), &text);
    buffer_append_char(&text, '\0');
    char wanted[128];
    snprintf(wanted, sizeof wanted, "max_connections = \"auto\"  # %lld here, bound by %s\n",
             (long long)o.max_connections, o.auto_bound);
    assert_string_equal(text.data, wanted);
    buffer_clear(&text);
    options_serialize(&o, &text);
    assert_true(options_deserialize(&handed, text.data, text.len, &error));
    assert_int_equal(handed.max_connections, o.max_connections);
    assert_false(handed.max_connections_auto);
    options_fini(&handed);
    buffer_fini(&text);
}

static void auto_comes_by_any_layer_and_leaves_by_a_later_one(void **state)
{
    (void)state;
    write_file("config.toml", "[pool]\nmax_connections = \"auto\"\n");
    assert_true(load(NULL));
    assert_true(o.max_connections_auto);
    assert_true(load("--max-connections", "12"));
    assert_false(o.max_connections_auto);
    assert_null(o.auto_bound);
    assert_int_equal(o.max_connections, 12);
    setenv("MAX_CONNECTIONS", "auto", 1);
    bool good = load("--max-hosts", "16");
    unsetenv("MAX_CONNECTIONS");
    assert_true(good);
    assert_int_equal(o.max_connections, 15);
    assert_string_equal(o.auto_bound, "max_hosts");
    assert_false(load("--max-connections", "automatic"));
    write_file("config.toml", "[pool]\nmax_conns_per_host = \"auto\"\n");
    assert_false(load(NULL));
}

static void auto_can_be_set_and_keeps_its_size(void **state)
{
    (void)state;
    assert_true(set_lines("max_connections=auto"));
    assert_true(o.max_connections_auto);
    int64_t found = o.max_connections;
    assert_true(found >= 1);
    o.max_connections = found > 5 ? 5 : found + 1; /* as if found on another day */
    found = o.max_connections;
    assert_true(set_lines("max_connections=auto\nmax_retries=1"));
    assert_int_equal(o.max_connections, found);
    assert_true(set_lines("max_connections=50"));
    assert_false(o.max_connections_auto);
    assert_null(o.auto_bound);
    assert_value("max_connections", "50");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(live_rows_are_numbers),
        CASE(lines_merge),
        CASE(a_bad_line_changes_nothing),
        CASE(a_copy_owns_what_it_holds),
        CASE(live_values_are_taken_over_and_others_stay),
        CASE(auto_is_a_number_in_force_and_a_word_in_print),
        CASE(auto_comes_by_any_layer_and_leaves_by_a_later_one),
        CASE(auto_can_be_set_and_keeps_its_size),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
