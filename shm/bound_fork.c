/* Signals are blocked around the fork, so that none is handled by the child before it has let go of the handlers. What
 * the child does here is async-signal-safe. */
#include "shm/bound_fork.h"

#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

static void bind_child(pid_t parent)
{
    static const int of_the_group[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    for (size_t i = 0; i < sizeof of_the_group / sizeof of_the_group[0]; i++)
        signal(of_the_group[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t bound_fork(void)
{
    pid_t parent = getpid();
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        bind_child(parent);
    else
        sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}
