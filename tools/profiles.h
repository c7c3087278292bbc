#pragma once
/* `hotfleet profiles`: the browser profiles that are compiled in. */

/* hotfleet profiles list [--json] | show NAME | check [--json] [NAME…]. Returns the exit code. */
int profiles_main(int argc, char **argv);
