#pragma once
/* What the map knows of a host's health: its circuit and its last probe. The key is the origin, "https://name:443". */

#include <stddef.h>
#include <stdint.h>

#include "common/outcome.h"
#include "shm/store.h"

#define STORE_HEALTH_KEEP_US UINT64_C(86400000000) /* a record says nothing any more a day after its last moment */

/* Numbers on disk: never renumbered. */
enum store_circuit { STORE_CIRCUIT_CLOSED = 0, STORE_CIRCUIT_OPEN = 1, STORE_CIRCUIT_HALF_OPEN = 2 };

struct store_health {
    enum store_circuit circuit;
    uint32_t failures;                      /* in a row */
    uint32_t delay_times;                   /* of the circuit's first delay */
    uint64_t trial_wall_us, probed_wall_us; /* 0: none */
    uint64_t written_wall_us;
};

/* OUTCOME_NOT_FOUND when absent or unreadable. Sees this process's own pending writes. Nothing in it is checked but its
 * form. */
must_check enum outcome store_health_get(struct store *s, const char *origin, size_t len,
                                         struct store_health *health_out);
/* Queues the record; written by the next store_commit(). */
void store_health_put(struct store *s, const char *origin, size_t len, const struct store_health *health);
