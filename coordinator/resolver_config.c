/* What tells the resolver whom to ask and how long: the options, the system's configuration, the hosts file. */
#include "coordinator/resolver_parts.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define SERVERS_MAX    64
#define DNS_PORT       53
#define FIRST_WAIT_MAX 3000 /* ms until a question is sent again, however long dns_timeout is */

static char reason[512];

__attribute__((format(printf, 3, 4))) static enum outcome refuse(enum outcome outcome, const char **reason_out,
                                                                 const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    *reason_out = reason;
    return outcome;
}

static bool read_port(const char *text, size_t len, uint16_t *port_out)
{
    unsigned port = 0;

    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    *port_out = (uint16_t)port;
    return port >= 1 && port <= 65535;
}

/* ADDR, ADDR:PORT, [ADDR]:PORT. What is an address as a whole has no port: "2001:db8::1:53" is one address. */
static bool read_server(const char *text, size_t len, struct address *address_out, uint16_t *port_out)
{
    *port_out = DNS_PORT;
    if (address_parse(text, len, address_out))
        return true;
    const char *colon = memrchr(text, ':', len);
    if (!colon || !read_port(colon + 1, len - (size_t)(colon + 1 - text), port_out))
        return false;
    size_t address_len = (size_t)(colon - text);
    return address_parse(text, address_len, address_out) && (address_out->family == 4 || text[0] == '[');
}

static void set_node(struct ares_addr_port_node *node, const struct address *address, uint16_t port)
{
    *node = (struct ares_addr_port_node){.udp_port = port, .tcp_port = port};
    if (address->family == 4) {
        node->family = AF_INET;
        memcpy(&node->addr.addr4, address->bytes, 4);
    } else {
        node->family = AF_INET6;
        memcpy(&node->addr.addr6, address->bytes, 16);
    }
}

/* An item may itself be a list with commas, as curl's --dns-servers is. */
static enum outcome read_servers(const struct option_list *items, struct ares_addr_port_node nodes[SERVERS_MAX],
                                 size_t *count_out, const char **reason_out)
{
    *count_out = 0;
    for (size_t i = 0; i < items->count; i++) {
        const char *at = items->items[i];
        for (;;) {
            struct address address;
            uint16_t port;
            size_t len = strcspn(at, ",");
            int shown = len > 120 ? 120 : (int)len;
            if (*count_out == SERVERS_MAX)
                return refuse(OUTCOME_INVALID_HOST, reason_out, "resolvers: more than %d name servers", SERVERS_MAX);
            if (!read_server(at, len, &address, &port))
                return refuse(OUTCOME_INVALID_HOST, reason_out,
                              "resolvers: \"%.*s\" is not a name server; write ADDR, ADDR:PORT or [ADDR]:PORT", shown,
                              at);
            set_node(&nodes[*count_out], &address, port);
            if (*count_out > 0)
                nodes[*count_out - 1].next = &nodes[*count_out];
            (*count_out)++;
            if (at[len] == '\0')
                break;
            at += len + 1;
        }
    }
    return OUTCOME_OK;
}

static size_t count_servers(ares_channel channel)
{
    struct ares_addr_port_node *nodes = NULL;
    size_t count = 0;

    if (ares_get_servers_ports(channel, &nodes) == ARES_SUCCESS) {
        for (const struct ares_addr_port_node *n = nodes; n; n = n->next)
            count++;
        ares_free_data(nodes);
    }
    return count;
}

/* c-ares waits `timeout` for each server, then twice as long in each further round: servers * timeout * (2^tries - 1)
 * in all. By TCP it does not ask a server again on the same connection: one round has all the time. */
static void share_time(uint64_t budget_ms, size_t servers, bool tcp, struct ares_options *o)
{
    uint64_t wait_ms;

    o->tries = tcp ? 1 : servers > 1 ? 3 : 4;
    while ((wait_ms = budget_ms / (servers * ((1u << o->tries) - 1))) > FIRST_WAIT_MAX && o->tries < 12 && !tcp)
        o->tries++;
    o->timeout = wait_ms > 0 ? (int)wait_ms : 1;
}

