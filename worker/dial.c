/* Opening, binding and connecting a socket. */
#include "worker/dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum outcome dial_outcome(int error)
{
    switch (error) {
    case ETIMEDOUT:
        return OUTCOME_CONNECTION_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:
        return OUTCOME_RESOURCE_EXHAUSTED;
    default:
        return OUTCOME_CONNECTION_REFUSED;
    }
}

static void draw_source(struct worker *w, uint8_t family, struct source *out)
{
    struct region_header *h = w->region.header;
    uint64_t turn = atomic_fetch_add_explicit(&h->source_turns[family == 6], 1, memory_order_relaxed);

    (void)source_list_draw(&w->sources, family, turn, h->source_key, out);
}

static int bind_to(int fd, const struct source *source)
{
    struct sockaddr_storage from;
    socklen_t len = address_to_sockaddr(&source->address, 0, &from);
    int one = 1;

    /* The port is chosen by connect(), which can give one port to connections of several destinations; bind() would
     * take it for one alone. The option is of the IP level for both families. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    /* An IPv6 subnet is this machine's by its route (`ip -6 route add local 2001:db8::/64 dev lo`): no interface has
     * the single addresses, and bind() would refuse them. With IPv4 it asks the route. */
    if (source->from_subnet)
        setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one);
    return bind(fd, (struct sockaddr *)&from, len);
}

/* Says what failed, closes. */
static enum outcome give_up(struct worker *w, int fd, const struct source *source, const char **detail_out)
{
    int error = errno;

    if (source->address.family) {
        char text[ADDRESS_TEXT_MAX];
        address_format(&source->address, text);
        snprintf(w->dial_detail, sizeof w->dial_detail, "from %s: %s", text, strerror(error));
    } else {
        snprintf(w->dial_detail, sizeof w->dial_detail, "%s", strerror(error));
    }
    *detail_out = w->dial_detail;
    if (fd >= 0)
        close(fd);
    return dial_outcome(error);
}

enum outcome dial_start(struct worker *w, const struct address *to, uint16_t port, int *fd_out, const char **detail_out)
{
    struct sockaddr_storage there;
    socklen_t len = address_to_sockaddr(to, port, &there);
    struct source source = {0};
    int one = 1;

    if (!source_list_reaches(&w->sources, to->family)) {
        *detail_out = "bind_ip has no address of its family";
        return OUTCOME_IP_EXHAUSTED;
    }
    int fd = socket(there.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return give_up(w, fd, &source, detail_out);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!source_list_is_empty(&w->sources)) {
        draw_source(w, to->family, &source);
        if (bind_to(fd, &source) != 0)
            return give_up(w, fd, &source, detail_out);
    }
    if (connect(fd, (struct sockaddr *)&there, len) != 0 && errno != EINPROGRESS)
        return give_up(w, fd, &source, detail_out);
    *fd_out = fd;
    return OUTCOME_OK;
}
