#pragma once
/* `hotfleet config`: shows and checks the options in force. Prints to stdout, errors to stderr; reads the same layers
 * as `hotfleet run`. */

/* argv[0] is "config", argv[1] the action (print, check, markdown), then its arguments. Returns the exit code: EXIT_OK,
 * EXIT_USAGE, or EXIT_OUTPUT when stdout cannot be written. */
int config_main(int argc, char **argv);
