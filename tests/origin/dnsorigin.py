#!/usr/bin/python3
"""A name server that counts its queries and misbehaves by name; UDP and TCP on one port.

    dnsorigin.py --zone '{"a.test": {"A": ["127.0.0.1"], "ttl": 60}}'

prints its ports ("dns", and "control" for the log) as one JSON line and lives until its standard input ends. A name that
the zone lacks is NXDOMAIN. Beside "A", "AAAA", "CNAME" and "ttl" a name may have
    "rcode": 2        this response code, without answers
    "silent": true    no answer at all
    "truncate": true  over UDP an empty answer with TC; the whole one over TCP
    "delay_ms": 500   late
    "wrong_id": true  an answer to a question nobody asked, and nothing else
    "garbage": true   bytes that are no message
    "then": {...}     what the name has once its addresses were asked for (A answered once)
A name "*.suffix" stands for all below it. The control port's /zone?name=a.test&entry={...} gives a name a new entry.
"""
import argparse
import asyncio
import ipaddress
import json
import socket
import struct

from ledger import Ledger, bind_alike, run

TYPES = {1: "A", 28: "AAAA", 5: "CNAME"}
NOERROR, NXDOMAIN = 0, 3
UDP_BYTES_MAX = 1232


def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split(".")) + b"\0"


def read_question(message):
    """(name, type number, end of the question); names in questions are never compressed."""
    labels, at = [], 12
    while size := message[at]:
        labels.append(message[at + 1:at + 1 + size].decode("latin-1"))
        at += size + 1
    kind, _class = struct.unpack_from("!HH", message, at + 1)
    return ".".join(labels).lower(), kind, at + 5


def rdata(kind, value):
    return encode_name(value) if kind == "CNAME" else ipaddress.ip_address(value).packed


class Zone:
    def __init__(self, names):
        self.names = names

    def entry(self, name):
        if name in self.names:
            return self.names[name]
        parts = name.split(".")
        wild = ("*." + ".".join(parts[i:]) for i in range(1, len(parts)))
        return next((self.names[w] for w in wild if w in self.names), None)

    def records(self, name, kind):
        """The answer section: aliases on the way, then the addresses."""
        found = []
        for _ in range(10):
            entry = self.entry(name) or {}
            if "CNAME" not in entry:
                break
            found.append((name, "CNAME", entry["CNAME"], entry.get("ttl", 60)))
            name = entry["CNAME"]
        values = (self.entry(name) or {}).get(kind, [])
        return found + [(name, kind, value, entry.get("ttl", 60)) for value in values]


def build(message, end, rcode, records, flags=0):
    numbers = {name: number for number, name in TYPES.items()}
    head = message[:2] + struct.pack("!HHHHH", 0x8580 | flags | rcode, 1, len(records), 0, 0)
    body = message[12:end]
    for name, kind, value, ttl in records:
        data = rdata(kind, value)
        body += encode_name(name) + struct.pack("!HHIH", numbers[kind], 1, ttl, len(data)) + data
    return head + body


class Server:
    def __init__(self, zone, ledger):
        self.zone, self.ledger = zone, ledger

    async def answer(self, message, over):
        """The reply's bytes, or None for silence."""
        name, kind, end = read_question(message)
        self.ledger.note("query", name=name, type=TYPES.get(kind, str(kind)), over=over)
        entry = self.zone.entry(name)
        if entry is None:
            return build(message, end, NXDOMAIN, [])
        await asyncio.sleep(entry.get("delay_ms", 0) / 1000)
        if entry.get("silent"):
            return None
        if entry.get("garbage"):
            return message[:2] + b"\x81\x80\xff\xff\xff\xff no message"
        records = [] if "rcode" in entry else self.zone.records(name, TYPES.get(kind, ""))
        if TYPES.get(kind) == "A" and "then" in entry:
            self.zone.names[name] = entry["then"]
        reply = build(message, end, entry.get("rcode", NOERROR), records)
        if over == "udp" and (entry.get("truncate") or len(reply) > UDP_BYTES_MAX):
            reply = build(message, end, NOERROR, [], flags=0x0200)
        if entry.get("wrong_id"):
            reply = bytes([reply[0] ^ 0x55, reply[1] ^ 0x55]) + reply[2:]
        return reply

    async def serve_tcp(self, reader, writer):
        try:
            while True:
                size = struct.unpack("!H", await reader.readexactly(2))[0]
                reply = await self.answer(await reader.readexactly(size), "tcp")
                if reply:
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class UdpFace(asyncio.DatagramProtocol):
    def __init__(self, server):
        self.server, self.tasks = server, set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        task = asyncio.ensure_future(self.reply(data, peer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def reply(self, data, peer):
        reply = await self.server.answer(data, "udp")
        if reply:
            self.transport.sendto(reply, peer)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zone", required=True, help="JSON")
    zone = Zone(json.loads(parser.parse_args().zone))
    ledger = Ledger()
    server = Server(zone, ledger)
    udp, tcp = bind_alike(("127.0.0.1", socket.SOCK_DGRAM), ("127.0.0.1", socket.SOCK_STREAM))
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: UdpFace(server), sock=udp)
    listening = await asyncio.start_server(server.serve_tcp, sock=tcp)

    def edit(name, entry):
        zone.names[name] = json.loads(entry)

    await run(ledger, {"dns": listening.sockets[0].getsockname()[1]}, {"/zone": edit})


if __name__ == "__main__":
    asyncio.run(main())
