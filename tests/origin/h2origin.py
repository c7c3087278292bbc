#!/usr/bin/python3
"""An HTTP/2 origin that misbehaves on cue: by path (h2answers.py) and by port (below).

    h2origin.py --cert leaf.pem --key leaf.key < /dev/tty

prints its ports as one JSON line and lives until its standard input ends. Ports, all TLS with ALPN h2:
    h2                answers by path
    h2_one            the same, SETTINGS_MAX_CONCURRENT_STREAMS = 1
    h2_zero           the same, SETTINGS_MAX_CONCURRENT_STREAMS = 0 for the first 100 ms
    h2_tiny           the same, uploads through a window of 16 bytes
    h2_silent         says nothing after the handshake
    h2_no_ack         never acknowledges the client's SETTINGS, else answers by path
    h2_no_settings    begins with a PING in place of SETTINGS
    h2_http1          speaks HTTP/1.1 after h2 was agreed on
    h2_garbage        random bytes in place of SETTINGS
    h2_goaway_first   GOAWAY right after SETTINGS, on the first connection only; later ones answer by path
    control           the log (ledger.py)
"""
import argparse
import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes

import h2answers
from ledger import Ledger, bind, run
from wire import serve, tls_context

PING = bytes.fromhex("000008 06 00 00000000 0102030405060708")


class Session:
    """One HTTP/2 connection: h2's state machine, and raw frames beside it where h2 refuses to be wrong."""

    def __init__(self, connection, streams_max=100, window=None):
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.connection, self.ledger = connection, connection.ledger
        self.h2 = h2.connection.H2Connection(config)
        self.streams_max, self.window = streams_max, window
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: streams_max})
        self.streams, self.tasks = {}, set()
        self.window_opened = asyncio.Event()
        self.over = False

    async def flush(self):
        data = self.h2.data_to_send()
        if data and not self.over:
            await self.connection.send(data)

    async def raw(self, *frames):
        """Bytes on the wire past h2's knowledge, after what h2 has to say."""
        await self.flush()
        await self.connection.send(b"".join(frames))

    def end(self, how="close"):
        self.over = True
        if how == "cut":
            self.connection.cut()
        elif how == "reset":
            self.connection.reset()
        else:
            asyncio.ensure_future(self.connection.close())

    def refuse(self, number):
        """A stream above the limit: a client cannot know it before our SETTINGS, so this is no fault of the connection."""
        self.ledger.note("refused", conn=self.connection.number, stream=number)
        self.h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)

    def start(self, stream):
        self.ledger.peaks["streams"] = max(len(self.streams), self.ledger.peaks.get("streams", 0))
        self.ledger.note("request", conn=self.connection.number, listener=self.connection.listener, stream=stream.id,
                         local=self.connection.local, method=stream.method, target=stream.target,
                         headers=stream.headers, body_len=len(stream.body), sni=self.connection.sni)
        task = asyncio.ensure_future(self.respond(stream))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def respond(self, stream):
        try:
            await h2answers.respond(stream)
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.streams.pop(stream.id, None)

    def take(self, event):
        """One event from h2."""
        if isinstance(event, h2.events.RequestReceived):
            if len(self.streams) >= self.streams_max:
                self.refuse(event.stream_id)
                return
            stream = h2answers.Stream(self, event.stream_id, event.headers)
            self.streams[event.stream_id] = stream
            if stream.path == "/upload-stall":
                self.start(stream)
        elif isinstance(event, h2.events.DataReceived):
            stream = self.streams.get(event.stream_id)
            if stream is None or stream.path == "/upload-stall":
                return
            stream.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self.streams.get(event.stream_id)
            if stream and stream.path != "/upload-stall":
                self.start(stream)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.window_opened.set()
        elif isinstance(event, h2.events.StreamReset):
            self.ledger.note("rst", conn=self.connection.number, stream=event.stream_id, code=int(event.error_code))
            self.streams.pop(event.stream_id, None)
            self.window_opened.set()
        elif isinstance(event, h2.events.PingReceived):
            self.ledger.note("ping", conn=self.connection.number, streams=len(self.streams))
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ledger.note("goaway", conn=self.connection.number, code=int(event.error_code))

    async def converse(self):
        """Preface, then events until the end."""
        self.h2.initiate_connection()
        allow_streams(self.h2, 1000000)
        if self.window is not None:
            # A change, in force with the client's ACK: what it sends before that has the default window.
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: self.window})
        await self.flush()
        while not self.over:
            data = await self.connection.reader.read(65536)
            if not data:
                break
            for event in self.h2.receive_data(data):
                self.take(event)
            if not self.over:
                await self.flush()
        for task in list(self.tasks):
            task.cancel()


def allow_streams(connection, number):
    """h2 calls a stream above the announced limit an error of the connection; we refuse such streams ourselves."""
    announced = connection.local_settings._settings[SettingCodes.MAX_CONCURRENT_STREAMS]
    announced.clear()
    announced.append(number)


def talk(first=None, **settings):
    """A handler that answers by path with these settings; `first(session)` is called before the conversation."""

    async def handler(connection):
        session = Session(connection, **settings)
        if first:
            first(session)
        try:
            await session.converse()
        except h2.exceptions.ProtocolError as error:
            connection.ledger.note("client-error", conn=connection.number, error=str(error))

    return handler


async def h2_silent(connection):
    await connection.until_peer_closes()


async def h2_no_ack(connection):
    session = Session(connection)
    session.h2._receive_settings_frame = lambda frame: keep_settings_unacknowledged(session, frame)
    await session.converse()


def keep_settings_unacknowledged(session, frame):
    """h2's own handling, without the SETTINGS ACK frame that it would return."""
    frames, events = h2.connection.H2Connection._receive_settings_frame(session.h2, frame)
    return [f for f in frames if "ACK" not in f.flags], events


async def h2_zero(connection):
    session = Session(connection, streams_max=0)

    async def open_up():
        await asyncio.sleep(0.1)
        session.streams_max = 100
        await session.raw(h2answers.settings_frame(SettingCodes.MAX_CONCURRENT_STREAMS, 100))

    asyncio.ensure_future(open_up())
    await session.converse()


async def h2_no_settings(connection):
    await connection.send(PING)
    await connection.until_peer_closes()


async def h2_http1(connection):
    await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfake")
    await connection.until_peer_closes()


async def h2_garbage(connection):
    await connection.send(bytes(range(7, 250)) * 4)
    await connection.until_peer_closes()


async def h2_goaway_first(connection):
    def first(session):
        if connection.ledger.count("h2_goaway_first") == 0:
            session.h2.initiate_connection()
            asyncio.ensure_future(session.raw(h2answers.goaway_frame(0, 0)))
            session.h2.initiate_connection = lambda: None

    await talk(first=first)(connection)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    ledger = Ledger()
    context = tls_context(arguments.cert, arguments.key, ["h2"])
    handlers = {
        "h2": talk(),
        "h2_one": talk(streams_max=1),
        "h2_tiny": talk(window=16),
    }
    for handler in (h2_zero, h2_silent, h2_no_ack, h2_no_settings, h2_http1, h2_garbage, h2_goaway_first):
        handlers[handler.__name__] = handler
    ports, keep = {}, []
    for name, handler in handlers.items():
        sock = bind("0.0.0.0")
        ports[name] = sock.getsockname()[1]
        keep.append(asyncio.ensure_future(serve(ledger, name, sock, handler, context)))
    await run(ledger, ports)


if __name__ == "__main__":
    asyncio.run(main())
