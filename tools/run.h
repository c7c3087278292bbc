#pragma once
/* `hotfleet run`: reads the options and hands over to the coordinator. */

/* Returns the exit code of the run. */
int run_main(int argc, char **argv);
