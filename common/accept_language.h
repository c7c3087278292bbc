#pragma once
/* What a connection says of its user's languages: drawn from a table of common tags, so that few connections say the
 * same. */

#include <stddef.h>

#include "common/draw.h"

#define ACCEPT_LANGUAGE_MAX 80 /* bytes with the NUL */

/* Writes 2 to 5 distinct language tags in the form of Accept-Language (RFC 9110 12.5.4), with weights that fall from 1
 * (which is left out) by a tenth; returns the length. */
size_t accept_language_draw(struct draw *draw, char out[ACCEPT_LANGUAGE_MAX]);
