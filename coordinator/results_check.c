/* Judging messages before they are acted on. */
#include "coordinator/results_check.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/clock.h"

#define ATTEMPTS_STEP_MAX 64       /* attempts that one giving-out may take; far more than any does */
#define DELAY_MS_MAX      3600000  /* the upper end of the option retry_delay_max */
#define HOST_WAIT_MS_MAX  86400000 /* the upper end of the option total_timeout */
#define SEQ_DIGITS_MAX    19       /* of what fits into 63 bits */
#define BLOCK_BYTES       64
#define STATUS_MAX        999
#define WALL_US_MAX       (UINT64_C(253402300800) * 1000000) /* the year 10000 */

bool result_is_sound(const struct result_message *m, uint32_t len, const struct region_layout *layout)
{
    bool is_chore = m->kind == RESULT_CHORE;

    return len >= sizeof *m && m->len <= len - sizeof *m && m->kind <= RESULT_SESSION && m->access <= ACCESS_FIXED &&
           m->outcome <= (is_chore ? OUTCOME_COUNT - 1u : OUTCOME_RECORD_LAST + 0u) && m->status <= STATUS_MAX &&
           (m->ip == IP_NONE || m->ip < layout->ips_max) && (is_chore || m->delay_ms <= DELAY_MS_MAX) &&
           m->host_wait_ms <= HOST_WAIT_MS_MAX;
}

/* The smallest byte of whole blocks of 64; each record passes here. */
static uint8_t smallest_of(const char *text, size_t blocks)
{
#ifdef __SSE2__
    __m128i least = _mm_set1_epi8(-1);
    uint8_t bytes[16];

    for (const char *end = text + blocks * BLOCK_BYTES; text < end; text += BLOCK_BYTES) {
        for (int i = 0; i < BLOCK_BYTES; i += 16)
            least = _mm_min_epu8(least, _mm_loadu_si128((const void *)(text + i)));
    }
    _mm_storeu_si128((void *)bytes, least);
    text = (const char *)bytes;
    size_t len = sizeof bytes;
#else
    size_t len = blocks * BLOCK_BYTES;
#endif
    uint8_t smallest = UINT8_MAX;
    for (size_t i = 0; i < len; i++)
        smallest = (uint8_t)text[i] < smallest ? (uint8_t)text[i] : smallest;
    return smallest;
}

/* No byte is a control character: JSON has none in its strings, and lines have none but their end. */
static bool is_printable(const char *text, size_t len)
{
    size_t blocks = len / BLOCK_BYTES;

    /* The last block of 64 overlaps those before it. */
    if (blocks)
        return smallest_of(text, blocks) >= 0x20 && smallest_of(text + len - BLOCK_BYTES, 1) >= 0x20;
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] < 0x20)
            return false;
    }
    return true;
}

static bool is_log(const char *bytes, size_t len)
{
    const char *text = bytes + sizeof(struct task_log);

    if (len == 0)
        return true;
    if (len < sizeof(struct task_log) || len > TASK_LOG_MAX)
        return false;
    len -= sizeof(struct task_log);
    return len == 0 || (text[0] == '{' && text[len - 1] == '}' && is_printable(text, len));
}

/* A redirect's log stands behind its URL and a newline. */
static bool log_fits(const struct result_message *m, const char *bytes)
{
    if (m->kind != RESULT_REDIRECT)
        return is_log(bytes, m->len);
    const char *newline = memchr(bytes, '\n', m->len);
    return !newline || is_log(newline + 1, m->len - (size_t)(newline + 1 - bytes));
}

/* When the first attempt was is told once, and not from the future. The wall clock may have been set meanwhile. */
static bool times_fit(const struct result_message *m, const struct task *task)
{
    if (task->started_us ? m->started_us != task->started_us : m->started_us > clock_us())
        return false;
    return task->first_attempt_wall_us ? m->first_attempt_wall_us == task->first_attempt_wall_us
                                       : m->first_attempt_wall_us < WALL_US_MAX;
}

bool result_fits_task(const struct result_message *m, const struct task *task, const char *bytes)
{
    if (m->attempts < task->attempts || m->attempts - task->attempts > ATTEMPTS_STEP_MAX)
        return false;
    if (m->kind == RESULT_RECORD)
        return true;
    if (m->kind == RESULT_RETRY && outcome_row((enum outcome)m->outcome)->retry == RETRY_NEVER &&
        m->outcome != OUTCOME_IP_BLOCKED)
        return false;
    if (m->kind == RESULT_REDIRECT &&
        (m->status < 300 || m->status > 399 || m->len == 0 || task->chain_count >= TASK_CHAIN_MAX))
        return false;
    return times_fit(m, task) && log_fits(m, bytes);
}

bool result_is_record(const char *line, size_t len, uint64_t seq)
{
    static const char head[] = "{\"seq\":";
    const char *at = line + sizeof head - 1;
    uint64_t told = 0;
    unsigned digit;

    if (len < sizeof "{\"seq\":1}\n" - 1 || memcmp(line, head, sizeof head - 1) != 0 || *at == '0' ||
        line[len - 2] != '}' || line[len - 1] != '\n')
        return false;
    const char *last = len < sizeof head + SEQ_DIGITS_MAX ? line + len - 1 : at + SEQ_DIGITS_MAX;
    while ((digit = (unsigned)*at - '0') < 10 && at < last) {
        told = told * 10 + digit;
        at++;
    }
    return told == seq && (*at == ',' || *at == '}') && is_printable(line, len - 1);
}

bool result_is_lines(const char *text, size_t len)
{
    const char *end = text + len;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        if (!newline || newline - text < 2 || text[0] != '{' || newline[-1] != '}' ||
            !is_printable(text, (size_t)(newline - text)))
            return false;
        text = newline + 1;
    }
    return true;
}
