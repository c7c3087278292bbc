/* The circuit's states and moves. */
#include "coordinator/breaker.h"

static bool tells_of_failure(enum outcome outcome)
{
    enum blame blame = outcome_row(outcome)->blame;

    /* Without an address left nothing was tried. */
    if (outcome == OUTCOME_IP_EXHAUSTED || outcome == OUTCOME_IP_BLOCKED)
        return false;
    return blame == BLAME_ADDRESS || blame == BLAME_CONNECTION || outcome == OUTCOME_REQUEST_TIMEOUT ||
           outcome == OUTCOME_TLS_ERROR;
}

enum breaker_verdict breaker_judge(enum outcome outcome, unsigned status)
{
    if (tells_of_failure(outcome))
        return BREAKER_FAILURE;
    return outcome == OUTCOME_OK || status != 0 ? BREAKER_ANSWER : BREAKER_NOTHING;
}

static void open_for(struct breaker *b, const struct breaker_rules *rules, uint32_t times, uint64_t now_us)
{
    b->state = BREAKER_OPEN;
    b->delay_times = times;
    b->trial_at_us = now_us + times * rules->delay_us;
    b->trial_out = false;
}

static enum breaker_move take_failure(struct breaker *b, const struct breaker_rules *rules, uint64_t seq,
                                      uint64_t now_us)
{
    b->failures += b->failures < UINT32_MAX;
    switch (b->state) {
    case BREAKER_CLOSED:
        if (rules->failures_max == 0 || b->failures < rules->failures_max)
            return BREAKER_STAYS;
        open_for(b, rules, 1, now_us);
        return BREAKER_OPENS;
    case BREAKER_OPEN:
        break;
    case BREAKER_HALF_OPEN:
        /* What was sent before the circuit opened is no trial. */
        if (!b->trial_out || b->trial_seq != seq)
            break;
        open_for(b, rules, b->delay_times < BREAKER_DELAY_TIMES_MAX / 2 ? 2 * b->delay_times : BREAKER_DELAY_TIMES_MAX,
                 now_us);
        return BREAKER_REOPENS;
    }
    return BREAKER_STAYS;
}

enum breaker_move breaker_take(struct breaker *b, const struct breaker_rules *rules, enum breaker_verdict verdict,
                               uint64_t seq, uint64_t now_us)
{
    if (verdict == BREAKER_FAILURE)
        return take_failure(b, rules, seq, now_us);
    if (verdict == BREAKER_NOTHING)
        return BREAKER_STAYS;
    bool was_closed = b->state == BREAKER_CLOSED;
    *b = (struct breaker){.state = BREAKER_CLOSED};
    return was_closed ? BREAKER_STAYS : BREAKER_CLOSES;
}

bool breaker_try(struct breaker *b, uint64_t now_us)
{
    if (b->state != BREAKER_OPEN || now_us < b->trial_at_us)
        return false;
    b->state = BREAKER_HALF_OPEN;
    b->trial_out = false;
    return true;
}

bool breaker_lets_pass(const struct breaker *b)
{
    return b->state == BREAKER_CLOSED || (b->state == BREAKER_HALF_OPEN && !b->trial_out);
}

void breaker_on_given(struct breaker *b, uint64_t seq)
{
    if (b->state != BREAKER_HALF_OPEN)
        return;
    b->trial_out = true;
    b->trial_seq = seq;
}

void breaker_on_back(struct breaker *b, uint64_t seq)
{
    if (b->trial_out && b->trial_seq == seq)
        b->trial_out = false;
}
