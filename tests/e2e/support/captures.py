"""What a client shows of itself, taken from a connection of its own, and files as capture programs write them."""
import socket
import ssl
import struct
import threading

PREFACE_SECONDS = 20


class Capture:
    """Takes one connection: `hello` is its first TLS record, `http2` what it says inside TLS until it has asked."""

    def __init__(self, certificates):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.path("good"))
        self.context.set_alpn_protocols(["h2"])
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.hello = self.http2 = b""
        self.thread = threading.Thread(target=self.take, daemon=True)
        self.thread.start()

    def take(self):
        self.socket.settimeout(PREFACE_SECONDS)
        client, _ = self.socket.accept()
        self.socket.close()
        client.settimeout(PREFACE_SECONDS)
        head = client.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL)
        self.hello = client.recv(5 + struct.unpack(">H", head[3:])[0], socket.MSG_PEEK | socket.MSG_WAITALL)
        with self.context.wrap_socket(client, server_side=True) as tls:
            while not self.has_request():
                self.http2 += tls.recv(65536)

    def has_request(self):
        at = 24
        while len(self.http2) >= at + 9:
            if self.http2[at + 3] == 1:
                return True
            at += 9 + int.from_bytes(self.http2[at:at + 3], "big")
        return False

    def wait(self):
        self.thread.join(PREFACE_SECONDS)
        assert self.http2, "nothing was caught"


def tcp_segments(stream, sizes, first=1000):
    """(sequence number, bytes) of a stream cut into segments; what `sizes` leaves over is the last."""
    at, segments = 0, []
    for size in [*sizes, len(stream)]:
        if stream[at:at + size]:
            segments.append((first + at & 0xffffffff, stream[at:at + size]))
        at += size
    return segments


def ip_packet(sequence, payload, version=4, source_port=40000):
    tcp = struct.pack(">HHIIBBHHH", source_port, 443, sequence, 1, 0x50, 0x18, 1000, 0, 0) + payload
    if version == 4:
        return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2") + tcp
    return struct.pack(">IHBB16s16s", 6 << 28, len(tcp), 6, 64, b"\xfd" + bytes(15), b"\xfd" + bytes(14) + b"\1") + tcp


def frame(link, packet):
    """A packet as the link types of pcap have it."""
    kind = {4: 0x0800, 6: 0x86dd}[packet[0] >> 4]
    heads = {1: bytes(12) + struct.pack(">H", kind), 101: b"", 113: bytes(14) + struct.pack(">H", kind),
             276: struct.pack(">H", kind) + bytes(18), 0: struct.pack("<I", 2), 108: struct.pack(">I", 2)}
    return heads[link] + packet


def pcap(link, packets, order="<"):
    out = struct.pack(order + "IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, link)
    for packet in packets:
        data = frame(link, packet)
        out += struct.pack(order + "IIII", 1, 2, len(data), len(data)) + data
    return out


def pcapng(link, packets, order="<"):
    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))

    out = block(0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1))
    out += block(1, struct.pack(order + "HHI", link, 0, 0))
    for packet in packets:
        data = frame(link, packet)
        out += block(6, struct.pack(order + "IIIII", 0, 0, 0, len(data), len(data)) + data)
    return out
