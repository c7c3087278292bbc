/* Presets: what each stands for, and that any layer wins over it, wherever the preset itself was asked for. */
#include "tests/unit/options_fixture.h"

/* All keys that presets set, in one order. */
static const char *const keys[] = {
    "max_connections",
    "max_conns_per_host",
    "max_idle_conns",
    "conn_timeout",
    "idle_timeout",
    "max_lifetime",
    "test_timeout",
    "health_check_interval",
    "cleanup_interval",
    "max_retries",
    "blacklist_check_interval",
    "dns_update_interval",
};
#define KEYS (sizeof keys / sizeof keys[0])

static const struct {
    const char *name, *values[KEYS]; /* NULL: left out, as by default */
} presets[] = {
    {"none", {NULL}},
    {"high", {"500", "50", "100", "15s", "120s", "600s", "5s", "15s", "30s", "5", "180s", "900s"}},
    {"high-max", {"1000", "100", "200", "5s", "300s", "1800s", "5s", "10s", "30s", "3", NULL, NULL}},
    {"long", {"200", "20", "50", "20s", "300s", "1800s", "10s", "60s", "120s", "3", "600s", "3600s"}},
    {"long-max", {"200", "20", "50", "15s", "1800s", "7200s", "10s", "60s", "300s", "5", NULL, NULL}},
};
#define PRESETS (sizeof presets / sizeof presets[0])

static void each_preset_has_its_values_and_nothing_else(void **state)
{
    (void)state;
    for (size_t p = 0; p < PRESETS; p++) {
        size_t set = 0, wanted = 0;
        assert_true(load("--preset", (char *)(uintptr_t)presets[p].name));
        for (size_t k = 0; k < KEYS; k++) {
            const struct option_row *row = option_find(keys[k], strlen(keys[k]));
            assert_value(keys[k], presets[p].values[k] ? presets[p].values[k] : row->fallback);
            wanted += presets[p].values[k] != NULL;
        }
        for (size_t i = 0; i < option_rows_count; i++)
            set += strncmp(o.origins[i], "preset ", 7) == 0;
        assert_int_equal(set, wanted);
    }
}

static void the_choices_are_the_presets(void **state)
{
    struct buffer range = {0};

    (void)state;
    option_print_range(option_find("preset", 6), &range);
    buffer_append_char(&range, '\0');
    assert_string_equal(range.data, "none, high, high-max, long, long-max");
    buffer_fini(&range);
    assert_false(load("--preset", "higher"));
    assert_error_has("flag --preset: value \"higher\" of preset is none of none, high");
}

static void every_layer_wins_over_a_preset(void **state)
{
    (void)state;
    write_file("config.toml", "[pool]\nmax_connections = 7\n");
    setenv("HOTFLEET_POOL_MAX_IDLE_CONNS", "8", 1);
    bool good = load("--preset", "high", "--max-retries", "1");
    unsetenv("HOTFLEET_POOL_MAX_IDLE_CONNS");
    assert_true(good);
    assert_value("max_connections", "7");
    assert_value("max_idle_conns", "8");
    assert_value("max_retries", "1");
    assert_value("max_conns_per_host", "50");
    assert_string_equal(origin_of("max_conns_per_host"), "preset high");
    assert_string_equal(origin_of("max_connections"), "config.toml:2");
    assert_string_equal(origin_of("preset"), "flag");
}

static void a_key_that_names_its_default_wins_too(void **state)
{
    (void)state;
    write_file("config.toml", "[pool]\npreset = \"long\"\nmax_connections = 100\n");
    assert_true(load(NULL));
    assert_value("max_connections", "100");
    assert_value("max_conns_per_host", "20");
}

static void a_later_layer_may_ask_for_another_preset_or_none(void **state)
{
    (void)state;
    write_file("config.toml", "[pool]\npreset = \"long\"\n");
    assert_true(load("--preset", "high"));
    assert_value("max_connections", "500");
    assert_value("dns_update_interval", "900s");
    assert_true(load("--preset", "none"));
    assert_value("max_connections", "100");
    setenv("HOTFLEET_POOL_PRESET", "high-max", 1);
    bool good = load(NULL);
    unsetenv("HOTFLEET_POOL_PRESET");
    assert_true(good);
    assert_value("max_connections", "1000");
}

static void checks_hold_for_a_presets_values(void **state)
{
    (void)state;
    assert_false(load("--preset", "high", "--max-hosts", "500"));
    assert_error("max_hosts = 500 (flag) must be above max_connections = 500 (preset high); mend one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_preset_has_its_values_and_nothing_else),
        CASE(the_choices_are_the_presets),
        CASE(every_layer_wins_over_a_preset),
        CASE(a_key_that_names_its_default_wins_too),
        CASE(a_later_layer_may_ask_for_another_preset_or_none),
        CASE(checks_hold_for_a_presets_values),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
