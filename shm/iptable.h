#pragma once
/* Hosts and addresses as all processes see them: whom to connect to, whose turn it is, and how many connections are
 * open. Written by the coordinator: names, address lists, flags. Written by workers: their own cells, and the shared
 * turn counters. Limits are exact without a lock: a lease claims the worker's own cell, sums the cells, and steps back
 * when the sum is above the limit; two racers may both step back, never both pass. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/outcome.h"

#define HOST_NAME_MAX_BYTES 256
#define IP_NONE             UINT32_MAX

/* Flags of a host that processes tell each other. */
enum host_flag {
    HOST_HTTP1 = 1,        /* has answered in HTTP/1.1 */
    HOST_HTTP2 = 2,        /* has chosen h2 by ALPN */
    HOST_PLAIN_HELLO = 4,  /* a handshake with a browser's hello failed at our end */
    HOST_ROOT_ANSWERS = 8, /* a probe of its root was answered well */
};

/* What is known of an address for one host. It stands in the two top bits of the list's entry, so that one store
 * changes the next lease of every worker. */
enum access_state {
    ACCESS_UNKNOWN, /* allowed */
    ACCESS_WHITE,   /* has answered with success */
    ACCESS_BLACK,   /* has refused: no connection is made to it, none is used */
    ACCESS_FIXED,   /* white by a list: no answer changes it */
};
#define IP_REF_SHIFT 30
#define IP_REF_MASK  ((1u << IP_REF_SHIFT) - 1)
#define IP_REF_NONE  UINT32_MAX

static inline uint32_t ip_ref_pack(uint32_t ip, enum access_state access)
{
    return ip | (uint32_t)access << IP_REF_SHIFT;
}

/* An entry of a host's list, as it was when it was looked at. */
struct iptable_entry {
    uint32_t ip;  /* index into ips */
    uint32_t ref; /* index into ip_refs, good while the list stays */
    enum access_state access;
    struct address address;
};

struct shm_host {
    _Atomic uint32_t generation;    /* coordinator; odd while the slot is being rewritten, 0 never used */
    uint16_t port;                  /* coordinator */
    uint8_t scheme;                 /* coordinator; enum url_scheme */
    uint8_t name_len;               /* coordinator */
    char name[HOST_NAME_MAX_BYTES]; /* coordinator; as in the URL, lower case, IPv6 in brackets; NUL-terminated */
    /* coordinator; the address list in one word: first index into ip_refs (32 bits), count (16), version (16) */
    _Atomic uint64_t addresses;
    _Atomic uint32_t turn;        /* any worker: fetch-add deals the addresses out */
    _Atomic uint32_t flags;       /* any worker: or-ed enum host_flag */
    _Atomic uint32_t streams_max; /* any worker: the server's SETTINGS_MAX_CONCURRENT_STREAMS, 0 unknown */
    uint32_t reserved[5];
};
_Static_assert(sizeof(struct shm_host) == 304, "struct shm_host is part of the shared layout");

/* How far a worker says that its cells have ever been used. The sweep after its death goes to what the coordinator has
 * ever given a meaning to, and this far: reading an untouched page of the region would fill it. */
struct iptable_reach {
    _Alignas(64) _Atomic uint32_t hosts; /* the worker; one past the largest index leased */
    _Atomic uint32_t ips;                /* the worker */
    uint32_t reserved[14];
};
_Static_assert(sizeof(struct iptable_reach) == 64, "struct iptable_reach is part of the shared layout");

/* One process's view of the tables inside the region; sizes come from the region's header, checked on attach. Cells are
 * arrays of [worker] for each host, each ip, and the fleet. */
struct iptable {
    struct shm_host *hosts;
    struct address *ips;
    uint32_t *ip_refs; /* address lists: indices into ips below IP_REF_MASK, enum access_state above */
    _Atomic uint32_t *host_cells, *ip_cells, *fleet_cells;
    struct iptable_reach *reach; /* [worker] */
    uint32_t hosts_max, ips_max, ip_refs_max, workers;
    uint32_t hosts_used, ips_used; /* coordinator: one past the largest index that was ever set; 0 in other processes */
};

/* Bytes in the region (workers <= 64), and the laying out of an `iptable` over `memory` (64-byte aligned, zeroed at
 * first). */
size_t iptable_bytes(uint32_t hosts_max, uint32_t ips_max, uint32_t ip_refs_max, uint32_t workers);
void iptable_attach(struct iptable *t, void *memory, uint32_t hosts_max, uint32_t ips_max, uint32_t ip_refs_max,
                    uint32_t workers);

/* --- coordinator --- */
/* Writes host `index` anew under a new even generation, with no addresses; returns that generation. The cells of an
 * index that was never set are zeroed first: nobody has a connection there, whatever stands in them. */
