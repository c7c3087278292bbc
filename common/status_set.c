/* Reading sets of HTTP statuses. */
#include "common/status_set.h"

#include <stddef.h>

/* Three digits at `*at`, which moves behind them. */
static bool take_status(const char **at, unsigned *status_out)
{
    unsigned status = 0;

    for (int i = 0; i < 3; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        status = status * 10 + (unsigned)(**at - '0');
    }
    *status_out = status;
    return status >= STATUS_MIN;
}

/* What is wrong with the entry, NULL if nothing is. */
static const char *add_entry(struct status_set *set, const char *entry)
{
    static const char form[] = "is no status and no range of them; write 200, 200-399 or 200-299,304";
    const char *at = entry;
    unsigned first;
    unsigned last;

    do {
        at += at != entry;
        if (!take_status(&at, &first))
            return form;
        last = first;
        if (*at == '-' && (at++, !take_status(&at, &last)))
            return form;
        if (last < first)
            return "is a range that ends before it begins; write the smaller status first";
        for (unsigned status = first; status <= last; status++)
            set->bits[status / 64] |= UINT64_C(1) << status % 64;
    } while (*at == ',');
    return *at ? form : NULL;
}

bool status_set_parse(struct status_set *set_out, const struct option_list *entries, const char **entry_out,
                      const char **reason_out)
{
    *set_out = (struct status_set){0};
    *entry_out = "";
    *reason_out = entries->count ? NULL : "names no status; write 200-399";
    for (size_t i = 0; i < entries->count && !*reason_out; i++) {
        *entry_out = entries->items[i];
        *reason_out = add_entry(set_out, entries->items[i]);
    }
    if (*reason_out)
        *set_out = (struct status_set){0};
    return !*reason_out;
}
