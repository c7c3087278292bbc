/* The table of tasks: slots, their reuse, and what a redirect changes in a task. */
#include "coordinator/task.h"

#include <stdlib.h>

#include "common/log.h"
#include "shm/task.h"

#define CHAIN_BYTES (TASK_CHAIN_MAX * sizeof(uint16_t))
/* What a task may take of the window on average. */
#define WINDOW_BYTES_PER_TASK 4096
#define WINDOW_BYTES_MIN      (8u << 20)
#define AVOID_BYTES           (TASK_AVOID_MAX * sizeof(uint32_t))

struct task_table {
    struct task **slots;
    uint32_t *free_slots; /* stack */
    uint32_t free_count, max;
    size_t bytes, bytes_max;
};

static void *must_alloc(void *memory, size_t bytes)
{
    if (!memory)
        die("out of memory: no room for %zu bytes of tasks; a smaller --window needs less", bytes);
    return memory;
}

struct task_table *task_table_new(uint32_t max)
{
    struct task_table *t = must_alloc(calloc(1, sizeof *t), sizeof *t);

    t->max = t->free_count = max;
    t->bytes_max = (size_t)max * WINDOW_BYTES_PER_TASK;
    if (t->bytes_max < WINDOW_BYTES_MIN)
        t->bytes_max = WINDOW_BYTES_MIN;
    t->slots = must_alloc(calloc(max, sizeof(struct task *)), max * sizeof(struct task *));
    t->free_slots = must_alloc(calloc(max, sizeof *t->free_slots), max * sizeof *t->free_slots);
    for (uint32_t i = 0; i < max; i++)
        t->free_slots[i] = max - 1 - i;
    return t;
}

void task_table_free(struct task_table *t)
{
    for (uint32_t i = 0; t && i < t->max; i++) {
        if (t->slots[i])
            task_free(t, t->slots[i]);
    }
    if (t) {
        free(t->slots);
        free(t->free_slots);
    }
    free(t);
}

static struct span keep(char **at, const char *data, size_t len)
{
    struct span span = {0};

    if (data) {
        if (len)
            memcpy(*at, data, len);
        span = (struct span){.data = *at, .len = len};
        *at += len;
    }
    return span;
}

struct task *task_new(struct task_table *t, uint64_t seq, const char *input, size_t input_len,
                      const struct input_line *line, const struct url *url)
{
    if (t->free_count == 0)
        return NULL;
    bool same = input_len == url->len && memcmp(input, url->text, input_len) == 0;
    size_t text = url->len + (same ? 0 : input_len) + line->method_len + line->headers_len + line->body_len +
                  line->ip_len + line->tag_len;
    size_t bytes = sizeof(struct task) + text;
    struct task *task = must_alloc(malloc(bytes), bytes);
    char *at = task->text;

    *task = (struct task){
        .table = t, .seq = seq, .bytes = bytes, .url = *url, .validate = line->validate, .profile = line->profile};
    task->plain = !line->headers && !line->body && !line->ip && !line->profile;
    task->url.text = keep(&at, url->text, url->len).data;
    task->first_url = task->url;
    task->input = same ? (struct span){task->url.text, url->len} : keep(&at, input, input_len);
    task->method = keep(&at, line->method, line->method_len);
    task->headers = keep(&at, line->headers, line->headers_len);
    task->body = keep(&at, line->body, line->body_len);
    task->ip = keep(&at, line->ip, line->ip_len);
    task->tag = keep(&at, line->tag, line->tag_len);
    task->slot = t->free_slots[--t->free_count];
    t->slots[task->slot] = task;
    t->bytes += bytes;
    return task;
}

void task_free(struct task_table *t, struct task *task)
{
    t->slots[task->slot] = NULL;
    t->free_slots[t->free_count++] = task->slot;
    t->bytes -= task->bytes;
    free(task->moved);
    free(task->chain);
    free(task->avoid);
    free(task->log);
    free(task);
}

