#pragma once
/* `hotfleet ctl`: asks a running fleet's coordinator over its Unix socket, which shared memory names. */

/* hotfleet ctl VERB [PID]. Returns EXIT_OK, 1 when the answer is a no (not healthy, not ready), EXIT_USAGE (also: no
 * fleet found, or it does not answer), EXIT_OUTPUT. */
int ctl_main(int argc, char **argv);
