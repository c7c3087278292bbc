/* An event base without locks, and signals as events. */
#include "coordinator/loop.h"

#include <signal.h>

#include "common/log.h"

struct event_base *loop_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base;

    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

void loop_catch_signals(struct event_base *base, struct loop_signals *signals, event_callback_fn on_signal, void *user)
{
    static const int numbers[LOOP_SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < LOOP_SIGNALS; i++) {
        signals->events[i] = evsignal_new(base, numbers[i], on_signal, user);
        if (!signals->events[i] || event_add(signals->events[i], NULL))
            die("out of memory: no room for a signal's event");
    }
}

void loop_release_signals(struct loop_signals *signals)
{
    for (int i = 0; i < LOOP_SIGNALS; i++) {
        if (signals->events[i])
            event_free(signals->events[i]);
    }
}
