#pragma once
/* Whether, and after how long, a failed attempt is made again: the outcome table, the options, and the method decide.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"
#include "common/outcome.h"

struct retry_question {
    enum outcome outcome;
    uint32_t attempts;       /* made, the failed one included */
    uint64_t elapsed_us;     /* since the first attempt began */
    bool idempotent;         /* the method is (RFC 9110 9.2.2) */
    bool never_sent;         /* the request did not leave this machine, or the server said it did nothing with it */
    uint32_t retry_after_ms; /* as the server asked; 0: did not */
};

/* True: try again after *delay_ms_out (full jitter, doubled each time from retry_delay up to retry_delay_max; not
 * less than the server asked for). A server that asks for more than retry_delay_max is not waited for: false. */
bool retry_wanted(const struct options *options, const struct retry_question *q, uint32_t *delay_ms_out);
