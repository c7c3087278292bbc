/* Stress of the disk thread: an event loop that gives work as fast as it can, and all that the thread touches is read
 * in the loop afterwards without a lock. One disk counts; another keeps blocks of many queues in an overflow map, as
 * the overflow does, and each block comes back as it was, in its queue's order. Usage: stress_disk [threads] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "coordinator/disk.h"
#include "shm/overflow_map.h"

#define RUN_US      2500000
#define QUEUES      200
#define UNDER_WAY   256  /* pieces at a time */
#define STORED_MAX  4000 /* blocks before more are taken than put */
#define BLOCK_BYTES 32752

struct block {
    struct disk_work work;
    uint32_t queue;
    uint64_t number;
    struct buffer data;
    bool failed;
};

struct tick {
    struct disk_work work;
    uint64_t count; /* of the thread while it runs, of the loop else */
};

static struct disk *ticker, *disk;
static struct overflow_map *map; /* the disk thread's */
static uint64_t first[QUEUES], next[QUEUES], asked[QUEUES];
static uint64_t put_count, take_count, tick_count, bad;
static unsigned under_way, stored;
static bool ends;
static struct tick tick_work[16];

static struct block *block_of(struct disk_work *work)
{
    return (struct block *)(void *)work;
}

static void fill(struct buffer *data, uint32_t queue, uint64_t number)
{
    size_t len = 1 + ((uint64_t)queue * 7919 + number * 104729) % BLOCK_BYTES;

    buffer_reserve(data, len);
    memset(data->data, (int)(queue ^ number), len);
    data->len = len;
}

static bool is_whole(const struct block *b)
{
    struct buffer wanted = {0};

    fill(&wanted, b->queue, b->number);
    bool same = wanted.len == b->data.len && memcmp(wanted.data, b->data.data, wanted.len) == 0;
    buffer_fini(&wanted);
    return same;
}

static void run_put(struct disk_work *work)
{
    struct block *b = block_of(work);

    b->failed = overflow_map_put(map, b->queue, b->number, &b->data) != OUTCOME_OK;
}

static void run_take(struct disk_work *work)
{
    struct block *b = block_of(work);

    b->failed = overflow_map_take(map, b->queue, b->number, &b->data) != OUTCOME_OK || !is_whole(b);
}

static void on_put(struct disk_work *work)
{
    struct block *b = block_of(work);

    bad += b->failed;
    put_count++;
    under_way--;
    buffer_fini(&b->data);
    free(b);
}

static void on_taken(struct disk_work *work)
{
    struct block *b = block_of(work);

    /* In the order in which they were asked for. */
    bad += b->failed || b->number != first[b->queue];
    first[b->queue]++;
    take_count++;
    under_way--;
    buffer_fini(&b->data);
    free(b);
}

static void give(bool put, uint32_t queue)
{
    struct block *b = calloc(1, sizeof *b);

    if (!b)
        abort();
    b->work.run = put ? run_put : run_take;
    b->work.done = put ? on_put : on_taken;
    b->queue = queue;
    b->number = put ? next[queue]++ : asked[queue]++;
    if (put)
        fill(&b->data, queue, b->number);
    stored += put ? 1 : -1u;
    under_way++;
    disk_give(disk, &b->work);
}

static void run_tick(struct disk_work *work)
{
    ((struct tick *)(void *)work)->count++;
}

static void on_tick(struct disk_work *work)
{
    tick_count++;
    if (!ends)
        disk_give(ticker, work);
}

/* Gives some pieces: a put to some queue, or a take of one that has blocks. */
static void give_some(void)
{
    while (under_way < UNDER_WAY) {
        uint32_t queue = (uint32_t)random() % QUEUES;
        bool may_take = asked[queue] < next[queue];
        give(!may_take || (stored < STORED_MAX && random() % 2), queue);
    }
}

static void take_the_rest(void)
{
    for (uint32_t queue = 0; queue < QUEUES; queue++) {
        while (asked[queue] < next[queue])
            give(false, queue);
    }
}

static void run(struct event_base *base)
{
    uint64_t until_us = clock_us() + RUN_US;

    for (size_t i = 0; i < sizeof tick_work / sizeof tick_work[0]; i++) {
        tick_work[i].work = (struct disk_work){.run = run_tick, .done = on_tick};
        disk_give(ticker, &tick_work[i].work);
    }
    while (clock_us() < until_us) {
        give_some();
        event_base_loop(base, random() % 4 ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
        if (random() % 2000 == 0)
            disk_wait(disk);
    }
    take_the_rest();
    ends = true;
}

int main(void)
{
    char dir[] = "/tmp/stress-disk-XXXXXX";
    const char *reason = "";
    struct event_base *base = event_base_new();
    uint64_t counted = 0;

    if (!base || !mkdtemp(dir) || overflow_map_open(&map, dir, 1u << 30, &reason) != OUTCOME_OK) {
        printf("stress_disk: cannot begin: %s\n", reason);
        return 1;
    }
    ticker = disk_open(base, "ticker");
    disk = disk_open(base, "disk");
    run(base);
    disk_close(disk);
    disk_close(ticker);
    overflow_map_close(map);
    event_base_free(base);
    for (size_t i = 0; i < sizeof tick_work / sizeof tick_work[0]; i++)
        counted += tick_work[i].count;
    bad += under_way != 0 || put_count != take_count || counted != tick_count || rmdir(dir) != 0;
    printf("stress_disk: %llu blocks put, %llu taken, %llu ticks, %llu bad\n", (unsigned long long)put_count,
           (unsigned long long)take_count, (unsigned long long)tick_count, (unsigned long long)bad);
    return bad > 0 || put_count == 0 || tick_count == 0;
}
