#pragma once
/* `hotfleet profiles`: the browser profiles that are compiled in, and a user's own. */

/* hotfleet profiles list | show | check | import. Returns the exit code. */
int profiles_main(int argc, char **argv);
