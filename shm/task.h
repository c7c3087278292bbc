#pragma once
/* The messages between coordinator and workers. A task goes out over the task ring; what became of it comes back over
 * the record ring, as exactly one message. All integers native; strings follow the struct in the order of their
 * lengths. */

#include <stdint.h>

#include "common/outcome.h"

#define TASK_CHAIN_MAX 100     /* redirects in a task: the upper end of the option max_redirects */
#define TASK_AVOID_MAX 20      /* addresses that have failed a task: the upper end of the option max_retries */
#define TASK_LOG_MAX   (32768) /* bytes of a task's log: what would go beyond is left out */

/* Before the text of a log of attempts, wherever it travels (option attempt_log). The text is JSON objects with commas
 * between. */
struct task_log {
    uint64_t ended_us; /* monotonic, of the last attempt in it */
    uint32_t ip;       /* where that went, or IP_NONE */
    uint32_t outcome;  /* enum outcome of it */
};

/* What a task asks for. All but a fetch are chores of the coordinator's own: they have no record, and are answered by
 * RESULT_CHORE. A chore's `seq` has CHORE_SEQ set, and its `slot` names it in the coordinator's table of chores. */
enum task_kind {
    TASK_FETCH,   /* an input line */
    TASK_CHECK,   /* a GET of `url` on a new connection to `ip`: does a blocked address answer again? */
    TASK_PREWARM, /* one new connection to the host, kept idle; to `ip`, or to the next address in turn (IP_NONE) */
    TASK_PROBE,   /* looks after the host's connections that have been idle for long */
    TASK_FLUSH,   /* closes all connections of this worker; with TASK_IDLE_ONLY the idle ones */
    /* tells of connections, a JSON line each, in RESULT_PART messages: of all, of those to `ip`, or of those to the
     * host of `url` (its name alone) */
    TASK_LIST,
};
#define CHORE_SEQ (UINT64_C(1) << 63)

enum task_flag {
    TASK_INPUT_IS_URL = 1, /* input bytes equal the URL of the first hop: not sent twice */
    TASK_URL_IS_FIRST = 2, /* no redirect yet: the first URL equals the current one */
    TASK_NO_BODY = 4,      /* a redirect turned the request into one without body: the option `data` does not apply */
    TASK_CROSSED = 8,      /* redirected to another origin: Authorization and Cookie stay behind */
    TASK_VALIDATE = 16,    /* HEAD first on the connection that is to serve it */
    TASK_IDLE_ONLY = 32,   /* of TASK_FLUSH */
    TASK_STAYS = 64,       /* a worker has handed it back: it waits where it is now, however busy the connections are */
};

/* coordinator -> worker. Followed by: avoid (uint32_t each: addresses that have failed the task), chain (uint16_t
 * each), url, first_url, input, method, headers, body, tag, log (struct task_log and its text). */
struct task_message {
    uint64_t seq;
    uint32_t slot;                  /* coordinator's handle, echoed */
    uint32_t host;                  /* index into the host table */
    uint32_t host_generation;       /* that it must have */
    uint32_t flags;                 /* enum task_flag */
    uint64_t first_attempt_wall_us; /* 0: this is the first */
    uint64_t started_us;            /* monotonic, of the first attempt; 0: this is the first */
    uint32_t attempts;              /* made before this */
    uint32_t dns_us;
    uint32_t ip; /* index into the addresses that a chore is about, or IP_NONE */
    uint32_t url_len, first_url_len, input_len, method_len, headers_len, body_len, tag_len;
    uint32_t log_len;                            /* of the attempts so far, for the record's attempt_log */
    uint16_t chain_count;                        /* statuses of the redirects so far */
    uint16_t host_offset, host_len, path_offset; /* in url */
    uint32_t path_len;                           /* in url, without the query */
    uint32_t first_path_len;                     /* in first_url */
    uint16_t first_host_offset, first_host_len, first_path_offset, first_port;
    uint16_t port;
    uint8_t scheme, first_scheme; /* enum url_scheme */
    uint8_t refused_tries;        /* how often a worker that held it has died */
    uint8_t kind;                 /* enum task_kind */
    uint8_t avoid_count;
    uint8_t
        profile; /* number of the selection that its connection is to be of (common/profile_set.h); 0: any will do */
};
_Static_assert(sizeof(struct task_message) == 120, "struct task_message is part of the shared layout");

enum result_kind {
    RESULT_RECORD,   /* done: followed by the JSON line with its newline */
    RESULT_REDIRECT, /* followed by the next URL, canonical, and if there is a log by a newline and the log; `status` is
                        the redirect's */
    RESULT_RETRY,    /* again after delay_ms; for outcome; followed by the log, if there is one */
    RESULT_HAND_BACK, /* no connection slot here, or others may have one free: give it out again, it counts as no
                         attempt; followed as RETRY */
    RESULT_CHORE,     /* a chore is done: `outcome`, `status`, `ip`; `delay_ms` is a count (closed, probed) */
    RESULT_PART,      /* bytes of a chore's answer; more follows */
    RESULT_NOTE,      /* of no task: `access` of `ip` for `host` was seen */
    RESULT_SESSION,   /* of no task: followed by a TLS session of `host` as shm/store_session.h encodes it; `status` is
                         the number of its profile (common/profile_set.h), 0: none */
};

/* worker -> coordinator. */
struct result_message {
    uint64_t seq;
    uint32_t slot;
    uint32_t kind;    /* enum result_kind */
    uint32_t outcome; /* enum outcome */
    uint32_t len;     /* bytes that follow */
    uint32_t delay_ms;
    uint32_t attempts; /* made so far, this one included */
    uint64_t first_attempt_wall_us, started_us;
    uint32_t status;                /* HTTP status, 0 none; other in RESULT_SESSION */
    uint32_t host_wait_ms;          /* Retry-After: the host is to be left alone for this long; 0 none */
    uint32_t host, host_generation; /* of a note or session; of other kinds the task says it */
    uint32_t ip;                    /* address that the answer came from, or that was dialed; IP_NONE: none */
    uint32_t access;                /* enum access_state that this answer is a reason for; ACCESS_UNKNOWN: none */
};
_Static_assert(sizeof(struct result_message) == 72, "struct result_message is part of the shared layout");
