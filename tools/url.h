#pragma once
/* `hotfleet url`: shows what a URL becomes. */

/* Reads standard input; one output line per input line: the canonical URL, or "error<TAB>reason". Returns the exit
 * code. */
int url_main(int argc, char **argv);
