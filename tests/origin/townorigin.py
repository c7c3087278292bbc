#!/usr/bin/python3
"""One HTTPS server on many addresses and one port, each of which lives, refuses, falters and dies as it is told.

    townorigin.py --cert leaf.pem --key leaf.key 127.0.0.11 127.0.0.12 …

prints its ports ("https", and "control") as one JSON line and lives until its standard input ends. The control port has
    /set?address=A&mode=M   ok       200, kept alive
                            blocked  403         error  500        busy  503
                            closing  200 with Connection: close
                            slow     200 after 300 ms
                            cut      RST once the request is read
                            dead     every connection reset, new ones refused, until another mode is set
    /counts                 by address: connections, requests, methods and statuses, as they were sent
"""
import argparse
import asyncio
import collections
import socket

from ledger import Ledger, bind_alike, run
from wire import serve, tls_context

STATUSES = {"ok": 200, "blocked": 403, "error": 500, "busy": 503, "closing": 200, "slow": 200}
SLOW_S = 0.3


class House:
    """One address."""

    def __init__(self, town, address, sock):
        self.town, self.address, self.sock = town, address, sock
        self.port = sock.getsockname()[1]
        self.mode, self.task, self.open = "ok", None, set()
        self.connections = self.requests = 0
        self.methods, self.statuses = collections.Counter(), collections.Counter()

    def start(self):
        if not self.sock:
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((self.address, self.port))
            self.sock.setblocking(False)
        self.task = asyncio.ensure_future(
            serve(self.town.ledger, self.address, self.sock, self.serve_connection, self.town.context))

    def set(self, mode):
        was, self.mode = self.mode, mode
        if mode == "dead" and was != "dead":
            self.task.cancel()
            self.sock.close()
            self.sock = None
            for connection in list(self.open):
                connection.reset()
        elif was == "dead" and mode != "dead":
            self.start()

    async def serve_connection(self, connection):
        if self.mode == "dead":
            connection.reset()
            return
        self.connections += 1
        self.open.add(connection)
        try:
            while await self.answer(connection):
                pass
        finally:
            self.open.discard(connection)

    async def answer(self, connection):
        """One request; whether another may follow."""
        head = await connection.reader.readuntil(b"\r\n\r\n")
        method, mode = head.split(b" ", 1)[0].decode(), self.mode
        self.requests += 1
        self.methods[method] += 1
        if mode in ("cut", "dead"):
            connection.reset()
            return False
        if mode == "slow":
            await asyncio.sleep(SLOW_S)
        status = STATUSES[mode]
        body = b"" if method == "HEAD" else b"from " + self.address.encode()
        length = len(b"from ") + len(self.address)
        last = b"Connection: close\r\n" if mode == "closing" else b""
        await connection.send(b"HTTP/1.1 %d Town\r\nContent-Length: %d\r\n%s\r\n" % (status, length, last) + body)
        self.statuses[str(status)] += 1
        if last:
            await connection.close()
        return not last


class Town:
    def __init__(self, ledger, context, addresses):
        self.ledger, self.context = ledger, context
        socks = bind_alike(*[(address, socket.SOCK_STREAM) for address in addresses])
        self.houses = {address: House(self, address, sock) for address, sock in zip(addresses, socks)}
        self.port = socks[0].getsockname()[1]

    def set(self, address, mode):
        self.houses[address].set(mode)

    def counts(self):
        return {address: {"connections": h.connections, "requests": h.requests, "methods": h.methods,
                          "statuses": h.statuses} for address, h in self.houses.items()}


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("addresses", nargs="+")
    options = parser.parse_args()
    ledger = Ledger()
    town = Town(ledger, tls_context(options.cert, options.key, ["http/1.1"]), options.addresses)
    for house in town.houses.values():
        house.start()
    await run(ledger, {"https": town.port}, {"/set": town.set, "/counts": town.counts})


if __name__ == "__main__":
    asyncio.run(main())
