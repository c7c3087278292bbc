#pragma once
/* `hotfleet stats`: reads the shared pages of a running fleet from outside, through /proc, without disturbing it. */

/* hotfleet stats [--json] [PID|--all]. Returns the exit code: EXIT_OK, EXIT_USAGE (also: no fleet found). */
int stats_main(int argc, char **argv);
