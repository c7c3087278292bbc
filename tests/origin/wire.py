"""Accepting connections for the hostile servers: one socket at a time, numbered, plain or TLS, ended in any way."""
import asyncio
import socket
import ssl
import struct

BACKLOG = 1024


def tls_context(cert, key, protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(protocols)

    def on_name(ssl_object, name, _context):
        ssl_object.asked_name = name

    context.sni_callback = on_name
    return context


class Connection:
    """One accepted socket with the streams over it."""

    def __init__(self, ledger, number, listener, sock, reader, writer):
        self.ledger, self.number, self.listener, self.sock = ledger, number, listener, sock
        self.reader, self.writer = reader, writer
        self.requests = 0
        self.local = sock.getsockname()[0]
        tls = writer.get_extra_info("ssl_object")
        self.tls = tls is not None
        self.sni = getattr(tls, "asked_name", None)
        self.alpn = tls.selected_alpn_protocol() if tls else None
        if tls:
            ledger.note("tls", conn=number, listener=listener, sni=self.sni, version=tls.version(), alpn=self.alpn,
                        resumed=tls.session_reused)

    async def send(self, data):
        """Writes at the peer's pace, and always lets the loop turn: endless answers must not starve it."""
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)

    async def close(self):
        """An orderly end: close_notify where there is TLS, then FIN."""
        self.ledger.close(self.number, "ours")
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), 2)
        except (OSError, ssl.SSLError, asyncio.TimeoutError):
            pass

    def cut(self):
        """FIN without close_notify."""
        self.ledger.close(self.number, "cut")
        self.sock.shutdown(socket.SHUT_WR)
        self.writer.transport.abort()

    def reset(self):
        """RST, and what the peer has not read yet is lost with it."""
        self.ledger.close(self.number, "reset")
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # it is closed, and its handler does not know yet
        self.writer.transport.abort()

    async def until_peer_closes(self):
        """Silence; what comes is read and dropped."""
        while await self.reader.read(65536):
            pass


async def wrap(ledger, listener, sock, peer, context):
    """Takes a raw socket to streams, through the TLS handshake where there is a context. None when that fails."""
    loop = asyncio.get_running_loop()
    number = ledger.open(listener, sock, peer)
    reader = asyncio.StreamReader(limit=1 << 20)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
    except (OSError, ssl.SSLError) as error:
        ledger.note("handshake-failed", conn=number, listener=listener, error=str(error))
        ledger.close(number, "handshake")
        return None
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    return Connection(ledger, number, listener, sock, reader, writer)


async def serve(ledger, listener, sock, handler, context=None):
    """Accepts for ever; `handler(connection)` runs as a task each, and the connection ends with it."""
    loop = asyncio.get_running_loop()
    tasks = set()

    async def on_socket(client, peer):
        connection = await wrap(ledger, listener, client, peer, context)
        if connection is None:
            return
        try:
            await handler(connection)
        except (OSError, ssl.SSLError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            ledger.close(connection.number, "peer")
            if not connection.writer.transport.is_closing():
                connection.writer.transport.abort()

    sock.listen(BACKLOG)
    while True:
        client, peer = await loop.sock_accept(sock)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(on_socket(client, peer[0]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
