/* Queues beyond the window: each host's lines are gathered into blocks, blocks go to the disk and come back in order.
 */
#include "coordinator/overflow.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "coordinator/disk.h"
#include "shm/overflow_map.h"

#define GATHERED_MAX   (16u << 20) /* bytes of blocks that are not full yet, all hosts together */
#define UNDER_WAY_MAX  (8u << 20)  /* bytes on the way to the disk */
#define RETRY_S        1           /* how often a full disk is tried again */
#define QUEUES_A_TURN  64          /* that are looked after */
#define SHARE_MIN      16          /* tasks that a host may have in memory when the window is half full, */
#define SHARE_PER_PACE 32          /* and further ones for each answer that it gives in 2 ms */

/* One host's lines. From the oldest: head, blocks on disk from `first` up to `next`, tail. */
struct overflow_queue {
    TAILQ_ENTRY(overflow_queue) link; /* of all */
    TAILQ_ENTRY(overflow_queue) thirst;
    struct overflow *overflow;
    struct host *host;
    uint64_t lines;
    uint64_t first, next;
    struct buffer head, tail;
    size_t head_at;
    bool thirsty;    /* in that list */
    bool asked;      /* its next block is on the way */
    uint64_t ending; /* so many, from the oldest, are to end so */
    struct overflow_end end;
    char detail[96];
};

TAILQ_HEAD(queue_list, overflow_queue);

struct overflow {
    struct overflow_parts parts;
    struct disk *disk;
    struct overflow_map *map; /* the disk thread's, once work was given */
    struct queue_list all, thirsty;
    uint32_t queues;
    uint64_t lines, lines_total, bytes;
    size_t gathered_bytes, under_way_bytes;
    bool full, retrying;
    struct event *retry;
};

/* Before the text of each line in a block. */
struct line_head {
    uint64_t seq;
    uint32_t len;
    struct url_shape shape;
};
_Static_assert(sizeof(struct line_head) == 24, "lines are kept without gaps between head and text");

/* A block on its way to the disk, or back. */
struct block_work {
    struct disk_work work;
    struct overflow *overflow;
    struct overflow_queue *queue; /* who asked for it; NULL: it is written, or a full disk is tried again */
    uint32_t index;
    uint64_t number;
    struct buffer data;
    size_t bytes;
    enum outcome outcome;
    uint64_t file_bytes;
};

static struct block_work *work_of(struct disk_work *work)
{
    return (struct block_work *)(void *)work;
}

static void run_write(struct disk_work *work)
{
    struct block_work *w = work_of(work);

    w->outcome = w->data.len ? overflow_map_put(w->overflow->map, w->index, w->number, &w->data)
                             : overflow_map_retry(w->overflow->map);
    w->file_bytes = overflow_map_bytes(w->overflow->map);
}

static void on_written(struct disk_work *work)
{
    struct block_work *w = work_of(work);
    struct overflow *o = w->overflow;
    struct timeval tv = {.tv_sec = RETRY_S};

    o->under_way_bytes -= w->bytes;
    o->bytes = w->file_bytes;
    o->full = w->outcome == OUTCOME_FULL;
    if (o->full && !o->retrying) {
        o->retrying = true;
        event_add(o->retry, &tv);
    }
    buffer_fini(&w->data);
    free(w);
}

static void run_take(struct disk_work *work)
{
    struct block_work *w = work_of(work);

    w->outcome = overflow_map_take(w->overflow->map, w->index, w->number, &w->data);
}

static void look(struct overflow *o, struct overflow_queue *q);

static void on_taken(struct disk_work *work)
{
    struct block_work *w = work_of(work);
    struct overflow_queue *q = w->queue;

    if (w->outcome != OUTCOME_OK)
        die("lines beyond the window could not be read back from the disk; what was written so far is whole");
    buffer_fini(&q->head);
    q->head = w->data;
    q->head_at = 0;
    q->asked = false;
    free(w);
    look(q->overflow, q);
}

static struct block_work *work_new(struct overflow *o, void (*run)(struct disk_work *),
                                   void (*done)(struct disk_work *))
{
    struct block_work *w = calloc(1, sizeof *w);

    if (!w)
        die("out of memory: no room for lines on their way to the disk");
    w->work.run = run;
    w->work.done = done;
    w->overflow = o;
    return w;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct overflow *o = arg;

    (void)fd;
    (void)what;
    o->retrying = false;
    disk_give(o->disk, &work_new(o, run_write, on_written)->work);
}

