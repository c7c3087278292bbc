#pragma once
/* The resolver's state, shared by its three parts: resolver.c (who wants to know, what is known already, when to tell),
 * resolver_ask.c (questions and what their answers mean) and resolver_lines.c (c-ares on the loop). For them alone. */

#include <ares.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "coordinator/resolver.h"
#include "coordinator/resolver_parts.h"

#define RESOLVER_NAME_MAX  253 /* bytes of a name as text (RFC 1035 2.3.4) */
#define RESOLVER_KEY_MAX   (RESOLVER_NAME_MAX + 2)
#define RESOLVER_BUCKETS   8192
#define RESOLVER_TCP_LINES 16 /* questions by TCP at a time */

/* X(state): where a job stands. It is in the list of its state and nowhere else. */
#define JOB_STATES(X)                          \
    X(WAITING)  /* for its turn to be asked */ \
    X(ASKING)   /* with the name servers */    \
    X(ANSWERED) /* for its answer to be told */

#define JOB_STATE_ID(state) JOB_##state,
enum job_state { JOB_STATES(JOB_STATE_ID) JOB_STATES_COUNT };
#undef JOB_STATE_ID

enum family_index { FAMILY_IPV4, FAMILY_IPV6, FAMILIES };

struct waiter {
    struct waiter *next;
    resolver_on_answer on_answer;
    void *user;
};

/* One name under way. The resolver owns it; it is freed when its answer was told. */
struct job {
    TAILQ_ENTRY(job) link;
    struct job *bucket_next;
    enum job_state state;
    struct waiter *waiters, **waiters_end;
    struct question *questions[FAMILIES]; /* open ones; their callback frees them */
    enum outcome outcomes[FAMILIES];
    struct resolver_found found[FAMILIES];
    uint64_t asked_us, deadline_us;
    struct resolver_answer answer;
    struct address *addresses; /* of the answer; owned */
    size_t name_len;           /* without a trailing dot */
    char name[];               /* NUL-terminated */
};
TAILQ_HEAD(job_list, job);

/* What c-ares holds. It cannot drop a single question, so one may outlive its job. */
struct question {
    STAILQ_ENTRY(question) link; /* in tcp_waiting */
    struct resolver *resolver;
    struct job *job;   /* NULL once nobody waits */
    struct line *line; /* that it is on; NULL in the queue */
    enum family_index family;
    unsigned tcp_tries;
};
STAILQ_HEAD(question_queue, question);

/* A channel of c-ares'. One asks everything by UDP. What is truncated is asked again by TCP, one question to a line:
 * when a server closes a TCP connection, c-ares gives up every question of that channel that is with that server, and
 * has them all lose one of their tries. */
struct line {
    struct resolver *resolver;
    ares_channel channel; /* NULL before it is open */
    unsigned questions;
};

/* A socket of c-ares' on our loop. */
struct watcher {
    struct watcher *next;
    struct line *line;
    struct event *event;
    int fd;
};

struct resolver {
    struct event_base *base;
    struct store *store;
    const struct options *options;
    struct stats_page *page;
    struct line udp, tcp[RESOLVER_TCP_LINES];
    struct question_queue tcp_waiting;
    struct address_table *hosts;
    struct watcher *watchers;
    struct event *turn; /* due at once: questions to ask or answers to tell */
    struct event *tick; /* while questions are open: c-ares' timeouts and our deadlines */
    struct timeval tick_period;
    struct job_list jobs[JOB_STATES_COUNT];
    unsigned asking, questions_open;
    bool wanted[FAMILIES];
    const char *store_suffix; /* an answer for one family is no answer for both */
    bool telling;
    uint64_t hash_seed;
    struct job *buckets[RESOLVER_BUCKETS];
};

/* Ends the process when there is no memory. */
void *resolver_must_have(void *memory);
/* Has the turn run soon, never from within this call. */
void resolver_wake(struct resolver *r);
/* Writes the name under which an answer for the asked families is kept in the map; returns its length. */
size_t resolver_store_key(const struct resolver *r, const struct job *job, char out[RESOLVER_KEY_MAX]);
/* Moves a job to the list of `to`. */
void resolver_job_move(struct resolver *r, struct job *job, enum job_state to);
/* Hands a job with its answer filled in over to the turn. */
void resolver_job_answer(struct resolver *r, struct job *job);

/* Sends the questions of a waiting job. It may be answered before this returns. */
void resolver_ask(struct resolver *r, struct job *job);
/* Asks by TCP what was truncated, as far as lines are free. */
void resolver_ask_by_tcp(struct resolver *r);
/* Gives the open questions of a job up; not from within c-ares when there are any. c-ares keeps those by UDP until
 * their time is over; they then find nobody. */
void resolver_leave_questions(struct job *job);
/* Ends the jobs whose time is up. */
void resolver_check_deadlines(struct resolver *r);

/* Opens all lines to the name servers of the options; errors as resolver_open(). */
must_check enum outcome resolver_lines_open(struct resolver *r, const char **reason_out);
/* Closes them; open questions are given back as unanswered. */
void resolver_lines_close(struct resolver *r);
/* Runs the timeouts of the lines that have questions. */
void resolver_lines_tick(struct resolver *r);
