/* Reading both lists, and the check that they do not contradict each other. */
#include "common/access_lists.h"

#include <stdio.h>

static bool read_list(struct ip_prefix_list *list, const struct option_list *entries, const char *name,
                      char fault_out[IP_FAULT_MAX])
{
    char fault[IP_FAULT_MAX];

    for (size_t i = 0; i < entries->count; i++) {
        if (!ip_prefix_list_add(list, entries->items[i], fault)) {
            snprintf(fault_out, IP_FAULT_MAX, "%s: %.360s", name, fault);
            return false;
        }
    }
    ip_prefix_list_sort(list);
    return true;
}

static bool are_apart(const struct access_lists *lists, char fault_out[IP_FAULT_MAX])
{
    char text[IP_PREFIX_TEXT_MAX];

    for (size_t i = 0; i < lists->white.count; i++) {
        if (!ip_prefix_list_has(&lists->black, &lists->white.items[i]))
            continue;
        ip_prefix_format(&lists->white.items[i], text);
        snprintf(fault_out, IP_FAULT_MAX, "\"%s\" stands in whitelist_ips and in blacklist_ips; remove one", text);
        return false;
    }
    return true;
}

bool access_lists_open(struct access_lists *lists_out, const struct options *o, char fault_out[IP_FAULT_MAX])
{
    *lists_out = (struct access_lists){0};
    if (read_list(&lists_out->white, &o->whitelist_ips, "whitelist_ips", fault_out) &&
        read_list(&lists_out->black, &o->blacklist_ips, "blacklist_ips", fault_out) && are_apart(lists_out, fault_out))
        return true;
    access_lists_close(lists_out);
    return false;
}

void access_lists_close(struct access_lists *lists)
{
    ip_prefix_list_free(&lists->white);
    ip_prefix_list_free(&lists->black);
}