static void on_low(void *user, struct host *host)
{
    look(user, host->overflow);
}

static void on_end(void *user, struct host *host, enum outcome outcome, const char *detail)
{
    struct overflow_queue *q = host->overflow;

    q->ending = q->lines;
    snprintf(q->detail, sizeof q->detail, "%s", detail ? detail : "");
    q->end = (struct overflow_end){outcome, detail ? q->detail : NULL};
    look(user, q);
}

struct overflow *overflow_open(const struct overflow_parts *parts, const char **reason_out)
{
    struct overflow *o = calloc(1, sizeof *o);

    if (!o)
        die("out of memory: no room for the overflow");
    o->parts = *parts;
    TAILQ_INIT(&o->all);
    TAILQ_INIT(&o->thirsty);
    if (overflow_map_open(&o->map, parts->dir, parts->options->overflow_max, reason_out) != OUTCOME_OK) {
        free(o);
        return NULL;
    }
    o->retry = event_new(parts->base, -1, 0, on_retry, o);
    if (!o->retry)
        die("out of memory: no room for the overflow's event");
    o->disk = disk_open(parts->base, "overflow");
    frontier_set_overflow(parts->frontier, &(struct frontier_overflow){on_low, on_end, o});
    return o;
}

static void unlist(struct overflow *o, struct overflow_queue *q)
{
    if (q->thirsty)
        TAILQ_REMOVE(&o->thirsty, q, thirst);
    q->thirsty = false;
}

/* The analyzer does not see that TAILQ_REMOVE() took a dropped queue out of its list. */
static void drop(struct overflow *o, struct overflow_queue *q)
{
    struct host *host = q->host;

    unlist(o, q);
    TAILQ_REMOVE(&o->all, q, link);
    o->queues--;
    o->gathered_bytes -= q->tail.len;
    buffer_fini(&q->head);
    buffer_fini(&q->tail);
    free(q);
    host->overflow = NULL;
    frontier_let_go(o->parts.frontier, host);
}

void overflow_close(struct overflow *o)
{
    struct overflow_queue *next;

    if (!o)
        return;
    disk_close(o->disk);
    for (struct overflow_queue *q = TAILQ_FIRST(&o->all); q; q = next) {
        next = TAILQ_NEXT(q, link);
        drop(o, q);
    }
    overflow_map_close(o->map);
    event_free(o->retry);
    free(o);
}

/* Tasks that this host may have waiting in memory. While half of the window is free nobody needs the disk: half of what
 * is free, so that there is room for one more host, and one more. Then what the host answers in a moment, and as long
 * as a quarter is free, which is for hosts that have nothing there yet. */
static uint32_t share(const struct overflow *o, const struct host *host)
{
    uint32_t window = (uint32_t)o->parts.options->window;
    uint32_t left = task_room(o->parts.tasks);
    uint32_t enough = SHARE_MIN + SHARE_PER_PACE * host->pace;

    if (left > window / 2)
        return left > 1 ? left / 2 : 1;
    left = left > window / 4 ? (left - window / 4) / 2 : 0;
    left = left < enough ? left : enough;
    return left ? left : 1;
}

bool overflow_wants(const struct overflow *o, const struct host *host)
{
    return host->overflow || host->pending_count >= share(o, host);
}

/* The tail becomes a block on disk. */
static void push(struct overflow *o, struct overflow_queue *q)
{
    struct block_work *w = work_new(o, run_write, on_written);

    w->index = q->host->index;
    w->number = q->next++;
    w->data = q->tail;
    w->bytes = w->data.len;
    o->gathered_bytes -= w->bytes;
    o->under_way_bytes += w->bytes;
    q->tail = (struct buffer){0};
    disk_give(o->disk, &w->work);
}

/* Many hosts with few lines each. */
static void push_all(struct overflow *o)
{
    struct overflow_queue *q;

    TAILQ_FOREACH(q, &o->all, link)
    {
        if (q->tail.len)
            push(o, q);
    }
}

static struct overflow_queue *queue_new(struct overflow *o, struct host *host)
{
    struct overflow_queue *q = calloc(1, sizeof *q);

