/* The table of language tags, and a draw of some. */
#include "common/accept_language.h"

#include <stdio.h>

#define TAGS_MAX_DRAWN 5

/* At most seven bytes each: five fit into ACCEPT_LANGUAGE_MAX. */
static const char tags[][8] = {
    "en-US", "en-GB", "en-CA", "en-AU", "en-NZ", "en-IE", "en-IN", "en-ZA", "en-SG", "en",    "de-DE", "de-AT", "de-CH",
    "de",    "fr-FR", "fr-CA", "fr-BE", "fr-CH", "fr",    "es-ES", "es-MX", "es-AR", "es-CO", "es-CL", "es-PE", "es-US",
    "es",    "pt-BR", "pt-PT", "pt",    "it-IT", "it-CH", "it",    "nl-NL", "nl-BE", "nl",    "pl-PL", "pl",    "ru-RU",
    "ru",    "uk-UA", "uk",    "ja-JP", "ja",    "zh-CN", "zh-TW", "zh-HK", "zh",    "ko-KR", "ko",    "tr-TR", "tr",
    "ar-SA", "ar-EG", "ar-AE", "ar",    "he-IL", "he",    "sv-SE", "sv",    "da-DK", "da",    "nb-NO", "nb",    "nn-NO",
    "fi-FI", "fi",    "cs-CZ", "cs",    "sk-SK", "sk",    "hu-HU", "hu",    "ro-RO", "ro",    "bg-BG", "bg",    "el-GR",
    "el",    "hr-HR", "hr",    "sr-RS", "sr",    "sl-SI", "sl",    "et-EE", "et",    "lv-LV", "lv",    "lt-LT", "lt",
    "th-TH", "th",    "vi-VN", "vi",    "id-ID", "id",    "ms-MY", "ms",    "hi-IN", "hi",    "bn-BD", "bn",    "ta-IN",
    "ta",    "te-IN", "mr-IN", "gu-IN", "ur-PK", "fa-IR", "fa",    "sw-KE", "af-ZA", "ca-ES", "ca",    "eu-ES", "gl-ES",
    "is-IS", "is",    "ga-IE", "cy-GB", "ka-GE", "hy-AM", "az-AZ", "kk-KZ", "uz-UZ", "fil-PH"};
#define TAGS_COUNT ((uint32_t)(sizeof tags / sizeof tags[0]))

size_t accept_language_draw(struct draw *draw, char out[ACCEPT_LANGUAGE_MAX])
{
    /* Two tags make some ten thousand values only: they are drawn as seldom as keeps most values apart. */
    uint32_t side = draw_below(draw, 16);
    uint32_t count = side == 0 ? 2 : 3 + side % 3;
    uint32_t drawn[TAGS_MAX_DRAWN];
    int len = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = 0;
        drawn[i] = draw_below(draw, TAGS_COUNT);
        while (drawn[k] != drawn[i])
            k++;
        if (k < i) {
            i--;
            continue;
        }
        len += i ? snprintf(out + len, ACCEPT_LANGUAGE_MAX - (size_t)len, ",%s;q=0.%u", tags[drawn[i]], 10 - i)
                 : snprintf(out, ACCEPT_LANGUAGE_MAX, "%s", tags[drawn[i]]);
    }
    return (size_t)len;
}
