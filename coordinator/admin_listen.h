#pragma once
/* Listening sockets of the admin face. All return a descriptor that is non-blocking and close-on-exec, or -1 with a
 * message in the log. */

#include "common/endpoint.h"

/* Listens at `path`, mode 0600. A socket that is there is replaced only when nobody listens on it; what is no socket is
 * left alone. */
int admin_listen_unix(const char *path);
int admin_listen_tcp(const struct endpoint *endpoint, const char *text);
