#pragma once
/* What the files of access share: access.c (states and records), access_check.c (the schedule of checks). */

#include "common/access_lists.h"
#include "coordinator/access.h"
#include "coordinator/access_rules.h"

struct access_checks;

struct access {
    struct access_parts parts;
    struct iptable *table;
    struct stats_page *page;
    struct access_lists lists;
    struct access_rules rules;
    struct timer expiry; /* of the rule that expires first */
    struct access_checks *checks;
    uint64_t sizes[2]; /* records in force: white, black */
};

/* Writes "scheme://name:port" of a host, as keys of learned records have it; returns its length. */
size_t access_origin(const struct host *host, char out[STORE_ORIGIN_MAX]);
/* Reads a learned record; false: there is none. */
bool access_recall(const struct access *a, const struct host *host, const struct address *address,
                   struct store_access *record_out);
/* Writes a learned record and counts it. */
void access_keep(struct access *a, const struct host *host, const struct address *address,
                 const struct store_access *record);
/* The host's list holds the address: its index into ips. */
bool access_find_ip(const struct access *a, const struct host *host, const struct address *address, uint32_t *ip_out);

struct access_checks *access_checks_new(struct access *a);
void access_checks_free(struct access_checks *c);
/* The address is black for the host: it is checked at `due_wall_us`. */
void access_checks_add(struct access_checks *c, const struct host *host, const struct address *address,
                       uint64_t due_wall_us);
/* When an address that was checked `tries` times is due again, from now. */
uint64_t access_checks_due_wall_us(const struct access_checks *c, uint32_t tries);