    if (!q)
        die("out of memory: no room for the queue of a host");
    q->overflow = o;
    q->host = host;
    host->overflow = q;
    frontier_hold(o->parts.frontier, host);
    TAILQ_INSERT_TAIL(&o->all, q, link);
    o->queues++;
    return q;
}

/* Bytes of a block. Each queue may have one in memory that is partly handed out: the more there are, the smaller, so
 * that 65,536 hosts come to 100 MiB. Large values of LMDB take whole pages, 16 bytes of them its own; the smallest lie
 * in pages with others. */
static size_t block_bytes(const struct overflow *o)
{
    size_t pages = o->queues <= 256 ? 8 : o->queues <= 2048 ? 2 : 1;

    return o->queues <= 8192 ? pages * 4096 - 16 : 1000;
}

void overflow_add(struct overflow *o, struct host *host, const struct overflow_line *line)
{
    struct overflow_queue *q = host->overflow ? host->overflow : queue_new(o, host);
    struct line_head head = {.seq = line->seq, .len = (uint32_t)line->len, .shape = line->shape};
    size_t bytes = sizeof head + line->len;

    if (q->tail.len && q->tail.len + bytes > block_bytes(o))
        push(o, q);
    buffer_reserve(&q->tail, bytes);
    buffer_append(&q->tail, &head, sizeof head);
    buffer_append(&q->tail, line->text, line->len);
    o->gathered_bytes += bytes;
    q->lines++;
    o->lines++;
    o->lines_total++;
    if (o->gathered_bytes > GATHERED_MAX)
        push_all(o);
    look(o, q);
}

/* Puts a host that runs low into the line of those that want lines back. */
static void look(struct overflow *o, struct overflow_queue *q)
{
    if (q->thirsty || q->asked || q->lines == 0 || (!q->ending && q->host->pending_count > share(o, q->host) / 2))
        return;
    q->thirsty = true;
    TAILQ_INSERT_TAIL(&o->thirsty, q, thirst);
}

/* The oldest lines that are not in memory: from disk, or what was gathered last. */
static void fetch(struct overflow *o, struct overflow_queue *q)
{
    if (q->first == q->next) {
        buffer_fini(&q->head);
        q->head = q->tail;
        q->head_at = 0;
        o->gathered_bytes -= q->tail.len;
        q->tail = (struct buffer){0};
        return;
    }
    struct block_work *w = work_new(o, run_take, on_taken);
    w->queue = q;
    w->index = q->host->index;
    w->number = q->first++;
    q->asked = true;
    disk_give(o->disk, &w->work);
}

/* Hands lines of the head out until the host has its share or the window is full. */
static void serve(struct overflow *o, struct overflow_queue *q)
{
    struct line_head head;

    while (q->head_at < q->head.len && (q->ending || q->host->pending_count < share(o, q->host)) &&
           task_room(o->parts.tasks)) {
        const char *at = q->head.data + q->head_at;
        memcpy(&head, at, sizeof head);
        q->head_at += sizeof head + head.len;
        q->lines--;
        o->lines--;
        o->parts.on_line(o->parts.user, q->host,
                         &(struct overflow_line){head.seq, at + sizeof head, head.len, head.shape},
                         q->ending ? &q->end : NULL);
        q->ending -= q->ending > 0;
    }
    if (q->head_at == q->head.len) {
        buffer_fini(&q->head);
        q->head_at = 0;
    }
}

void overflow_turn(struct overflow *o)
{
    struct overflow_queue *q;

    for (unsigned n = 0; n < QUEUES_A_TURN && task_room(o->parts.tasks) && (q = TAILQ_FIRST(&o->thirsty)); n++) {
        /* The analyzer does not see that a dropped queue was taken out of this list. */
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        unlist(o, q);
        if (q->head_at == q->head.len)
            fetch(o, q);
        serve(o, q);
        if (q->lines == 0)
            drop(o, q);
        else
            look(o, q);
    }
}

bool overflow_is_due(const struct overflow *o)
{
    return !TAILQ_EMPTY(&o->thirsty) && task_room(o->parts.tasks);
}

bool overflow_has_room(const struct overflow *o)
{
    return !o->full && o->under_way_bytes < UNDER_WAY_MAX;
}

uint64_t overflow_lines(const struct overflow *o)
{
    return o->lines;
}

uint64_t overflow_lines_total(const struct overflow *o)
{
    return o->lines_total;
}

uint64_t overflow_bytes(const struct overflow *o)
{
    return o->bytes;
}
