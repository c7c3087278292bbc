/* One hand goes over the names and then over the hosts' health. */
#include "shm/store_sweep.h"

#include <string.h>

#include "shm/store_parts.h"

/* The next record at or after the place where the last step ended. */
static int begin_at_hand(struct store *s, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
    if (s->sweep_hand_len == 0)
        return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    *key = (MDB_val){s->sweep_hand_len, s->sweep_hand};
    return mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
}

static void keep_hand(struct store *s, int rc, const MDB_val *key)
{
    s->sweep_hand_len = 0;
    if (rc != 0 || key->mv_size > sizeof s->sweep_hand)
        return;
    memcpy(s->sweep_hand, key->mv_data, key->mv_size);
    s->sweep_hand_len = key->mv_size;
}

/* Returns the looks that are left when the database's end was reached, 0 before. */
static unsigned sweep_database(struct store *s, MDB_dbi dbi, bool (*is_of_use)(const MDB_val *, uint64_t),
                               uint64_t now_wall_us, unsigned looks)
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    int rc = mdb_cursor_open(s->writer, dbi, &cursor);

    if (rc == 0)
        rc = begin_at_hand(s, cursor, &key, &value);
    while (rc == 0 && looks > 0) {
        looks--;
        if (!is_of_use(&value, now_wall_us))
            rc = mdb_cursor_del(cursor, 0);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    keep_hand(s, rc, &key);
    if (cursor)
        mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        store_drop_write(s, "sweep", rc);
    return rc == MDB_NOTFOUND ? looks + 1 : 0;
}

bool store_sweep(struct store *s, uint64_t now_wall_us, unsigned looks)
{
    if (!store_begin_write(s))
        return false;
    if (!s->sweeps_health) {
        looks = sweep_database(s, s->dns, store_dns_is_of_use, now_wall_us, looks);
        s->sweeps_health = looks > 0 && s->has_health;
        if (!s->sweeps_health)
            return s->sweep_hand_len > 0;
    }
    if (!s->writer)
        return s->sweeps_health = false;
    s->sweeps_health =
        sweep_database(s, s->health, store_health_is_of_use, now_wall_us, looks) == 0 && s->sweep_hand_len > 0;
    return s->sweeps_health;
}
