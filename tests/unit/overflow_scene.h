#pragma once
/* The coordinator's house with an intake and an overflow: lines go in, tasks are taken out in the order of the line of
 * hosts, and each is looked at: it is the line that was given, none comes twice, and each host's come in their order.
 * Included once by each test executable. */

#include "coordinator/intake.h"
#include "tests/unit/coordinator_house.h"

#define LINES_MAX 200000

struct scene {
    struct house *house;
    struct intake intake;
    struct overflow *overflow;
    char dir[64];
    uint32_t text_sums[LINES_MAX]; /* by line */
    bool seen[LINES_MAX];
    uint64_t last_of_host[16384]; /* by the host's slot */
    uint64_t taken;
};

static inline uint32_t sum_of(const char *text, size_t len)
{
    uint32_t sum = (uint32_t)len;

    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + (unsigned char)text[i];
    return sum;
}

static inline struct scene *scene_new(const struct house_plan *plan, uint64_t overflow_max)
{
    struct scene *s = calloc(1, sizeof *s);
    const char *reason = "";

    assert_non_null(s);
    s->house = house_new(plan);
    s->house->options.overflow_max = overflow_max;
    snprintf(s->dir, sizeof s->dir, "/tmp/test-overflow-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    intake_init(&s->intake, &s->house->results, &s->house->options);
    s->overflow = overflow_open(&(struct overflow_parts){s->house->base, s->house->frontier, s->house->tasks,
                                                         &s->house->options, s->dir, intake_again, &s->intake},
                                &reason);
    if (!s->overflow)
        fail_msg("%s", reason);
    s->intake.overflow = s->overflow;
    return s;
}

static inline void scene_free(struct scene *s)
{
    intake_fini(&s->intake);
    overflow_close(s->overflow);
    rmdir(s->dir);
    house_free(s->house);
    free(s);
}

static inline void give(struct scene *s, const char *text, size_t len)
{
    uint64_t seq = ++s->house->seq;

    assert_in_range(seq, 1, LINES_MAX - 1);
    s->text_sums[seq] = sum_of(text, len);
    intake_line(&s->intake, &(struct feed_line){.seq = seq, .text = text, .len = len});
}

/* A line of a host that has its address in its name: nothing need be asked. `pad`: further bytes of its path. */
static inline void give_numbered(struct scene *s, unsigned host, size_t pad)
{
    static char text[300000];
    int len = snprintf(text, 64, "http://10.%u.%u.%u/%llu/", host >> 16 & 255, host >> 8 & 255, host & 255,
                       (unsigned long long)s->house->seq + 1);

    memset(text + len, 'p', pad);
    give(s, text, (size_t)len + pad);
}

static inline void give_many(struct scene *s, unsigned host, unsigned count)
{
    while (count-- > 0)
        give_numbered(s, host, 0);
}

static inline struct host *numbered_host(struct scene *s, unsigned host)
{
    struct buffer text = {0};
    struct url url;
    const char *reason;
    char name[64];
    int len = snprintf(name, sizeof name, "http://10.%u.%u.%u/", host >> 16 & 255, host >> 8 & 255, host & 255);

    assert_int_equal(url_parse(name, (size_t)len, NULL, &text, &url, &reason), OUTCOME_OK);
    struct host *found = frontier_host_of(s->house->frontier, &url, (struct span){0});
    buffer_fini(&text);
    assert_non_null(found);
    return found;
}

/* The loop's part: what the disk has done is told, and hosts that run low get lines. */
static inline void turn(struct scene *s)
{
    event_base_loop(s->house->base, EVLOOP_NONBLOCK);
    overflow_turn(s->overflow);
}

static inline void settle(struct scene *s)
{
    for (unsigned i = 0; i < 40; i++) {
        turn(s);
        usleep(500);
    }
}

/* Turns until `what` is so; the disk takes its time. */
#define TURN_UNTIL(s, what)                                              \
    do {                                                                 \
        for (unsigned turns_ = 0; turns_ < 40000 && !(what); turns_++) { \
            turn(s);                                                     \
            usleep(500);                                                 \
        }                                                                \
        assert_true(what);                                               \
    } while (0)

static inline void look_at(struct scene *s, const struct task *task)
{
    uint64_t *last = &s->last_of_host[task->host->index];

    assert_in_range(task->seq, 1, s->house->seq);
    assert_false(s->seen[task->seq]);
    s->seen[task->seq] = true;
    assert_true(task->seq > *last);
    *last = task->seq;
    assert_int_equal(sum_of(task->input.data, task->input.len), s->text_sums[task->seq]);
    s->taken++;
}

/* Ends up to `count` tasks of the host; returns how many there were. */
static inline unsigned take(struct scene *s, struct host *host, unsigned count)
{
    struct task *task;
    unsigned n = 0;

    while (n < count && (task = frontier_take(s->house->frontier, host))) {
        look_at(s, task);
        results_fail(&s->house->results, task, OUTCOME_DEADLINE, NULL);
        n++;
    }
    frontier_rotate(s->house->frontier, host);
    return n;
}

/* Ends all tasks, a few of each host in its turn, until nothing is left anywhere. */
static inline void drain(struct scene *s)
{
    struct host *host;

    for (unsigned turns = 0; turns < 100000 && (task_count(s->house->tasks) || overflow_lines(s->overflow)); turns++) {
        turn(s);
        for (unsigned n = 0; n < 100 && (host = frontier_first(s->house->frontier)); n++)
            take(s, host, 8);
        if (records_full(s->house->records))
            assert_int_equal(records_flush(s->house->records), OUTCOME_OK);
        if (!frontier_first(s->house->frontier))
            usleep(50);
    }
    assert_int_equal(task_count(s->house->tasks), 0);
    assert_int_equal(overflow_lines(s->overflow), 0);
    assert_int_equal(s->taken, s->house->seq);
}
