#pragma once

/* The subcommand `ip`: lists addresses that are white or black, and makes and removes rules about them. */
int ip_main(int argc, char **argv);
