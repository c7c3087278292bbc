#pragma once
/* The method of lines that name none: the options', or that of a raw request. */

#include <stdbool.h>

#include "common/options.h"
#include "common/raw_request.h"
#include "common/record.h"

struct default_method {
    struct raw_request raw; /* without its bytes, which the workers read */
    struct span method;     /* absent when a raw request begins with none */
};

/* Reads the raw request, if there is to be one: whatever is wrong with the file is told once, before anything is
 * started. False: told. */
bool default_method_find(struct default_method *d, const struct options *options);
