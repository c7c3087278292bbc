#pragma once
/* Closing connections on demand: `hotfleet ctl flush [--idle]`. */

#include "coordinator/admin.h"
#include "coordinator/chores.h"

struct flush;

/* Registers POST /flush; everything is borrowed until flush_free(), which comes after admin_close(). */
struct flush *flush_new(struct admin *admin, struct chores *chores, struct fleet *fleet);
void flush_free(struct flush *f);
