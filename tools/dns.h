#pragma once
/* `hotfleet dns`: what a fleet knows of names. Returns the exit code. */

int dns_main(int argc, char **argv);
