/* The rows of the outcome table. */
#include "common/outcome.h"

#include <string.h>

#define OUTCOME_ROW(id, name, retry, tries, window, blame, text) \
    [OUTCOME_##id] = {name, text, retry, tries, window, blame},
static const struct outcome_row rows[OUTCOME_COUNT] = {OUTCOME_TABLE(OUTCOME_ROW)};
#undef OUTCOME_ROW

const struct outcome_row *outcome_row(enum outcome o)
{
    return (unsigned)o < OUTCOME_COUNT ? &rows[o] : &rows[OUTCOME_SYSTEM];
}

const char *outcome_name(enum outcome o)
{
    return outcome_row(o)->name;
}

bool outcome_method_idempotent(const char *method, size_t len)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"};

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strlen(methods[i]) == len && memcmp(methods[i], method, len) == 0)
            return true;
    }
    return false;
}
