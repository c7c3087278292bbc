#pragma once
/* `hotfleet conn`: the connections of a running fleet. Returns the exit code. */

int conn_main(int argc, char **argv);
