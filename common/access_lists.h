#pragma once
/* The lists of addresses that options give for all hosts: whitelist_ips and blacklist_ips, read and sorted. Both are
 * owned by the struct. */

#include "common/ip_prefix.h"
#include "common/options.h"

struct access_lists {
    struct ip_prefix_list white, black;
};

/* False: `fault_out` says which entry of which list is wrong, or stands in both; the lists are empty then. */
bool access_lists_open(struct access_lists *lists_out, const struct options *o, char fault_out[IP_FAULT_MAX]);
void access_lists_close(struct access_lists *lists);
