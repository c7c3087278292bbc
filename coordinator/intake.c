/* From line to task. */
#include "coordinator/intake.h"

#include <stdio.h>

void intake_init(struct intake *i, struct results *results, const struct options *options)
{
    *i = (struct intake){.results = results, .options = options};
    /* The options were checked. */
    (void)shard_parse(options->shard, &i->shard);
}

void intake_fini(struct intake *i)
{
    input_line_fini(&i->line);
    buffer_fini(&i->url_text);
}

bool intake_has_room(const struct intake *i)
{
    return task_room(i->results->tasks) && frontier_has_room(i->results->frontier) &&
           (!i->overflow || overflow_has_room(i->overflow));
}

/* A line of another shard counts as done, without a record. */
static bool is_ours(struct intake *i, uint64_t seq, const char *name, size_t len)
{
    bool ours = shard_has(&i->shard, name, len);

    if (!ours) {
        i->others++;
        results_pass_over(i->results, seq);
    }
    return ours;
}

static void refuse_long_line(struct intake *i, const struct feed_line *line, struct span input)
{
    char text[96];

    snprintf(text, sizeof text, "the line is longer than %llu bytes; --max-line raises the limit",
             (unsigned long long)i->options->max_line);
    if (is_ours(i, line->seq, input.data, input.len))
        results_refuse(i->results, line->seq, input, true, (struct span){0}, NULL, OUTCOME_INVALID_URL, text);
}

/* Parses the line's text into i->line and *url_out. */
static enum outcome parse(struct intake *i, const char *text, size_t len, struct url *url_out, const char **reason_out)
{
    enum outcome outcome = input_line_parse(text, len, &i->line, reason_out);

    if (outcome == OUTCOME_OK)
        outcome = url_parse(i->line.url, i->line.url_len, NULL, &i->url_text, url_out, reason_out);
    if (outcome == OUTCOME_OK && *i->options->raw_request &&
        (i->line.method || i->line.headers || i->line.body || i->line.validate)) {
        outcome = OUTCOME_INVALID_URL;
        *reason_out = "\"method\", \"headers\", \"body\" and \"validate\" cannot be given beside raw_request, whose "
                      "bytes are all that is sent";
    }
    return outcome;
}

/* What is in i->line becomes a task of `host`, or one that ends at once; the window has room for it. */
static void take_in(struct intake *i, struct host *host, uint64_t seq, struct span input, const struct url *url,
                    const struct overflow_end *end)
{
    if (i->line.body && !i->line.method) {
        i->line.method = "POST";
        i->line.method_len = 4;
    }
    i->line.validate |= i->options->validate;
    struct task *task = task_new(i->results->tasks, seq, input.data, input.len, &i->line, url);
    if (!task)
        return;
    if (end)
        results_fail(i->results, task, end->outcome, end->detail);
    else
        frontier_add_new(i->results->frontier, task, host);
}

/* A byte order mark at the head of a file belongs to none of its lines (RFC 3629 6). */
static size_t mark_bytes(uint64_t seq, struct span input)
{
    return seq == 1 && input.len >= 3 && memcmp(input.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

void intake_line(struct intake *i, const struct feed_line *line)
{
    static const struct overflow_end no_room = {.outcome = OUTCOME_RESOURCE_EXHAUSTED};
    struct span input = {line->text ? line->text : "", line->len};
    const char *reason = NULL;
    struct url url;

    if (line->too_long) {
        refuse_long_line(i, line, input);
        return;
    }
    size_t mark = mark_bytes(line->seq, input);
    enum outcome outcome = parse(i, input.data + mark, input.len - mark, &url, &reason);
    if (outcome != OUTCOME_OK) {
        struct span tag = {i->line.tag, i->line.tag_len};
        if (is_ours(i, line->seq, input.data, input.len))
            results_refuse(i->results, line->seq, input, false, tag, NULL, outcome, reason);
        return;
    }
    if (!is_ours(i, line->seq, url.text + url.host_offset, url.host_len))
        return;
    struct host *host = frontier_host_of(i->results->frontier, &url, (struct span){i->line.ip, i->line.ip_len});
    if (!host || !i->overflow || !overflow_wants(i->overflow, host)) {
        take_in(i, host, line->seq, input, &url, host ? NULL : &no_room);
        return;
    }
    struct overflow_line kept = {.seq = line->seq, .text = input.data, .len = input.len};
    if (url.len == input.len && memcmp(url.text, input.data, input.len) == 0)
        kept.shape = url_shape(&url);
    overflow_add(i->overflow, host, &kept);
}

void intake_again(void *user, struct host *host, const struct overflow_line *line, const struct overflow_end *end)
{
    struct intake *i = user;
    struct span input = {line->text, line->len};
    size_t mark = mark_bytes(line->seq, input);
    enum outcome outcome = OUTCOME_OK;
    const char *reason = NULL;
    struct url url;

    if (line->shape.marks) {
        i->line = (struct input_line){.url = line->text, .url_len = line->len, .hold = i->line.hold};
        url = url_of_shape(&line->shape, line->text, (uint32_t)line->len);
    } else {
        outcome = parse(i, line->text + mark, line->len - mark, &url, &reason);
    }
    /* It was valid when it came. */
    if (outcome == OUTCOME_OK)
        take_in(i, host, line->seq, input, &url, end);
    else
        results_refuse(i->results, line->seq, input, false, (struct span){0}, NULL, outcome, reason);
}
