"""What a hostile server remembers: its connections, requests and peaks, and the control port through which tests read it.

GET /log gives the list of notes, GET /peaks the highest number of sockets that were open at once (by listener, and under
"all"), GET /open the numbers now, POST /reset forgets everything but the open sockets. A server may have words of its
own, functions of the query's values.
"""
import asyncio
import json
import logging
import os
import socket
import sys
import time
import urllib.parse

TCP_ESTABLISHED = 1


class Ledger:
    def __init__(self):
        self.sockets = {}  # connection number -> (listener, socket)
        self.last_connection = 0
        self.reset()

    def reset(self):
        self.notes = []
        self.peaks = {}
        self.counters = {}

    def note(self, kind, **fields):
        self.notes.append({"kind": kind, "at": time.monotonic(), **fields})

    def open(self, listener, sock, peer):
        """Numbers a connection just accepted and takes the peak."""
        self.last_connection += 1
        number = self.last_connection
        self.sockets[number] = (listener, sock)
        self.note("open", conn=number, listener=listener, peer=peer, local=sock.getsockname()[0])
        for name, count in self.count_open().items():
            self.peaks[name] = max(count, self.peaks.get(name, 0))
        return number

    def close(self, number, how):
        listener, _ = self.sockets.pop(number, (None, None))
        if listener:
            self.note("close", conn=number, listener=listener, how=how)

    def count_open(self):
        """Sockets that the kernel calls established: one whose peer has closed does not count, even before we read that."""
        counts = {"all": 0}
        for listener, sock in self.sockets.values():
            if is_established(sock):
                counts["all"] += 1
                counts[listener] = counts.get(listener, 0) + 1
        return counts

    def count(self, key):
        """How often this key has been counted before; used by answers that change after some tries."""
        self.counters[key] = self.counters.get(key, 0) + 1
        return self.counters[key] - 1


def is_established(sock):
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED
    except OSError:
        return False


def bind(host, port=0, kind=socket.SOCK_STREAM):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


def bind_alike(*wanted):
    """Binds each (host, kind) to one and the same free port."""
    for _ in range(50):
        first = bind(wanted[0][0], 0, wanted[0][1])
        port = first.getsockname()[1]
        bound = [first]
        try:
            bound += [bind(host, port, kind) for host, kind in wanted[1:]]
            return bound
        except OSError:
            for sock in bound:
                sock.close()
    raise OSError("no port is free on all of " + repr(wanted))


async def serve_control(ledger, words):
    """Starts the control port; returns its number."""

    async def on_connection(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = urllib.parse.urlsplit(head.split(b" ")[1].decode())
            body = {
                "/log": lambda: ledger.notes,
                "/peaks": lambda: ledger.peaks,
                "/open": ledger.count_open,
                "/reset": ledger.reset,
                **words,
            }[target.path](**dict(urllib.parse.parse_qsl(target.query)))
            text = json.dumps(body).encode()
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def run(ledger, ports, words=None):
    """Tells the parent the ports in one JSON line, then lives until standard input ends."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # clients that go away are what this is for
    ports["control"] = await serve_control(ledger, words or {})
    print(json.dumps(ports), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    os._exit(0)
