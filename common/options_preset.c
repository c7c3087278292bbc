/* Presets: a layer directly above the defaults, from the table common/presets.def. */
#include <assert.h>
#include <stdio.h>

#include "common/options_rows.h"

static const struct preset_row {
    const char *preset, *name, *value;
} preset_rows[] = {
#define PRESET(preset, option, value) {preset, #option, value},
#include "common/presets.def"
#undef PRESET
};

/* A key that any layer names has another origin than its default, so the layer may be laid under the others last, when
 * it is known which preset is wanted. */
void options_apply_preset(struct options *o)
{
    struct options_error error;
    char origin[OPTION_NAME_MAX];

    snprintf(origin, sizeof origin, "preset %s", o->preset);
    for (size_t i = 0; i < sizeof preset_rows / sizeof preset_rows[0]; i++) {
        const struct option_row *row = option_find(preset_rows[i].name, strlen(preset_rows[i].name));
        if (!row || strcmp(preset_rows[i].preset, o->preset) != 0 ||
            strcmp(o->origins[option_index(row)], "default") != 0)
            continue;
        bool good = option_store(o, row, preset_rows[i].value, false, origin, &error);
        assert(good && "a value of common/presets.def is not valid");
        (void)good;
    }
}
