/* Fuzzes the reader of DNS answers: the first byte chooses the family, the rest is the message. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "coordinator/resolver_parts.h"
#include "shm/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resolver_found found;

    if (size == 0)
        return 0;
    uint8_t family = data[0] & 1 ? 6 : 4;
    enum outcome outcome = resolver_answer_parse(data + 1, size - 1, family, &found);
    if ((outcome == OUTCOME_OK) != (found.count > 0) || found.count > STORE_ADDRESSES_MAX ||
        (outcome != OUTCOME_OK && found.addresses) || found.ttl_s > RESOLVER_TTL_MAX_S)
        abort();
    for (uint32_t i = 0; i < found.count; i++) {
        if (found.addresses[i].family != family)
            abort();
    }
    free(found.addresses);
    return 0;
}
