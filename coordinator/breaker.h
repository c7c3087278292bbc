#pragma once
/* The circuit of one host: closed while attempts are answered; open, so that no request goes out, after many failures
 * in a row; half open when its delay is over, and then exactly one task goes as a trial. Plain values, embedded in the
 * host; what follows from a change is up to health.c. */

#include <stdbool.h>
#include <stdint.h>

#include "common/outcome.h"

#define BREAKER_DELAY_TIMES_MAX 10 /* delays double with each failed trial up to so many times the first */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

/* What the end of an attempt says of its host. */
enum breaker_verdict { BREAKER_NOTHING, BREAKER_ANSWER, BREAKER_FAILURE };

/* What a verdict changed. */
enum breaker_move { BREAKER_STAYS, BREAKER_OPENS, BREAKER_REOPENS, BREAKER_CLOSES };

struct breaker {
    enum breaker_state state;
    uint32_t failures;    /* in a row */
    uint32_t delay_times; /* of the rules' delay, while not closed */
    uint64_t trial_at_us; /* monotonic, while open */
    bool trial_out;       /* half open, and a task is on its way */
    uint64_t trial_seq;
};

struct breaker_rules {
    uint32_t failures_max; /* in a row open the circuit; 0: nothing does */
    uint64_t delay_us;
};

/* Failures are outcomes of an attempt that was made and that blame address or connection, or time; any status at all is
 * an answer; what this side or the input is to blame for says nothing. */
enum breaker_verdict breaker_judge(enum outcome outcome, unsigned status);
/* Takes the verdict on an attempt of task `seq`. */
enum breaker_move breaker_take(struct breaker *b, const struct breaker_rules *rules, enum breaker_verdict verdict,
                               uint64_t seq, uint64_t now_us);
/* Open, and its delay is over: half open from now on, and true. */
bool breaker_try(struct breaker *b, uint64_t now_us);
/* Whether a task may go out now. */
bool breaker_lets_pass(const struct breaker *b);
/* Task `seq` goes out, or is back from its worker, whatever became of it. */
void breaker_on_given(struct breaker *b, uint64_t seq);
void breaker_on_back(struct breaker *b, uint64_t seq);
