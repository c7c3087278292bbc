#pragma once
/* What --resolve says: fixed addresses for a host and port, as in curl. Filled once at the start, then only read; owns
 * all it holds. Its answers go before the hosts file and the name servers, and every address among them is still judged
 * by the address policy. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/options.h"
#include "common/outcome.h"

struct resolve_list;

/* Reads items of the form HOST:PORT:ADDR[,ADDR…]. HOST is a name in ASCII, an IPv4 address, an IPv6 address in
 * brackets, or
 * "*" for every host at that port; PORT is 1..65535; an IPv6 ADDR may stand in brackets. Of two items for the same host
 * and port the later counts. OUTCOME_INVALID_HOST: *reason_out names the item and what is wrong (until the next call).
 */
must_check enum outcome resolve_list_open(const struct option_list *items, struct resolve_list **list_out,
                                          const char **reason_out);
void resolve_list_close(struct resolve_list *list);
/* The addresses for `host` (any case; an IPv6 address with its brackets, as in a URL) at `port`; an exact entry goes
 * before
 * "*". Borrowed until resolve_list_close(). False, and nothing set, when there are none. */
bool resolve_list_find(const struct resolve_list *list, const char *host, size_t host_len, uint16_t port,
                       const struct address **addresses_out, uint32_t *count_out);
