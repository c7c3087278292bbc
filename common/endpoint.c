/* Reading of ADDR:PORT. */
#include "common/endpoint.h"

#include <string.h>

static bool parse_port(const char *text, uint16_t *port_out)
{
    uint32_t port = 0;
    size_t n = 0;

    for (; text[n] >= '0' && text[n] <= '9' && n < 6; n++)
        port = port * 10 + (uint32_t)(text[n] - '0');
    *port_out = (uint16_t)port;
    return n > 0 && !text[n] && port > 0 && port <= UINT16_MAX;
}

bool endpoint_parse(const char *text, struct endpoint *out)
{
    static const char loopback[] = "127.0.0.1";
    const char *colon = strrchr(text, ':');

    if (!colon || !parse_port(colon + 1, &out->port))
        return false;
    size_t len = (size_t)(colon - text);
    if (len == 9 && memcmp(text, "localhost", 9) == 0)
        return address_parse(loopback, sizeof loopback - 1, &out->address);
    /* Without brackets the last group of an IPv6 address would pass for a port. */
    return address_parse(text, len, &out->address) && (out->address.family == 4) == (*text != '[');
}

bool endpoint_is_loopback(const struct endpoint *e)
{
    static const uint8_t v6[16] = {[15] = 1};

    return e->address.family == 4 ? e->address.bytes[0] == 127 : memcmp(e->address.bytes, v6, sizeof v6) == 0;
}
