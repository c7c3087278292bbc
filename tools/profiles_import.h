#pragma once
/* `hotfleet profiles import`: a profile out of what was captured of a browser. */

/* argv[0] is "import"; then FILE, --http2 FILE and --name NAME in any order. Prints the profile; returns the exit code,
 * EXIT_USAGE when no profile can be made of the files. */
int profiles_import(int argc, char **argv);
