#pragma once
/* Tasks: input lines that have no record yet. A task is at any moment in exactly one place (enum task_place) and is
 * freed when its record is written. The table owns every task; slots let a worker name one without a pointer. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/input.h"
#include "common/record.h"
#include "common/timers.h"
#include "common/url.h"

enum task_place {
    TASK_NOWHERE, /* being moved */
    TASK_QUEUED,  /* in its host's queue */
    TASK_DELAYED, /* waits for a moment */
    TASK_GIVEN,   /* with a worker: task ring, worker or record ring */
};

struct host;

struct task {
    struct task_table *table;
    uint64_t seq;
    uint32_t slot;
    enum task_place place;
    unsigned worker;   /* while given */
    unsigned deaths;   /* workers that died after they had taken it */
    uint64_t ring_end; /* while given: where its message ends in the task ring */
    struct host *host;
    TAILQ_ENTRY(task) link; /* host queue, or the worker's list of given tasks */
    struct timer delay;
    uint32_t attempts;
    uint64_t first_attempt_wall_us, started_us; /* 0 before the first attempt */
    struct url url, first_url;                  /* equal until a redirect */
    char *moved;                                /* owned: the current URL's text after a redirect */
    uint16_t *chain;                            /* owned: statuses of the redirects, NULL before the first */
    unsigned chain_count;
    bool body_dropped, crossed;
    bool plain;      /* the line asks for the URL alone: no headers, body, addresses or profile of its own */
    bool validate;   /* test the connection first */
    bool stays;      /* a worker has handed it back */
    uint8_t profile; /* number of the selection that its connection is to be of; 0: any */
    uint32_t *avoid; /* owned: addresses that have failed it, NULL before the first */
    unsigned avoid_count;
    char *log; /* owned: what workers told of its attempts, NULL before the first and without the option */
    uint32_t log_len;
    struct span input, method, headers, body, ip, tag; /* borrowed from `text` or static */
    size_t bytes;                                      /* of the task with its text */
    char text[];
};

TAILQ_HEAD(task_list, task);

struct task_table;

/* Room for `max` tasks (1..2^31). */
struct task_table *task_table_new(uint32_t max);
void task_table_free(struct task_table *t);
/* Copies line and URL. NULL when the table is full. */
struct task *task_new(struct task_table *t, uint64_t seq, const char *input, size_t input_len,
                      const struct input_line *line, const struct url *url);
/* The task must be in no list. */
void task_free(struct task_table *t, struct task *task);
/* The task that a worker names; NULL unless slot and seq fit together. */
struct task *task_find(const struct task_table *t, uint32_t slot, uint64_t seq);
/* Makes `next` (copied) the current URL after an answer of `status`; changes method and body as RFC 9110 15.4 and
 * browsers do: 303 always to GET (but HEAD), 301 and 302 from POST to GET. `method` is the one in force. */
void task_redirect(struct task *task, const struct url *next, unsigned status, struct span method);
/* `ip` has failed the task, and is not to be its next if there is another. */
void task_avoid(struct task *task, uint32_t ip);
/* Keeps the log that a worker sent, `len` bytes, in place of the one so far; what is no log is left out. */
void task_keep_log(struct task *task, const char *log, size_t len);
/* The text of the log, for a record: absent when there is none. */
struct span task_log_text(const struct task *task);
uint32_t task_count(const struct task_table *t);
/* Bytes of all tasks, with their texts. */
size_t task_bytes(const struct task_table *t);
/* Tasks that there is room for, in slots and in bytes: long lines count for more, so that the window's memory has a
 * bound too. */
uint32_t task_room(const struct task_table *t);
