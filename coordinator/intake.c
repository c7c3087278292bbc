/* From line to task. */
#include "coordinator/intake.h"

#include <stdio.h>

/* The window counts URLs; long lines count for more, so that its memory has a bound too. */
#define WINDOW_BYTES_PER_URL 4096
#define WINDOW_BYTES_MIN     (8u << 20)

void intake_init(struct intake *i, struct results *results, const struct options *options)
{
    size_t bytes = (size_t)options->window * WINDOW_BYTES_PER_URL;

    *i = (struct intake){.results = results, .options = options};
    i->bytes_max = bytes > WINDOW_BYTES_MIN ? bytes : WINDOW_BYTES_MIN;
}

void intake_fini(struct intake *i)
{
    input_line_fini(&i->line);
    buffer_fini(&i->url_text);
}

bool intake_has_room(const struct intake *i)
{
    return task_count(i->results->tasks) < (uint32_t)i->options->window && task_bytes(i->results->tasks) < i->bytes_max;
}

void intake_line(struct intake *i, const struct feed_line *line)
{
    struct span input = {line->text ? line->text : "", line->len};
    const char *reason = NULL;
    struct url url;

    if (line->too_long) {
        char text[96];
        snprintf(text, sizeof text, "the line is longer than %llu bytes; --max-line raises the limit",
                 (unsigned long long)i->options->max_line);
        results_refuse(i->results, line->seq, input, true, (struct span){0}, NULL, OUTCOME_INVALID_URL, text);
        return;
    }
    /* A byte order mark at the head of a file belongs to none of its lines (RFC 3629 6). */
    size_t mark = line->seq == 1 && input.len >= 3 && memcmp(input.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    enum outcome outcome = input_line_parse(input.data + mark, input.len - mark, &i->line, &reason);
    if (outcome == OUTCOME_OK)
        outcome = url_parse(i->line.url, i->line.url_len, NULL, &i->url_text, &url, &reason);
    if (outcome == OUTCOME_OK && *i->options->raw_request &&
        (i->line.method || i->line.headers || i->line.body || i->line.validate)) {
        outcome = OUTCOME_INVALID_URL;
        reason = "\"method\", \"headers\", \"body\" and \"validate\" cannot be given beside raw_request, whose bytes "
                 "are all "
                 "that is sent";
    }
    if (outcome != OUTCOME_OK) {
        struct span tag = {i->line.tag, i->line.tag_len};
        results_refuse(i->results, line->seq, input, false, tag, NULL, outcome, reason);
        return;
    }
    if (i->line.body && !i->line.method) {
        i->line.method = "POST";
        i->line.method_len = 4;
    }
    i->line.validate |= i->options->validate;
    /* The feed asks for room before each line, so there is a slot. */
    struct task *task = task_new(i->results->tasks, line->seq, input.data, input.len, &i->line, &url);
    if (task)
        frontier_add(i->results->frontier, task);
}
