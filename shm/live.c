/* The sequence lock over the values of LIVE options. */
#include "shm/live.h"

#define READ_TRIES 16

enum {
#define OPTION(id, type, category, fallback, min, max, flag, change, help) LIVE_ROW_##id,
#include "common/options.def"
#undef OPTION
    LIVE_ROWS
};
_Static_assert(LIVE_ROWS <= LIVE_ROWS_MAX, "the region has room for the values of all options");
_Static_assert(sizeof(struct region_live) == 64 + 8 * LIVE_ROWS_MAX, "struct region_live is part of the shared layout");

void live_write(struct region_live *live, const struct options *o)
{
    uint64_t sequence = atomic_load_explicit(&live->sequence, memory_order_relaxed);

    /* Even from here on, whatever a broken worker has left there. */
    sequence &= ~UINT64_C(1);
    atomic_store_explicit(&live->sequence, sequence + 1, memory_order_relaxed);
    /* Release stores: a reader that sees a new value also sees that the counter was odd. */
    for (size_t i = 0; i < option_rows_count; i++) {
        if (option_rows[i].live)
            atomic_store_explicit(&live->value[i], options_number(o, &option_rows[i]), memory_order_release);
    }
    atomic_store_explicit(&live->sequence, sequence + 2, memory_order_release);
}

static bool read_once(const struct region_live *live, uint64_t *sequence_out, uint64_t values[LIVE_ROWS])
{
    *sequence_out = atomic_load_explicit(&live->sequence, memory_order_acquire);
    if (*sequence_out == 0 || *sequence_out % 2)
        return false;
    for (size_t i = 0; i < option_rows_count; i++)
        values[i] = atomic_load_explicit(&live->value[i], memory_order_acquire);
    return atomic_load_explicit(&live->sequence, memory_order_relaxed) == *sequence_out;
}

bool live_read(const struct region_live *live, uint64_t *seen_io, struct options *o)
{
    uint64_t values[LIVE_ROWS];
    uint64_t sequence;
    unsigned tries = 0;

    while (!read_once(live, &sequence, values)) {
        if (sequence == 0 || ++tries == READ_TRIES)
            return false;
    }
    *seen_io = sequence;
    for (size_t i = 0; i < option_rows_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->live && (values[i] > (uint64_t)row->max || (int64_t)values[i] < row->min))
            return false;
    }
    bool good = true;
    for (size_t i = 0; i < option_rows_count; i++)
        good = (!option_rows[i].live || options_set_number(o, &option_rows[i], values[i])) && good;
    return good;
}
