#pragma once
/* The inbox: takes tasks out of the task ring and makes fetches of them. */

#include <stdbool.h>

#include "worker/worker.h"

/* Takes all tasks that wait, unless finished ones wait for room in the record ring. */
void inbox_drain(struct worker *w);
/* Tasks wait in the ring. */
bool inbox_waiting(struct worker *w);
