/* Records of hosts' health. */
#include "shm/store_health.h"

#include <string.h>

#include "shm/store_parts.h"

#define RECORD_TYPE_HEALTH    'H'
#define RECORD_VERSION_HEALTH 1
#define ORIGIN_BYTES_MAX      300

struct record_health {
    uint8_t type;
    uint8_t version;
    uint8_t circuit; /* enum store_circuit */
    uint8_t reserved;
    uint32_t failures, delay_times, reserved2;
    uint64_t trial_wall_us, probed_wall_us, written_wall_us;
};
_Static_assert(sizeof(struct record_health) == 40, "struct record_health is written to disk");

static bool record_to_health(const MDB_val *value, struct store_health *health_out)
{
    struct record_health record;

    if (value->mv_size != sizeof record)
        return false;
    memcpy(&record, value->mv_data, sizeof record);
    if (record.type != RECORD_TYPE_HEALTH || record.version != RECORD_VERSION_HEALTH ||
        record.circuit > STORE_CIRCUIT_HALF_OPEN)
        return false;
    *health_out = (struct store_health){
        .circuit = (enum store_circuit)record.circuit,
        .failures = record.failures,
        .delay_times = record.delay_times,
        .trial_wall_us = record.trial_wall_us,
        .probed_wall_us = record.probed_wall_us,
        .written_wall_us = record.written_wall_us,
    };
    return true;
}

enum outcome store_health_get(struct store *s, const char *origin, size_t len, struct store_health *health_out)
{
    MDB_val key = {len, (void *)(uintptr_t)origin};
    MDB_val value;

    if (!s->has_health || len == 0 || len > ORIGIN_BYTES_MAX)
        return OUTCOME_NOT_FOUND;
    MDB_txn *txn = store_begin_read(s);
    if (!txn)
        return OUTCOME_NOT_FOUND;
    int rc = mdb_get(txn, s->health, &key, &value);
    if (rc != 0 && rc != MDB_NOTFOUND)
        store_tell_failure(s, "get", rc);
    bool found = rc == 0 && record_to_health(&value, health_out);
    store_end_read(s, txn);
    return found ? OUTCOME_OK : OUTCOME_NOT_FOUND;
}

void store_health_put(struct store *s, const char *origin, size_t len, const struct store_health *health)
{
    struct record_health record = {
        .type = RECORD_TYPE_HEALTH,
        .version = RECORD_VERSION_HEALTH,
        .circuit = (uint8_t)health->circuit,
        .failures = health->failures,
        .delay_times = health->delay_times,
        .trial_wall_us = health->trial_wall_us,
        .probed_wall_us = health->probed_wall_us,
        .written_wall_us = health->written_wall_us,
    };
    MDB_val key = {len, (void *)(uintptr_t)origin};
    MDB_val value = {sizeof record, &record};

    if (!s->has_health || len == 0 || len > ORIGIN_BYTES_MAX || !store_begin_write(s))
        return;
    int rc = mdb_put(s->writer, s->health, &key, &value, 0);
    if (rc != 0)
        store_drop_write(s, "put", rc);
}

bool store_health_is_of_use(const MDB_val *value, uint64_t now_wall_us)
{
    struct store_health health;

    if (!record_to_health(value, &health))
        return false;
    uint64_t last = health.written_wall_us > health.trial_wall_us ? health.written_wall_us : health.trial_wall_us;
    /* One from the future, by a clock that was wrong, would stay for ever. */
    return (last > now_wall_us ? last - now_wall_us : now_wall_us - last) < STORE_HEALTH_KEEP_US;
}
