/* Reads --resolve items into a table of addresses. */
#include "coordinator/resolve_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/address_table.h"

#define HOST_BYTES_MAX 254 /* a name of 253 with its trailing dot */
#define SHOWN_MAX      120 /* of a bad item in a reason */

struct resolve_list {
    struct address_table *table;
};

/* One item, cut into its parts; they borrow from it. */
struct item {
    const char *host, *port, *addresses;
    size_t host_len, port_len;
};

static char reason[512];

__attribute__((format(printf, 3, 4))) static enum outcome refuse(const char **reason_out, const char *item,
                                                                 const char *format, ...)
{
    va_list args;
    int n = snprintf(reason, sizeof reason, "--resolve \"%.*s\": ", SHOWN_MAX, item);

    va_start(args, format);
    vsnprintf(reason + n, sizeof reason - (size_t)n, format, args);
    va_end(args);
    *reason_out = reason;
    return OUTCOME_INVALID_HOST;
}

static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

/* NULL when the host is fine. `text_out` gets it as a URL would have it. */
static const char *read_host(const struct item *item, char text_out[HOST_BYTES_MAX + 1])
{
    struct address address;

    if (item->host_len == 0)
        return "the host is missing";
    if (item->host_len > HOST_BYTES_MAX)
        return "the host is too long";
    memcpy(text_out, item->host, item->host_len);
    text_out[item->host_len] = '\0';
    if (text_out[0] == '[') {
        if (!address_parse(text_out, item->host_len, &address) || address.family != 6)
            return "the host is not an IPv6 address in brackets";
        char canonical[ADDRESS_TEXT_MAX];
        address_format(&address, canonical);
        snprintf(text_out, HOST_BYTES_MAX + 1, "[%s]", canonical);
        return NULL;
    }
    if (strcmp(text_out, "*") == 0)
        return NULL;
    for (size_t i = 0; i < item->host_len; i++) {
        if ((unsigned char)text_out[i] >= 0x80)
            return "the host is not in ASCII: write it in its xn-- form";
        if (!is_host_byte(text_out[i]))
            return "the host has a character that no host name has";
    }
    return NULL;
}

static bool read_port(const struct item *item, uint16_t *port_out)
{
    unsigned port = 0;

    if (item->port_len == 0 || item->port_len > 5)
        return false;
    for (size_t i = 0; i < item->port_len; i++) {
        if (item->port[i] < '0' || item->port[i] > '9')
            return false;
        port = port * 10 + (unsigned)(item->port[i] - '0');
    }
    *port_out = (uint16_t)port;
    return port >= 1 && port <= 65535;
}

/* HOST ends at the first colon, of an address in brackets at the one behind them. */
static bool cut_item(const char *text, struct item *item_out)
{
    const char *behind = text;

    if (text[0] == '[') {
        behind = strchr(text, ']');
        if (!behind)
            return false;
    }
    const char *first = strchr(behind, ':');
    const char *second = first ? strchr(first + 1, ':') : NULL;
    if (!second)
        return false;
    *item_out = (struct item){.host = text,
                              .host_len = (size_t)(first - text),
                              .port = first + 1,
                              .port_len = (size_t)(second - first - 1),
                              .addresses = second + 1};
    return true;
}

static enum outcome add_addresses(struct address_table *table, const char *text, const struct item *item,
                                  const char *host, uint16_t port, uint32_t generation, const char **reason_out)
{
    const char *at = item->addresses;

    for (;;) {
        struct address address;
        size_t len = strcspn(at, ",");
        if (len == 0)
            return refuse(reason_out, text, "an address is missing; write HOST:PORT:ADDR[,ADDR...]");
        if (!address_parse(at, len, &address))
            return refuse(reason_out, text, "\"%.*s\" is not an IP address", len > SHOWN_MAX ? SHOWN_MAX : (int)len,
                          at);
        address_table_add(table, host, strlen(host), port, generation, &address);
        if (at[len] == '\0')
            return OUTCOME_OK;
        at += len + 1;
    }
}

static enum outcome add_item(struct address_table *table, const char *text, uint32_t generation,
                             const char **reason_out)
{
    char host[HOST_BYTES_MAX + 1];
    struct item item;
    uint16_t port;

    if (text[0] == '+')
        return refuse(reason_out, text, "entries that expire (\"+\") are not supported; leave the \"+\" out");
    if (text[0] == '-')
        return refuse(reason_out, text, "entries cannot be removed (\"-\"); leave the entry out");
    if (!cut_item(text, &item))
        return refuse(reason_out, text, "write HOST:PORT:ADDR[,ADDR...], an IPv6 address as HOST in brackets");
    const char *wrong = read_host(&item, host);
    if (wrong)
        return refuse(reason_out, text, "%s", wrong);
    if (!read_port(&item, &port))
        return refuse(reason_out, text, "the port is not a number from 1 to 65535");
    return add_addresses(table, text, &item, host, port, generation, reason_out);
}

enum outcome resolve_list_open(const struct option_list *items, struct resolve_list **list_out, const char **reason_out)
{
    struct resolve_list *list = calloc(1, sizeof *list);
    enum outcome outcome = OUTCOME_OK;

    if (!list)
        die("out of memory: no room for the --resolve entries");
    list->table = address_table_new();
    for (size_t i = 0; i < items->count && outcome == OUTCOME_OK; i++)
        outcome = add_item(list->table, items->items[i], (uint32_t)i, reason_out);
    if (outcome != OUTCOME_OK) {
        resolve_list_close(list);
        return outcome;
    }
    address_table_seal(list->table);
    *list_out = list;
    return OUTCOME_OK;
}

void resolve_list_close(struct resolve_list *list)
{
    if (!list)
        return;
    address_table_free(list->table);
    free(list);
}

bool resolve_list_find(const struct resolve_list *list, const char *host, size_t host_len, uint16_t port,
                       const struct address **addresses_out, uint32_t *count_out)
{
    return address_table_find(list->table, host, host_len, port, addresses_out, count_out) ||
           address_table_find(list->table, "*", 1, port, addresses_out, count_out);
}
