#pragma once
/* The actions of the admin face by which people make and remove rules about addresses: POST /ip/add and /ip/remove,
 * with an address or range a line in the body. */

#include "coordinator/access.h"
#include "coordinator/admin.h"

/* access_new(), and adds the actions: to be freed after admin_close(). NULL, with a message in the log. */
struct access *access_admin_open(const struct access_parts *parts, struct admin *admin);