uint32_t iptable_host_set(struct iptable *t, uint32_t index, uint8_t scheme, const char *name, size_t name_len,
                          uint16_t port);
/* Writes the address of `ip`, which no list in use names; its cells as above. */
void iptable_ip_set(struct iptable *t, uint32_t ip, const struct address *address);
/* Publishes the list ip_refs[first .. first+count) for host `index` (count <= 65535). The old place may be reused once
 * no reader can hold it: iptable_next_address() re-checks the word after reading. */
void iptable_host_publish(struct iptable *t, uint32_t index, uint32_t first, uint32_t count);
/* Sum of a host's cells, of an ip's, of the fleet's; and one worker's cell of a host. */
uint32_t iptable_host_open(const struct iptable *t, uint32_t index);
uint32_t iptable_ip_open(const struct iptable *t, uint32_t ip);
uint32_t iptable_fleet_open(const struct iptable *t);
uint32_t iptable_ip_cell(const struct iptable *t, uint32_t ip, uint32_t worker);
uint32_t iptable_host_cell(const struct iptable *t, uint32_t index, uint32_t worker);
uint32_t iptable_fleet_cell(const struct iptable *t, uint32_t worker);
/* After waitpid of a worker: all its cells become zero, whatever it has written about how far they reach. */
void iptable_reclaim(struct iptable *t, uint32_t worker);

/* --- workers --- */
/* Deals the next address of host `index` out, black ones too: who may not use it asks for the next.
 * OUTCOME_IP_EXHAUSTED when the list is empty, OUTCOME_CORRUPT when an index is out of range. */
must_check enum outcome iptable_next(struct iptable *t, uint32_t index, struct iptable_entry *entry_out);
/* The entry at `position`, counted on from the list's first after its last; takes nobody's turn. Results as above. */
must_check enum outcome iptable_at(const struct iptable *t, uint32_t index, uint32_t position,
                                   struct iptable_entry *entry_out);
/* iptable_next() for who cares about the address alone. */
must_check enum outcome iptable_next_address(struct iptable *t, uint32_t index, uint32_t *ip_out,
                                             struct address *address_out);
/* Addresses of host `index` now; 0 for an index out of range. */
uint32_t iptable_address_count(const struct iptable *t, uint32_t index);
/* A word that changes with every new list of host `index`. */
uint64_t iptable_list_version(const struct iptable *t, uint32_t index);

/* --- access, by any process --- */
/* Where `ip` stands in the list of host `index`; false: nowhere. Searches the list. */
bool iptable_find(const struct iptable *t, uint32_t index, uint32_t ip, uint32_t *ref_out);
/* What is known of `ip` at `ref`, by one load. ACCESS_UNKNOWN when another address stands there by now, or `ref` is
 * none. */
enum access_state iptable_access_of(const struct iptable *t, uint32_t ref, uint32_t ip);
/* Sets what is known of `ip` for host `index`, if it is one of `from` (a mask of ACCESS_BIT()) until then; of several
 * who do so at a time one alone is told that it changed something. Workers may learn by ACCESS_LEARNS_WHITE and
 * ACCESS_LEARNS_BLACK; ACCESS_FIXED is set and lifted by the coordinator. */
bool iptable_set_access(struct iptable *t, uint32_t index, uint32_t ip, enum access_state state, unsigned from);
#define ACCESS_BIT(state)   (1u << (state))
#define ACCESS_LEARNS_WHITE ACCESS_BIT(ACCESS_UNKNOWN)
#define ACCESS_LEARNS_BLACK (ACCESS_BIT(ACCESS_UNKNOWN) | ACCESS_BIT(ACCESS_WHITE))
#define ACCESS_ANY          0xfu

/* --- workers --- */
enum lease_refusal { LEASE_GRANTED, LEASE_FLEET_FULL, LEASE_HOST_FULL, LEASE_IP_FULL };
/* Claims one connection of the fleet, of host `index` and of `ip` (IP_NONE: none yet) for `worker`, all or nothing.
 * A limit of 0 does not bind. An index out of range is refused like a limit. One thread a worker. A refusal may,
 * seldom, come of a rival that is refused too: it does not promise that anybody holds a connection whose return could
 * be waited for. */
must_check enum lease_refusal iptable_lease(struct iptable *t, uint32_t worker, uint32_t index, uint32_t ip,
                                            uint32_t fleet_max, uint32_t host_max, uint32_t ip_max);
/* Gives back what iptable_lease() claimed; a cell that is zero stays zero. */
/* For a lease that was made without an address: claims one of `ip` too. False: that address is full. */
must_check bool iptable_lease_ip(struct iptable *t, uint32_t worker, uint32_t ip, uint32_t ip_max);
void iptable_return(struct iptable *t, uint32_t worker, uint32_t index, uint32_t ip);
