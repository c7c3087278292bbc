"""A server that keeps every byte it is sent, connection by connection, and answers what it is told to."""
import socket
import ssl
import threading


class Tap:
    """`answer` is sent once `wanted` bytes more have come on a connection; b"" closes it instead. With `certificate` (its
    file and its key's) it speaks TLS and offers both protocols by ALPN."""

    def __init__(self, wanted, answer, certificate=None):
        self.wanted, self.answer = wanted, answer
        self.received, self.alpn, self.sni = [], [], []
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            self.context.set_alpn_protocols(["h2", "http/1.1"])
            self.context.sni_callback = lambda _socket, name, _context: self.sni.append(name)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        client.settimeout(20)
        try:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
                self.alpn.append(client.selected_alpn_protocol())
            self.converse(client)
        except OSError:
            pass
        finally:
            client.close()

    def converse(self, client):
        data = bytearray()
        self.received.append(data)
        while piece := client.recv(1 << 16):
            data += piece
            if len(data) % self.wanted == 0:
                if not self.answer:
                    return
                client.sendall(self.answer)

    def close(self):
        self.listener.close()
