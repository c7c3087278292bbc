#!/usr/bin/python3
"""An HTTP/1.1 origin that misbehaves on cue: by path (answers.py) and by port (below).

    origin.py --cert leaf.pem --key leaf.key < /dev/tty

prints its ports as one JSON line and lives until its standard input ends. Ports:
    http, https       answer by path; http listens on the same number for 127.0.0.0/8 and ::1
    silence           accepts and never speaks: a silent HTTP server, and for https one that stalls in the handshake
    tls_stall         sends half a ServerHello, then nothing
    tls_plain         answers a ClientHello with plain HTTP
    tls_alert         answers it with a fatal alert
    tls_close         answers it with FIN
    tls_reset         answers it with RST
    accept_reset      RST as soon as it has accepted
    banner            speaks before it is asked: a whole answer with status 299, then serves by path
    refused           bound, not listening: connections are refused
    syn_drop          its queue is full and nobody accepts: the kernel drops each SYN
    control           the log (ledger.py)
"""
import argparse
import asyncio
import socket

import answers
from ledger import Ledger, bind, bind_alike, run
from wire import serve, tls_context

# A TLS record that announces a ServerHello of 122 bytes and brings its first two.
HALF_SERVER_HELLO = bytes.fromhex("16030300" "7a" "0200")
FATAL_HANDSHAKE_FAILURE = bytes.fromhex("15030300020228")
PLAIN_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FAKE_ANSWER = b"HTTP/1.1 299 Fake\r\nContent-Length: 4\r\nX-Fake: 1\r\n\r\nfake"


async def silence(connection):
    await connection.until_peer_closes()


async def tls_stall(connection):
    await connection.reader.read(65536)
    await connection.send(HALF_SERVER_HELLO)
    await connection.until_peer_closes()


async def tls_plain(connection):
    await connection.reader.read(65536)
    await connection.send(PLAIN_REFUSAL)
    await connection.close()


async def tls_alert(connection):
    await connection.reader.read(65536)
    await connection.send(FATAL_HANDSHAKE_FAILURE)
    await connection.close()


async def tls_close(connection):
    await connection.reader.read(65536)
    await connection.close()


async def tls_reset(connection):
    await connection.reader.read(65536)
    connection.reset()


async def accept_reset(connection):
    connection.reset()


async def banner(connection):
    await connection.send(FAKE_ANSWER)
    await answers.serve_requests(connection)


PORT_BEHAVIOURS = [silence, tls_stall, tls_plain, tls_alert, tls_close, tls_reset, accept_reset, banner]


def full_backlog(host):
    """A listening socket nobody accepts from, its queue filled by ourselves. With the accept queue full Linux drops every
    further SYN (tcp_conn_request(), LISTENOVERFLOWS), so that a connection attempt just times out. The fillers stay open."""
    sock = bind(host)
    sock.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(sock.getsockname())
        fillers.append(filler)
    return sock, fillers


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    ledger = Ledger()
    context = tls_context(arguments.cert, arguments.key, ["http/1.1"])
    ports, keep = {}, []

    def listen(name, sockets, handler, tls=None):
        ports[name] = sockets[0].getsockname()[1]
        for sock in sockets:
            keep.append(asyncio.ensure_future(serve(ledger, name, sock, handler, tls)))

    everywhere = [("0.0.0.0", socket.SOCK_STREAM), ("::", socket.SOCK_STREAM)]
    listen("http", bind_alike(*everywhere), answers.serve_requests)
    listen("https", bind_alike(*everywhere), answers.serve_requests, context)
    for behaviour in PORT_BEHAVIOURS:
        listen(behaviour.__name__, [bind("0.0.0.0")], behaviour)
    refused = bind("127.0.0.1")
    syn_drop, fillers = full_backlog("127.0.0.1")
    keep += [refused, syn_drop, fillers]
    ports["refused"] = refused.getsockname()[1]
    ports["syn_drop"] = syn_drop.getsockname()[1]
    await run(ledger, ports)


if __name__ == "__main__":
    asyncio.run(main())
