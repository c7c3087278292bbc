#pragma once
/* The subcommand `job`: what a job has done and what is left of it. */

int job_main(int argc, char **argv);