static int init_channel(ares_channel *channel_out, bool tcp, struct ares_options *o, int mask)
{
    o->flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | (tcp ? ARES_FLAG_USEVC : ARES_FLAG_IGNTC);
#ifdef ARES_OPT_QUERY_CACHE
    /* From 1.31 on c-ares keeps answers itself, unless told for how long: not at all. How long is ours to say. */
    mask |= ARES_OPT_QUERY_CACHE;
    o->qcache_max_ttl = 0;
#endif
    return ares_init_options(channel_out, o, mask | ARES_OPT_FLAGS | ARES_OPT_NOROTATE);
}

/* How many servers share the time must be known before the channel is made, and only a channel knows the system's. */
static int count_system_servers(size_t *count_out)
{
    ares_channel channel;
    struct ares_options o = {0};
    int status = init_channel(&channel, false, &o, 0);

    if (status == ARES_SUCCESS) {
        *count_out = count_servers(channel);
        ares_destroy(channel);
    }
    if (*count_out == 0)
        *count_out = 1;
    return status;
}

static int open_with_servers(ares_channel *channel_out, const struct options *options, bool tcp,
                             ares_sock_state_cb on_socket, void *user, struct ares_addr_port_node *nodes, size_t count)
{
    struct ares_options o = {.sock_state_cb = on_socket, .sock_state_cb_data = user};
    int status = count == 0 ? count_system_servers(&count) : ARES_SUCCESS;

    if (status != ARES_SUCCESS)
        return status;
    share_time(options->dns_timeout, count, tcp, &o);
    status = init_channel(channel_out, tcp, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS || options->resolvers.count == 0)
        return status;
    status = ares_set_servers_ports(*channel_out, nodes);
    if (status != ARES_SUCCESS)
        ares_destroy(*channel_out);
    return status;
}

enum outcome resolver_channel_open(ares_channel *channel_out, const struct options *options, bool tcp,
                                   ares_sock_state_cb on_socket, void *user, const char **reason_out)
{
    struct ares_addr_port_node nodes[SERVERS_MAX];
    size_t count;
    enum outcome outcome = read_servers(&options->resolvers, nodes, &count, reason_out);

    if (outcome != OUTCOME_OK)
        return outcome;
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status != ARES_SUCCESS)
        return refuse(OUTCOME_SYSTEM, reason_out, "cannot start c-ares: %s", ares_strerror(status));
    status = open_with_servers(channel_out, options, tcp, on_socket, user, nodes, count);
    if (status != ARES_SUCCESS) {
        ares_library_cleanup();
        return refuse(OUTCOME_SYSTEM, reason_out,
                      "cannot read the system's name servers: %s; see /etc/resolv.conf, or name some with --resolvers",
                      ares_strerror(status));
    }
    return OUTCOME_OK;
}

void resolver_channel_close(ares_channel channel)
{
    ares_destroy(channel);
    ares_library_cleanup();
}

static void read_hosts_line(const char *line, struct address_table *hosts)
{
    const char *blank = " \t\r";
    size_t end = strcspn(line, "#\n");
    struct address address;
    bool first = true;

    for (size_t at = strspn(line, blank); at < end; at += strspn(line + at, blank)) {
        size_t len = strcspn(line + at, " \t\r#\n");
        if (!first)
            address_table_add(hosts, line + at, len, 0, 0, &address);
        else if (!address_parse(line + at, len, &address))
            return;
        first = false;
        at += len;
    }
}

struct address_table *resolver_hosts_open(const char *path)
{
    struct address_table *hosts = address_table_new();
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;

    while (file && getline(&line, &cap, file) >= 0)
        read_hosts_line(line, hosts);
    if (file)
        fclose(file);
    free(line);
    address_table_seal(hosts);
    return hosts;
}
