/* The names that options go by on the command line and in the environment, and the nearest to a misspelt one. */
#include <ctype.h>
#include <stdio.h>

#include "common/options_rows.h"

const struct option_alias option_aliases[] = {
    {"MAX_CONNECTIONS", "max_connections"},
    {"CONN_TIMEOUT", "conn_timeout"},
};
const size_t option_aliases_count = sizeof option_aliases / sizeof option_aliases[0];

const char *option_key(const struct option_row *row)
{
    bool says_half = strcmp(row->category, "whitelist") == 0 || strcmp(row->category, "blacklist") == 0;

    return says_half ? row->name + strlen(row->category) + 1 : row->name;
}

bool option_flag_next(const char **cursor, const char **flag_out, size_t *len_out)
{
    *flag_out = *cursor + strspn(*cursor, " ");
    *len_out = strcspn(*flag_out, " ");
    *cursor = *flag_out + *len_out;
    return *len_out > 0;
}

void option_long_flag(const struct option_row *row, char out[OPTION_NAME_MAX])
{
    snprintf(out, OPTION_NAME_MAX, "--%s", row->name);
    for (char *p = out; *p; p++) {
        if (*p == '_')
            *p = '-';
    }
}

void option_variable(const struct option_row *row, char out[OPTION_NAME_MAX])
{
    snprintf(out, OPTION_NAME_MAX, "HOTFLEET_%s_%s", row->category, option_key(row));
    for (char *p = out; *p; p++)
        *p = (char)toupper((unsigned char)*p);
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that make `b` of `a` (optimal string alignment). Both are
 * shorter than OPTION_NAME_MAX. */
static size_t edits_between(const char *a, const char *b)
{
    size_t rows[3][OPTION_NAME_MAX];
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);

    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
        }
    }
    return rows[a_len % 3][b_len];
}

void nearest_offer(struct nearest *n, const char *candidate)
{
    if (strlen(n->wanted) >= OPTION_NAME_MAX || strlen(candidate) >= OPTION_NAME_MAX)
        return;
    /* Who wrote only the beginning of a name is nearer than the letters left out would say. */
    bool begins = strncmp(candidate, n->wanted, strlen(n->wanted)) == 0;
    size_t edits = begins ? candidate[strlen(n->wanted)] != '\0' : edits_between(n->wanted, candidate);
    if (n->best[0] && edits >= n->edits)
        return;
    n->edits = edits;
    snprintf(n->best, sizeof n->best, "%s", candidate);
}

bool nearest_is_likely(const struct nearest *n)
{
    return n->best[0] && n->edits * 2 <= strlen(n->wanted);
}