struct task *task_find(const struct task_table *t, uint32_t slot, uint64_t seq)
{
    struct task *task = slot < t->max ? t->slots[slot] : NULL;

    return task && task->seq == seq ? task : NULL;
}

static bool span_is(struct span span, const char *word)
{
    return span.data && span.len == strlen(word) && memcmp(span.data, word, span.len) == 0;
}

/* What a redirect adds counts like the task's own text: the server chooses it. */
static void count_bytes(struct task *task, ptrdiff_t more)
{
    task->bytes += (size_t)more;
    task->table->bytes += (size_t)more;
}

void task_redirect(struct task *task, const struct url *next, unsigned status, struct span method)
{
    bool to_get =
        (status == 303 && !span_is(method, "HEAD")) || ((status == 301 || status == 302) && span_is(method, "POST"));
    bool crossed = next->scheme != task->url.scheme || next->port != task->url.port ||
                   next->host_len != task->url.host_len ||
                   memcmp(next->text + next->host_offset, task->url.text + task->url.host_offset, next->host_len) != 0;
    char *moved = must_alloc(malloc(next->len), next->len);

    memcpy(moved, next->text, next->len);
    if (task->moved)
        count_bytes(task, -(ptrdiff_t)task->url.len);
    count_bytes(task, (ptrdiff_t)next->len);
    free(task->moved);
    task->moved = moved;
    task->url = *next;
    task->url.text = moved;
    if (!task->chain) {
        task->chain = must_alloc(malloc(CHAIN_BYTES), CHAIN_BYTES);
        count_bytes(task, CHAIN_BYTES);
    }
    if (task->chain_count < TASK_CHAIN_MAX)
        task->chain[task->chain_count++] = (uint16_t)status;
    task->avoid_count = 0;
    if (to_get) {
        task->method = (struct span){"GET", 3};
        task->body = (struct span){0};
        task->body_dropped = true;
    }
    /* Once away, secrets stay behind, even when the chain comes home again; so does an address that was given by hand.
     */
    if (crossed) {
        task->crossed = true;
        task->ip = (struct span){0};
    }
}

void task_avoid(struct task *task, uint32_t ip)
{
    for (unsigned i = 0; i < task->avoid_count; i++) {
        if (task->avoid[i] == ip)
            return;
    }
    if (!task->avoid) {
        task->avoid = must_alloc(malloc(AVOID_BYTES), AVOID_BYTES);
        count_bytes(task, AVOID_BYTES);
    }
    if (task->avoid_count < TASK_AVOID_MAX)
        task->avoid[task->avoid_count++] = ip;
}

void task_keep_log(struct task *task, const char *log, size_t len)
{
    size_t head = sizeof(struct task_log);

    if (len < head || len > TASK_LOG_MAX || memchr(log + head, '\n', len - head))
        return;
    char *kept = must_alloc(malloc(len), len);
    memcpy(kept, log, len);
    free(task->log);
    task->log = kept;
    count_bytes(task, (ptrdiff_t)len - (ptrdiff_t)task->log_len);
    task->log_len = (uint32_t)len;
}

struct span task_log_text(const struct task *task)
{
    if (!task->log)
        return (struct span){0};
    return (struct span){task->log + sizeof(struct task_log), task->log_len - sizeof(struct task_log)};
}

uint32_t task_count(const struct task_table *t)
{
    return t->max - t->free_count;
}

size_t task_bytes(const struct task_table *t)
{
    return t->bytes;
}

uint32_t task_room(const struct task_table *t)
{
    if (t->bytes >= t->bytes_max)
        return 0;
    /* In shares of the whole, whichever is used up further. */
    uint32_t by_bytes = (uint32_t)(t->max * (uint64_t)(t->bytes_max - t->bytes) / t->bytes_max);
    uint32_t room = t->free_count < by_bytes ? t->free_count : by_bytes;

    return room || t->free_count == 0 ? room : 1;
}
