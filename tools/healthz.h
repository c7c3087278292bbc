#pragma once
/* `hotfleet healthz`: whether a running fleet is well, as an exit code for probes. Reads shared memory alone, so it
 * answers however busy the coordinator is. */

/* hotfleet healthz [--json] [PID]. Returns EXIT_OK when healthy, 1 when not, EXIT_USAGE (also: no fleet found),
 * EXIT_OUTPUT. */
int healthz_main(int argc, char **argv);
