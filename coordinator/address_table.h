#pragma once
/* A fixed table from (name, port) to addresses, filled once and then only read: what the hosts file and --resolve say.
 * The table owns all it holds. For the resolver and resolve_list. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"

struct address_table;

struct address_table *address_table_new(void);
void address_table_free(struct address_table *t);
/* Adds one address. The name is copied in lower case, one trailing dot dropped. `generation` (0..2^32-1, never
 * falling): of two generations of the same name and port the later replaces the earlier. */
void address_table_add(struct address_table *t, const char *name, size_t name_len, uint16_t port, uint32_t generation,
                       const struct address *address);
/* Ends the filling; before it nothing is found, after it nothing may be added. */
void address_table_seal(struct address_table *t);
/* The addresses of `name` (any case, with or without a trailing dot) in the order they were added, without duplicates
 * and at most STORE_ADDRESSES_MAX; borrowed until address_table_free(). False, and nothing set, when there are none. */
bool address_table_find(const struct address_table *t, const char *name, size_t name_len, uint16_t port,
                        const struct address **addresses_out, uint32_t *count_out);
