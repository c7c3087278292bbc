"""An HTTP/1.1 server whose answers a test makes up as it goes, with a log of what came on which connection and when."""
import http.server
import socketserver
import threading
import time


class Note:
    def __init__(self, conn, method, path, headers):
        self.conn, self.method, self.path, self.headers = conn, method, path, headers
        self.began, self.ended = time.monotonic(), None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.number = self.server.owner.count_connection()

    def finish(self):
        self.server.owner.closes[self.number] = time.monotonic()
        try:
            super().finish()
        except OSError:
            pass

    def answer(self):
        note = self.server.owner.note(self.number, self)
        status, delay = self.server.owner.script(note)
        time.sleep(delay)
        body = b"" if self.command == "HEAD" else b"ok"
        note.ended = time.monotonic()
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


class Scripted:
    """script(note) gives (status, seconds before the answer)."""

    def __init__(self, script=lambda note: (200, 0), port=0):
        self.script, self.notes, self.closes, self.connections = script, [], {}, 0
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.owner = self
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def count_connection(self):
        with self.lock:
            self.connections += 1
            return self.connections

    def note(self, conn, handler):
        with self.lock:
            self.notes.append(Note(conn, handler.command, handler.path, handler.headers))
            return self.notes[-1]

    def url(self, path="/x"):
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, method):
        return [note for note in self.notes if note.method == method]
