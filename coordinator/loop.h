#pragma once
/* The coordinator's event loop: one thread's, and the signals that it takes. */

#include <event2/event.h>

#define LOOP_SIGNALS 5

struct loop_signals {
    struct event *events[LOOP_SIGNALS];
};

/* NULL when there is no memory or descriptor for it. */
struct event_base *loop_new(void);
/* TERM, INT, HUP, USR1 and USR2 come as calls from the loop; PIPE and XFSZ are errors of write() alone. */
void loop_catch_signals(struct event_base *base, struct loop_signals *signals, event_callback_fn on_signal, void *user);
void loop_release_signals(struct loop_signals *signals);
