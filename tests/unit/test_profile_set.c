/* Selections of profiles, and draws: even, distinct, and the same for the same seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/accept_language.h"
#include "common/profile_set.h"

#define DRAWS 10000

static uint64_t members(const char *name)
{
    const struct profile_set *set = profile_set_at(profile_set_find(name, strlen(name)));

    assert_non_null(set);
    assert_string_equal(set->name, name);
    return set->members;
}

static unsigned count(uint64_t members)
{
    unsigned n = 0;

    for (; members; members &= members - 1)
        n++;
    return n;
}

static void selections_have_the_profiles_they_name(void **state)
{
    uint64_t random = members("random");

    (void)state;
    assert_true(members("none") == UINT64_C(1) << PROFILE_NONE);
    assert_int_equal(count(random), 30);
    for (unsigned i = 0; i < profile_count(); i++) {
        const struct profile *p = profile_at(i);
        uint64_t bit = UINT64_C(1) << i;
        assert_true(members(p->name) == bit);
        assert_int_equal((members("recommended") & bit) != 0, p->recommended);
        assert_int_equal((members("safe") & bit) != 0, p->safe);
        assert_int_equal((members("browser=firefox") & bit) != 0, strcmp(p->browser, "firefox") == 0);
        assert_int_equal((members("platform=macos") & bit) != 0, strcmp(p->platform, "macos") == 0);
        if (strncmp(p->name, "randomized", 10) == 0 || strcmp(p->name, "firefox-55-windows") == 0 ||
            strcmp(p->name, "ios-12-iphone") == 0)
            assert_false(random & bit);
    }
}

static void unknown_selections_are_none_and_the_nearest_is_offered(void **state)
{
    (void)state;
    assert_int_equal(profile_set_find("browser=lynx", 12), 0);
    assert_int_equal(profile_set_find("", 0), 0);
    assert_int_equal(profile_set_find("randomx", 7), 0);
    assert_true(profile_set_find("randomx", 6) > 0);
    assert_null(profile_set_at(0));
    assert_null(profile_set_at(255));
    assert_string_equal(profile_set_nearest("chrome-133-window"), "chrome-133-windows");
    assert_string_equal(profile_set_nearest("browser=firefx"), "browser=firefox");
    assert_null(profile_set_nearest("xyzzy"));
}

/* Wilson and Hilferty: the value of chi-square that is passed once in a hundred. */
static double chi_square_limit(double freedom)
{
    double part = 2.0 / (9.0 * freedom);
    double root = 1.0;

    for (int i = 0; i < 50; i++)
        root = (root + part / root) / 2;
    double base = 1.0 - part + 2.326 * root;
    return freedom * base * base * base;
}

static void draws_use_all_profiles_evenly(void **state)
{
    static const char *const names[] = {"random", "recommended", "safe", "browser=chrome"};

    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t from = members(names[seed - 1]);
        unsigned seen[PROFILE_MEMBERS_MAX] = {0};
        double expected = (double)DRAWS / count(from);
        double chi = 0;
        for (uint64_t i = 0; i < DRAWS; i++) {
            struct draw draw;
            draw_begin(&draw, seed, 0, i);
            seen[profile_set_draw(from, &draw)]++;
        }
        for (unsigned i = 0; i < PROFILE_MEMBERS_MAX; i++) {
            if (from >> i & 1)
                chi += (seen[i] - expected) * (seen[i] - expected) / expected;
            else
                assert_int_equal(seen[i], 0);
        }
        assert_true(chi < chi_square_limit(count(from) - 1));
    }
}

static void same_seed_gives_the_same_draws(void **state)
{
    uint8_t bytes[4][13];
    struct draw draw;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        draw_begin(&draw, 7, i == 2, 5 + (i == 3));
        draw_fill(&draw, bytes[i], sizeof bytes[i]);
    }
    assert_memory_equal(bytes[0], bytes[1], sizeof bytes[0]);
    assert_memory_not_equal(bytes[0], bytes[2], sizeof bytes[0]);
    assert_memory_not_equal(bytes[0], bytes[3], sizeof bytes[0]);
    assert_memory_not_equal(bytes[2], bytes[3], sizeof bytes[0]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The share of `total` values that no other equals. */
static double share_of_own(char (*values)[ACCEPT_LANGUAGE_MAX], size_t total)
{
    size_t own = 0;

    qsort(values, total, sizeof *values, by_text);
    for (size_t i = 0; i < total; i++)
        own += (i == 0 || strcmp(values[i - 1], values[i]) != 0) &&
               (i + 1 == total || strcmp(values[i], values[i + 1]) != 0);
    return (double)own / (double)total;
}

static void few_connections_say_the_same_of_their_languages(void **state)
{
    static char values[DRAWS][ACCEPT_LANGUAGE_MAX];
    static const size_t totals[] = {1611, DRAWS};

    (void)state;
    for (uint64_t k = 0; k < 2; k++) {
        for (uint64_t i = 0; i < totals[k]; i++) {
            struct draw draw;
            draw_begin(&draw, 3, k, i);
            size_t len = accept_language_draw(&draw, values[i]);
            assert_int_equal(len, strlen(values[i]));
        }
        assert_true(share_of_own(values, totals[k]) >= 0.978);
    }
}

static void languages_are_distinct_with_falling_weights(void **state)
{
    unsigned with[6] = {0};

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        char text[ACCEPT_LANGUAGE_MAX];
        char *rest = text;
        char *tag[6];
        struct draw draw;
        unsigned n = 0;
        draw_begin(&draw, 9, 0, i);
        assert_true(accept_language_draw(&draw, text) < sizeof text);
        for (char *item; n < 6 && (item = strsep(&rest, ",")); n++) {
            char *weight = strchr(item, ';');
            assert_int_equal(weight == NULL, n == 0);
            if (weight) {
                const char expected[] = {';', 'q', '=', '0', '.', (char)('0' + 10 - n), '\0'};
                assert_string_equal(weight, expected);
                *weight = '\0';
            }
            tag[n] = item;
            for (unsigned k = 0; k < n; k++)
                assert_string_not_equal(tag[k], item);
        }
        assert_in_range(n, 2, 5);
        with[n]++;
    }
    for (unsigned n = 2; n <= 5; n++)
        assert_true(with[n] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selections_have_the_profiles_they_name),
        cmocka_unit_test(unknown_selections_are_none_and_the_nearest_is_offered),
        cmocka_unit_test(draws_use_all_profiles_evenly),
        cmocka_unit_test(same_seed_gives_the_same_draws),
        cmocka_unit_test(few_connections_say_the_same_of_their_languages),
        cmocka_unit_test(languages_are_distinct_with_falling_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
